"""What runs in Lambda for an `ArchivePipeline`: raw messages kept in S3, replayed through the user's function.

Three steps of one state machine call `index.handler`: `planning` lists the objects into a manifest, `replaying`
transforms them batch by batch, `summarising` adds up what happened. Only `storage` talks to AWS.
"""
