"""Starts ministack on a socket that the parent has opened, with the mendings in place.

Everything is configured by environment variables, which `local_aws.environment` sets. The process ends at once on
SIGTERM, and takes its whole process group with it when the parent is gone, whatever became of that.
"""

import argparse
import asyncio
import os
import signal
import sys
import threading

from local_aws.emulator import (
    custom_resources,
    event_sources,
    functions,
    hooks,
    iam,
    iot_analytics_gateway,
    iot_analytics_resources,
    s3,
    s3_events,
    stack_events,
    step_functions,
)


def main() -> None:
    """Mends ministack and serves until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m local_aws.emulator", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="file descriptor of the listening socket")
    parser.add_argument("--runtime", required=True, help="Python with awslambdaric, for the functions")
    arguments = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    hooks.check_version()
    iam.install()
    s3.install()
    s3_events.install()
    functions.install(runtime_python=arguments.runtime)
    event_sources.install()
    custom_resources.install()
    iot_analytics_resources.install()
    iot_analytics_gateway.install()
    stack_events.install()
    step_functions.install()
    _serve(arguments.fd)


def _end_with_the_parent() -> None:
    """The parent holds the other end of standard input and writes nothing: it ends when the parent does."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _serve(fd: int) -> None:
    # ministack's own main() would also take port 443 where it may, and write a pid file.
    config = hooks.find("hypercorn.config", "Config")()
    config.bind = [f"fd://{fd}"]
    config.keep_alive_timeout = 75
    config.certfile, config.keyfile = hooks.find("ministack.core.tls", "resolve_tls_material")()
    asyncio.run(hooks.find("hypercorn.asyncio", "serve")(hooks.find("ministack.app", "app"), config))


if __name__ == "__main__":
    main()
