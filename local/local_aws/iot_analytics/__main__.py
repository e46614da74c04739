"""`python -m local_aws.iot_analytics`: the server as a process.

It prints one line, `READY http://127.0.0.1:<port>`, when it can be used, and stops on SIGTERM and SIGINT. If its standard
input is a pipe it stops at the end of that too: then whoever started it is gone.
"""

import argparse
import ipaddress
import logging
import os
import signal
import stat
import sys
import threading
from pathlib import Path

from local_aws.iot_analytics.functions import lambda_functions
from local_aws.iot_analytics.model import DEFAULT_MODEL, ModelMissing, ServiceModel
from local_aws.iot_analytics.runs import Pace
from local_aws.iot_analytics.server import Application, serve
from local_aws.iot_analytics.service import Place
from local_aws.iot_analytics.storage import FolderStore, MemoryStore, ObjectStore, S3Store


def main(arguments: list[str] | None = None) -> int:
    """Runs the server until it is told to stop, and gives the process's exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=options.log_level, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    try:
        model = ServiceModel.load(options.model)
        store = _store(options.storage)
    except (ModelMissing, NoEndpoint) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    application = Application(
        model=model,
        customer_store=store,
        functions=lambda_functions(),
        own_store=FolderStore(options.state) if options.state else None,
        place=Place(region=options.region, account=options.account),
    )
    application.service.runs.pace = Pace(
        seconds_per_object=options.seconds_per_object, keep_summaries=options.keep_summaries
    )

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if _input_is_a_pipe():
        threading.Thread(target=_wait_for_the_end_of_input, args=(stop,), name="input", daemon=True).start()
    server = serve(application, options.host, options.port)
    serving = threading.Thread(target=server.serve_forever, name="server", daemon=True)
    serving.start()
    host = f"[{options.host}]" if ":" in options.host else options.host
    sys.stdout.write(f"READY http://{host}:{server.server_port}\n")
    sys.stdout.flush()
    stop.wait()
    server.shutdown()
    server.server_close()
    application.close()
    return 0


def _input_is_a_pipe() -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(0).st_mode)
    except OSError:
        return False


def _wait_for_the_end_of_input(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


class NoEndpoint(Exception):
    """S3 would be the real one."""


def _store(kind: str) -> ObjectStore:
    if kind == "memory":
        return MemoryStore()
    if not any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")):
        raise NoEndpoint(
            "'AWS_ENDPOINT_URL' must name the local S3, so that nothing goes to the real one; or use --storage memory"
        )
    return S3Store()


def _loopback(text: str) -> str:
    try:
        if ipaddress.ip_address(text).is_loopback:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"must be a loopback address such as 127.0.0.1, got '{text}': nobody is asked who they are"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local_aws.iot_analytics",
        description="AWS IoT Analytics on this machine: prints 'READY <url>' and serves until SIGTERM or SIGINT.",
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or Place().region
    parser.add_argument(
        "--host", type=_loopback, default="127.0.0.1", help="loopback address (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--model",
        type=Path,
        default=DEFAULT_MODEL,
        help="service-2.json.gz, or the folder that pip put botocore 1.42.50 into (default: %(default)s)",
    )
    parser.add_argument(
        "--storage",
        choices=("s3", "memory"),
        default="s3",
        help="customers' buckets: in S3 at AWS_ENDPOINT_URL, or in this process (default: %(default)s)",
    )
    parser.add_argument(
        "--state",
        type=Path,
        help="folder for what the service keeps for itself, not in a customer's bucket (default: in this process)",
    )
    parser.add_argument("--region", default=region, help="region in ARNs (default: %(default)s)")
    parser.add_argument(
        "--account", default=Place().account, help="account in ARNs and keys (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds-per-object",
        type=float,
        default=Pace().seconds_per_object,
        help="how long a run waits before each object (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-summaries",
        type=int,
        default=Pace().keep_summaries,
        help="how many runs of a pipeline are told about (default: %(default)s)",
    )
    parser.add_argument("--log-level", default="WARNING", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
