"""What an `S3EventPipeline` does with an object: it calls the user's function as S3 does when an object is created."""
