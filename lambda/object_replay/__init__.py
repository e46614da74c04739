"""What runs in Lambda for the pipelines of objects in S3, `ArchivePipeline` and `S3EventPipeline`.

The steps of one state machine call `index.handler`. `planning` lists the objects into a manifest, a `worker` replays
them item by item, and `summarising` adds up what happened and gives the verdict. What is done with an object is in
`archive` (its messages are transformed, and results staged and published) and in `events` (the user's function is
called as S3 calls it).

Only `storage`, `uploads` and `functions` talk to AWS. What its errors mean says `aws_errors`, in words and in the
exceptions of `faults`, which are all that the other modules know of it.
"""
