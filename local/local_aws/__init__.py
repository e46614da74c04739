"""An AWS on this machine: the real CDK CLI deploys to it, the real Lambda code runs in it, no account, no Docker.

Usage:
    >>> from local_aws import LocalAws
    >>> with LocalAws.start() as aws:
    ...     aws.bootstrap()
    ...     aws.cdk("deploy", "MyStack", app="python app.py", on_output=print).check()
    ...     aws.client("s3").list_buckets()["Buckets"]
    ...     aws.function_logs("my-function")

Inside: `ministack` for the living services, with what it lacks mended by `local_aws.emulator`; the project's own
server for IoT Analytics (`local_aws.iot_analytics`); AWS's `awslambdaric` for Python functions, each in a process
of its own with the credentials of its role, whose IAM policies are enforced. All of it speaks on free ports of the
loopback interface only, AWS's own APIs over TLS, and is stopped when the `with` block ends, however it ends.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local_aws.cli import CdkFailed, CdkResult
    from local_aws.environment import LocalAws
    from local_aws.services import LocalAwsFailed

__all__ = ["CdkFailed", "CdkResult", "LocalAws", "LocalAwsFailed"]

_HOMES = {
    "CdkFailed": "local_aws.cli",
    "CdkResult": "local_aws.cli",
    "LocalAws": "local_aws.environment",
    "LocalAwsFailed": "local_aws.services",
}


def __getattr__(name: str) -> object:
    """Imports on first use, for the emulator's own environment imports this package too and has no boto3."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  # as all of this function, only when a name is asked for

    return getattr(import_module(_HOMES[name]), name)
