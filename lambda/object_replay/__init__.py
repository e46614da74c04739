"""What runs in Lambda for an `ArchivePipeline`: raw messages kept in S3, replayed through the user's function.

The steps of one state machine call `index.handler`: `planning` lists the objects into a manifest, `replaying`
transforms them batch by batch and stages the results, `summarising` adds up what happened and gives the verdict, and
`publishing` puts the results in their places when all has gone well.

Only `storage`, `uploads` and `functions` talk to AWS. What its errors mean says `aws_errors`, in words and in the
exceptions of `faults`, which are all that the other modules know of it.
"""
