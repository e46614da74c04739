"""Child processes that end when we do."""

import os
import signal
import subprocess
from contextlib import suppress
from typing import IO

_GRACE_SECONDS = 3.0


def stop(process: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    """Ends a process that leads a group, and all of its group: kindly, and after a few seconds by SIGKILL.

    Never raises; a process that has ended already may still have left members of its group behind.
    """
    if process.stdin:
        with suppress(OSError):
            process.stdin.close()
    _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)
    _signal_group(process, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)
    if process.stdout:
        process.stdout.close()


def start(
    command: list[str],
    *,
    environment: dict[str, str],
    output: IO[bytes] | int,
    errors: IO[bytes] | int,
    keep: tuple[int, ...] = (),
) -> "subprocess.Popen[bytes]":
    """Starts a process as the leader of its own session, so that Ctrl-C reaches us first and we end it in order.

    Its standard input is a pipe that nothing is written to: it ends when we do, however we do.

    Args:
        command: Program and arguments.
        environment: All of its environment variables.
        output: Where its standard output goes.
        errors: Where its standard error goes.
        keep: File descriptors it inherits.
    """
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        pass_fds=keep,
        start_new_session=True,
    )


def _signal_group(process: "subprocess.Popen[bytes] | subprocess.Popen[str]", number: signal.Signals) -> None:
    # The leader's process id names the group as long as one member lives, also after the leader was waited for.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
