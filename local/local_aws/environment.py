"""The embedded AWS: starts its parts, says how to reach them, and stops them."""

import atexit
import json
import os
import re
import secrets
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

import boto3
import botocore.session
import trustme
from botocore.config import Config

from local_aws import cli, processes
from local_aws.toolchain import Toolchain

ACCOUNT = "123456789012"
"""The account that everything belongs to: the one of AWS's own documentation."""

_PROJECT = Path(__file__).parents[2]
_LOOPBACK = "127.0.0.1"
_START_SECONDS = 60


class LocalAwsFailed(Exception):
    """The embedded AWS, or a part of it, did not start or has stopped."""


class LocalAws:
    """An AWS on this machine, for as long as a ``with`` block lasts.

    Make one with ``LocalAws.start()``. Everything that it starts runs in process groups of its own, is reachable from
    this machine only, and ends with the block: at its end, after an exception, Ctrl-C or SIGTERM, and when this
    process is killed.

    Example:
        >>> with LocalAws.start() as aws:
        ...     aws.bootstrap()
        ...     aws.cdk("deploy", "MyStack", app="python app.py").check()
        ...     print(aws.client("cloudformation").describe_stacks()["Stacks"][0]["Outputs"])
    """

    def __init__(self, toolchain: Toolchain, state: Path, *, keep_state: bool, region: str) -> None:
        self._toolchain = toolchain
        self._state = state
        self._keep_state = keep_state
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stopped = threading.Lock()
        self._handler_before: Any = None
        self._region = region
        self._access_key = "AKIA" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(16))
        self._secret_key = secrets.token_urlsafe(30)
        self._environment: dict[str, str] = {}
        self._clients: dict[str, Any] = {}

    @classmethod
    def start(
        cls,
        state_dir: Path | str | None = None,
        *,
        region: str = "us-east-1",
        retry_seconds: float = 0.5,
        extra_environment: Mapping[str, str] | None = None,
        toolchain: Toolchain | None = None,
    ) -> "LocalAws":
        """Start everything and return when it answers, in about two seconds.

        Args:
            state_dir: Folder for certificates, logs and the data of the services; kept at the end. Default: a
                temporary one, removed at the end.
            region: The one region that clients and the CLI use.
            retry_seconds: Time before the first repetition of a failed asynchronous invocation; the second comes after
                twice that time. (AWS: one and two minutes.)
            extra_environment: More environment variables for the services, as ``LOG_LEVEL``.
            toolchain: The programs to use. Default: those of ``make setup``.

        Raises:
            NotSetUp: The tool chain is not there.
            LocalAwsFailed: A part did not start; the text ends with the last lines of its log.
        """
        programs = toolchain or Toolchain.of_project()
        state = Path(state_dir).resolve() if state_dir else Path(tempfile.mkdtemp(prefix="local-aws-"))
        aws = cls(programs, state, keep_state=state_dir is not None, region=region)
        aws._end_on_sigterm()
        atexit.register(aws.stop)
        try:
            aws._start(retry_seconds, dict(extra_environment or {}))
        except BaseException:
            aws.stop()
            raise
        return aws

    def __enter__(self) -> "LocalAws":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop everything that was started; a second call does nothing."""
        if not self._stopped.acquire(blocking=False):
            return
        atexit.unregister(self.stop)
        for client in self._clients.values():
            client.close()
        for process in reversed(self._processes):
            processes.stop(process)
        if not self._keep_state:
            shutil.rmtree(self._state, ignore_errors=True)
        if self._handler_before is not None:
            signal.signal(signal.SIGTERM, self._handler_before)

    @property
    def environment(self) -> dict[str, str]:
        """All environment variables for a program that shall see this AWS and nothing else: a copy."""
        return dict(self._environment)

    @property
    def endpoint_url(self) -> str:
        """The address of all services but IoT Analytics."""
        return self._environment["AWS_ENDPOINT_URL"]

    @property
    def account(self) -> str:
        """The number of the account."""
        return ACCOUNT

    @property
    def region(self) -> str:
        """The name of the region."""
        return self._region

    @property
    def state_directory(self) -> Path:
        """Where logs, certificates and data are."""
        return self._state

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must appear in no log: the secret access key of the administrator."""
        return (self._secret_key,)

    def client(self, service: str) -> Any:
        """Give a boto3 client with all rights, for looking at this AWS from outside.

        Args:
            service: As for ``boto3.client``; also ``"iotanalytics"``, which boto3 does not know any more.
        """
        if service not in self._clients:
            core = botocore.session.Session()
            if service == "iotanalytics":
                core.set_config_variable("data_path", str(self._toolchain.model))
            session = boto3.Session(
                aws_access_key_id=self._access_key,
                aws_secret_access_key=self._secret_key,
                region_name=self._region,
                botocore_session=core,
            )
            own = self._environment.get("AWS_ENDPOINT_URL_IOTANALYTICS")
            self._clients[service] = session.client(
                service,
                endpoint_url=own if service == "iotanalytics" else self.endpoint_url,
                verify=str(self._ca),
                config=Config(
                    connect_timeout=_START_SECONDS,
                    read_timeout=_START_SECONDS * 2,
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    proxies={},
                ),
            )
        return self._clients[service]

    def cdk(
        self,
        *command: str,
        app: str | None = None,
        directory: Path | str = _PROJECT,
        on_output: Callable[[str], object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> cli.CdkResult:
        """Run a command of the real CDK CLI: ``aws.cdk("deploy", "MyStack")``.

        It asks nothing (``--require-approval never``, ``--force``) and prints every event of the stack.

        Args:
            command: The command and its arguments.
            app: The app: a command, or a folder with a synthesized one. Default: what ``cdk.json`` says.
            directory: Where to run it. Default: the project's folder.
            on_output: Called with each line of output as it comes.
            environment: More environment variables.

        Returns:
            Exit code and output; ``.check()`` raises when it failed.
        """
        return cli.run(
            self._toolchain,
            command,
            environment={**self._environment, **(environment or {})},
            directory=Path(directory),
            output_directory=self._state / "cdk.out",
            app=app,
            on_output=on_output,
        )

    def bootstrap(self) -> cli.CdkResult:
        """Deploy CDK's bootstrap stack, which deployments of assets need, with the CLI's default template.

        Raises:
            CdkFailed: It did not succeed.
        """
        # The CLI would look for an app in cdk.json, which this has nothing to do with.
        return self.cdk("bootstrap", f"aws://{ACCOUNT}/{self._region}", directory=self._state).check()

    def function_logs(self, name: str) -> list[str]:
        """Give all lines that a function has written, in the order of writing.

        Args:
            name: Name or ARN of the function, or the name of a log group (it has a slash).

        Returns:
            Empty when there is no such log group (yet).
        """
        logs = self.client("logs")
        group = name if "/" in name else self._log_group_of(name)
        lines: list[tuple[int, str]] = []
        try:
            for page in logs.get_paginator("describe_log_streams").paginate(logGroupName=group):
                for stream in page["logStreams"]:
                    lines += self._lines(group, stream["logStreamName"])
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [message for _, message in sorted(lines, key=lambda line: line[0])]

    def custom_resource_log(self) -> list[dict[str, Any]]:
        """Give every request that CloudFormation sent to a custom resource, and every answer that came, in order.

        Each entry has ``Time`` and either ``Request`` (as sent, without ResponseURL) or ``Answer`` with ``Bytes``,
        ``Counts`` (false for a second or late answer) and ``Problem`` (why CloudFormation does not take it).
        """
        try:
            return [json.loads(line) for line in self._journal.read_text(encoding="utf-8").splitlines()]
        except FileNotFoundError:
            return []

    # --- start -------------------------------------------------------------------------------------------------

    @property
    def _ca(self) -> Path:
        return self._state / "ca.pem"

    @property
    def _journal(self) -> Path:
        return self._state / "custom-resources.jsonl"

    def _start(self, retry_seconds: float, extra: dict[str, str]) -> None:
        for folder in ("home", "tmp", "data"):
            (self._state / folder).mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self._ca)
        certificate = authority.issue_cert(_LOOPBACK, "localhost")
        chain = self._state / "server.pem"
        for index, blob in enumerate(certificate.cert_chain_pems):
            blob.write_to_path(chain, append=index > 0)
        key = self._state / "server.key"
        key.touch(mode=0o600)
        certificate.private_key_pem.write_to_path(key)

        # The socket is opened here and handed over: no other process can take the port in between, and requests that
        # come before the emulator listens wait for it.
        with socket.create_server((_LOOPBACK, 0), backlog=128) as listening:
            port = listening.getsockname()[1]
            self._environment = self._client_environment(f"https://{_LOOPBACK}:{port}") | extra
            if find_spec("local_aws.iot_analytics.__main__"):
                self._environment["AWS_ENDPOINT_URL_IOTANALYTICS"] = self._start_iot_analytics()
            emulator = {
                **self._environment,
                "PYTHONPATH": str(_PROJECT / "local"),
                "GATEWAY_PORT": str(port),
                "BIND_HOST": _LOOPBACK,
                "MINISTACK_HOST": _LOOPBACK,
                "MINISTACK_ACCOUNT_ID": ACCOUNT,
                "MINISTACK_REGION": self._region,
                "AUTH": "true",
                "USE_SSL": "1",
                "MINISTACK_SSL_CERT": str(chain),
                "MINISTACK_SSL_KEY": str(key),
                "STATE_DIR": str(self._state / "data"),
                "S3_DATA_DIR": str(self._state / "data/s3"),
                "LAMBDA_EXECUTOR": "local",
                "LAMBDA_ASYNC_RETRY_BASE_SECONDS": str(retry_seconds),
                # Listeners and helpers that are not wanted: MQTT, SFTP, Docker.
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                "DOCKER_HOST": f"unix://{self._state}/no-docker",
                "LOCAL_AWS_JOURNAL": str(self._journal),
                **extra,
            }
            command = [str(self._toolchain.emulator_python), "-m", "local_aws.emulator"]
            command += ["--fd", str(listening.fileno()), "--runtime", str(self._toolchain.runtime_python)]
            with self._log_file("emulator").open("wb") as log:
                self._processes.append(
                    processes.start(command, environment=emulator, output=log, keep=(listening.fileno(),))
                )
        self._wait_for_the_emulator()

    def _client_environment(self, endpoint_url: str) -> dict[str, str]:
        home = self._state / "home"
        folders = [str(self._toolchain.app_python.parent), "/usr/local/bin", "/usr/bin", "/bin"]
        return {
            "PATH": os.pathsep.join(folders),
            "HOME": str(home),
            "TMPDIR": str(self._state / "tmp"),
            "LANG": "C.UTF-8",
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_ACCESS_KEY_ID": self._access_key,
            "AWS_SECRET_ACCESS_KEY": self._secret_key,
            "AWS_REGION": self._region,
            "AWS_DEFAULT_REGION": self._region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "CDK_DEFAULT_ACCOUNT": ACCOUNT,
            "CDK_DEFAULT_REGION": self._region,
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "SSL_CERT_FILE": str(self._ca),
            "AWS_CA_BUNDLE": str(self._ca),
            "NODE_EXTRA_CA_CERTS": str(self._ca),
            "JSII_NODE": str(self._toolchain.node),
            # In the private HOME every first synth would unpack aws-cdk-lib again: 18 s.
            "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(self._toolchain.jsii_cache),
            # Programs that know of proxies shall use none for what is on this machine.
            "NO_PROXY": "*",
        }

    def _start_iot_analytics(self) -> str:
        command = [str(self._toolchain.app_python), "-m", "local_aws.iot_analytics"]
        command += ["--host", _LOOPBACK, "--port", "0", "--region", self._region, "--account", ACCOUNT]
        command += ["--model", str(self._toolchain.model.parents[1])]
        log = self._log_file("iot-analytics")
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        self._processes.append(process)
        first = (process.stdout or open(os.devnull, "rb")).readline().decode()  # noqa: PTH123, SIM115 - never None
        ready = re.fullmatch(r"READY (http://\S+)\s*", first)
        if not ready:
            self._give_up("IoT Analytics server", log, f"its first line was '{first.strip()}'")
        return ready[1]

    def _wait_for_the_emulator(self) -> None:
        try:
            identity = self.client("sts").get_caller_identity()
        except Exception as error:  # noqa: BLE001 - whatever it was, the emulator's log tells more
            self._give_up("emulator", self._log_file("emulator"), str(error))
        if identity["Account"] != ACCOUNT:
            raise LocalAwsFailed(f"the emulator must answer for account {ACCOUNT}, got {identity['Account']}")

    def _log_file(self, name: str) -> Path:
        return self._state / f"{name}.log"

    def _give_up(self, part: str, log: Path, problem: str) -> NoReturn:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise LocalAwsFailed(f"the {part} did not start: {problem}\n{last}")

    def _end_on_sigterm(self) -> None:
        # By default SIGTERM ends Python without running any `finally`. Whoever has a handler knows what to do.
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._handler_before = signal.signal(signal.SIGTERM, _raise_system_exit)

    # --- logs --------------------------------------------------------------------------------------------------

    def _log_group_of(self, function: str) -> str:
        functions = self.client("lambda")
        try:
            config = functions.get_function_configuration(FunctionName=function)
        except functions.exceptions.ResourceNotFoundException:
            return f"/aws/lambda/{function.rpartition(':')[2]}"
        group: str = config["LoggingConfig"]["LogGroup"]
        return group

    def _lines(self, group: str, stream: str) -> Iterator[tuple[int, str]]:
        pages = self.client("logs").get_paginator("filter_log_events")
        for page in pages.paginate(logGroupName=group, logStreamNames=[stream]):
            yield from ((event["timestamp"], event["message"]) for event in page["events"])


def _raise_system_exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
