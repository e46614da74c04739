"""What an `ArchivePipeline` does with an object: its messages go through the user's function, its result is published."""
