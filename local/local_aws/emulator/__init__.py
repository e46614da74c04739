"""What runs inside the emulator's process: ministack, with what it lacks or forgives mended.

`python -m local_aws.emulator` is started by `local_aws.environment` with the Python of the emulator's own virtual
environment, which has ministack and nothing of ours. Every mending hangs on a private name of ministack, so
`hooks` refuses to start when one is gone, and `tests/local` shows that each still does what it is for.
"""
