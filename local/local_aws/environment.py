"""The embedded AWS: starts its parts, says how to reach them, and stops them."""

import atexit
import json
import secrets
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

import boto3
import botocore.session
from botocore.config import Config

from local_aws import cli, function_logs, processes, services
from local_aws.services import ACCOUNT, LOOPBACK, LocalAwsFailed, Settings
from local_aws.toolchain import Toolchain

_PROJECT = Path(__file__).parents[2]
_START_SECONDS = 60


class LocalAws:
    """An AWS on this machine, for as long as a `with` block lasts.

    Make one with `LocalAws.start()`. Everything that it starts runs in process groups of its own, is reachable from
    this machine only, and ends with the block: at its end, after an exception, Ctrl-C or SIGTERM, and when this
    process is killed.

    Example:
        >>> with LocalAws.start() as aws:
        ...     aws.bootstrap()
        ...     aws.cdk("deploy", "MyStack", app="python app.py").check()
        ...     print(aws.client("cloudformation").describe_stacks()["Stacks"][0]["Outputs"])
    """

    def __init__(self, settings: Settings, *, keep_state: bool) -> None:
        self._settings = settings
        self._keep_state = keep_state
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stopped = threading.Lock()
        self._handler_before: Any = None
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
        """Starts everything and returns when it answers, in about two seconds.

        Args:
            state_dir: Folder for certificates, logs and the data of the services; kept at the end. Default: a
                temporary one, removed at the end.
            region: The one region that clients and the CLI use.
            retry_seconds: Time before the first repetition of a failed asynchronous invocation; the second comes after
                twice that time. (AWS: one and two minutes.)
            extra_environment: More environment variables for the services, as `LOG_LEVEL`.
            toolchain: The programs to use. Default: those of `make setup`.

        Raises:
            NotSetUp: The tool chain is not there.
            LocalAwsFailed: A part did not start; the text ends with the last lines of its log.
        """
        settings = Settings(
            toolchain=toolchain or Toolchain.of_project(),
            state=Path(state_dir).resolve() if state_dir else Path(tempfile.mkdtemp(prefix="local-aws-")),
            region=region,
            access_key="AKIA" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(16)),
            secret_key=secrets.token_urlsafe(30),
            retry_seconds=retry_seconds,
            extra=dict(extra_environment or {}),
        )
        aws = cls(settings, keep_state=state_dir is not None)
        aws._end_on_sigterm()
        atexit.register(aws.stop)
        try:
            aws._start()
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
        """Stops everything that was started; a second call does nothing."""
        if not self._stopped.acquire(blocking=False):
            return
        atexit.unregister(self.stop)
        for client in self._clients.values():
            client.close()
        for process in reversed(self._processes):
            processes.stop(process)
        if not self._keep_state:
            shutil.rmtree(self._settings.state, ignore_errors=True)
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
        return self._settings.region

    @property
    def state_directory(self) -> Path:
        """Where logs, certificates and data are."""
        return self._settings.state

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must appear in no log: the secret access key of the administrator."""
        return (self._settings.secret_key,)

    def client(self, service: str) -> Any:
        """A boto3 client with all rights, for looking at this AWS from outside.

        Args:
            service: As for `boto3.client`; also `"iotanalytics"`, which boto3 does not know any more.
        """
        if service not in self._clients:
            core = botocore.session.Session()
            if service == "iotanalytics":
                core.set_config_variable("data_path", str(self._settings.toolchain.model))
            session = boto3.Session(
                aws_access_key_id=self._settings.access_key,
                aws_secret_access_key=self._settings.secret_key,
                region_name=self.region,
                botocore_session=core,
            )
            own = self._environment.get("AWS_ENDPOINT_URL_IOTANALYTICS")
            self._clients[service] = session.client(
                service,
                endpoint_url=own if service == "iotanalytics" else self.endpoint_url,
                verify=str(self._settings.certificate_authority),
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
        """Runs a command of the real CDK CLI: `aws.cdk("deploy", "MyStack")`.

        It asks nothing (`--require-approval never`, `--force`) and prints every event of the stack.

        Args:
            command: The command and its arguments.
            app: The app: a command, or a folder with a synthesized one. Default: what `cdk.json` says.
            directory: Where to run it. Default: the project's folder.
            on_output: Called with each line of output as it comes.
            environment: More environment variables.

        Returns:
            Exit code and output; `.check()` raises when it failed.
        """
        return cli.run(
            self._settings.toolchain,
            command,
            environment={**self._environment, **(environment or {})},
            directory=Path(directory),
            output_directory=self._settings.state / "cdk.out",
            app=app,
            on_output=on_output,
        )

    def bootstrap(self) -> cli.CdkResult:
        """Deploys CDK's bootstrap stack, which deployments of assets need, with the CLI's default template.

        Raises:
            CdkFailed: It did not succeed.
        """
        # The CLI would look for an app in cdk.json, which this has nothing to do with.
        return self.cdk("bootstrap", f"aws://{ACCOUNT}/{self.region}", directory=self._settings.state).check()

    def function_logs(self, name: str) -> list[str]:
        """All lines that a function has written, in the order of writing.

        Args:
            name: Name or ARN of the function, or the name of a log group (it has a slash).

        Returns:
            Empty when there is no such log group (yet).
        """
        group = name if "/" in name else function_logs.group_of(self.client("lambda"), name)
        return function_logs.lines_of(self.client("logs"), group)

    def custom_resource_log(self) -> list[dict[str, Any]]:
        """Every request that CloudFormation sent to a custom resource, and every answer that came, in order.

        Each entry has `Time` and either `Request` (as sent, without ResponseURL) or `Answer` with `Bytes`,
        `Counts` (false for a second or late answer) and `Problem` (why CloudFormation does not take it).
        """
        try:
            lines = self._settings.journal.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines.splitlines()]

    def _start(self) -> None:
        services.prepare(self._settings)
        # The socket is opened here and handed over: no other process can take the port in between, and requests that
        # come before the emulator listens wait for it.
        with socket.create_server((LOOPBACK, 0), backlog=128) as listening:
            endpoint_url = f"https://{LOOPBACK}:{listening.getsockname()[1]}"
            self._environment = services.environment_of_clients(self._settings, endpoint_url)
            process, url = services.start_iot_analytics(self._settings, self._environment)
            self._processes.append(process)
            self._processes.append(services.start_emulator(self._settings, self._environment, listening, url))
            self._environment["AWS_ENDPOINT_URL_IOTANALYTICS"] = url
        try:
            identity = self.client("sts").get_caller_identity()
        except Exception as error:  # noqa: BLE001  # whatever it was, the emulator's log tells more
            services.give_up(self._settings, "emulator", str(error))
        if identity["Account"] != ACCOUNT:
            raise LocalAwsFailed(f"the emulator must answer for account {ACCOUNT}, got {identity['Account']}")

    def _end_on_sigterm(self) -> None:
        # By default SIGTERM ends Python without running any `finally`. Whoever has a handler knows what to do.
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._handler_before = signal.signal(signal.SIGTERM, _raise_system_exit)


def _raise_system_exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
