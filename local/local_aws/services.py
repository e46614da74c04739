"""The server processes of the embedded AWS: what they are told, and how they are started."""

import os
import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import trustme

from local_aws import processes
from local_aws.toolchain import Toolchain

ACCOUNT = "123456789012"
"""The account that everything belongs to: the one of AWS's own documentation."""

LOOPBACK = "127.0.0.1"

_SOURCES = Path(__file__).parents[1]
_MODEL = "iotanalytics/2017-11-27/service-2.json.gz"


class LocalAwsFailed(Exception):
    """A part of the embedded AWS did not start."""


@dataclass(frozen=True)
class Settings:
    """What one embedded AWS is started with.

    Args:
        toolchain: The programs.
        state: Folder of all that it writes.
        region: Its one region.
        access_key: Id of the administrator's key, who may do everything.
        secret_key: The secret of that key.
        retry_seconds: Time before the first repetition of a failed asynchronous invocation.
        extra: More environment variables for the services.
    """

    toolchain: Toolchain
    state: Path
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    retry_seconds: float
    extra: Mapping[str, str]

    @property
    def certificate_authority(self) -> Path:
        """Certificate that all who call must trust."""
        return self.state / "ca.pem"

    @property
    def journal(self) -> Path:
        """Where CloudFormation notes what it sends to custom resources and what comes back."""
        return self.state / "custom-resources.jsonl"

    def log_of(self, part: str) -> Path:
        """Where a server writes what it has to say."""
        return self.state / f"{part}.log"


def prepare(settings: Settings) -> None:
    """Makes the folders, and a certificate authority for this one use with a certificate for the loopback names."""
    for folder in ("home", "tmp", "data"):
        (settings.state / folder).mkdir(parents=True, exist_ok=True)
    settings.journal.unlink(missing_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(settings.certificate_authority)
    issued = authority.issue_cert(LOOPBACK, "localhost")
    for index, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(settings.state / "server.pem", append=index > 0)
    key = settings.state / "server.key"
    key.touch(mode=0o600)
    issued.private_key_pem.write_to_path(key)


def environment_of_clients(settings: Settings, endpoint_url: str) -> dict[str, str]:
    """All environment variables of a program that shall see this AWS and nothing else."""
    folders = [str(settings.toolchain.app_python.parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return {
        "PATH": os.pathsep.join(folders),
        "HOME": str(settings.state / "home"),
        "TMPDIR": str(settings.state / "tmp"),
        "LANG": "C.UTF-8",
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": settings.access_key,
        "AWS_SECRET_ACCESS_KEY": settings.secret_key,
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_DEFAULT_ACCOUNT": ACCOUNT,
        "CDK_DEFAULT_REGION": settings.region,
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        # CDK's check of templates costs more than the rest of a synth, and calls types dead that live here.
        "CDK_VALIDATION": "false",
        "SSL_CERT_FILE": str(settings.certificate_authority),
        "AWS_CA_BUNDLE": str(settings.certificate_authority),
        "NODE_EXTRA_CA_CERTS": str(settings.certificate_authority),
        "JSII_NODE": str(settings.toolchain.node),
        # In the private HOME every first synth would unpack aws-cdk-lib again: 18 s.
        "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(settings.toolchain.jsii_cache),
        # Programs that know of proxies shall use none for what is on this machine.
        "NO_PROXY": "*",
        **settings.extra,
    }


def start_iot_analytics(
    settings: Settings, environment: dict[str, str]
) -> tuple["subprocess.Popen[bytes]", str]:
    """Starts the IoT Analytics server: gives its process, and its address as soon as it can be used.

    Raises:
        LocalAwsFailed: It did not start.
    """
    command = [str(settings.toolchain.app_python), "-m", "local_aws.iot_analytics"]
    command += ["--host", LOOPBACK, "--port", "0", "--region", settings.region, "--account", ACCOUNT]
    command += ["--model", str(settings.toolchain.model.parents[1])]
    command += ["--state", str(settings.state / "data/iot-analytics")]
    with settings.log_of("iot-analytics").open("wb") as log:
        process = processes.start(command, environment=environment, output=subprocess.PIPE, errors=log)
    first = process.stdout.readline().decode() if process.stdout else ""
    ready = re.fullmatch(r"READY (http://\S+)\s*", first)
    if not ready:
        processes.stop(process)
        give_up(settings, "iot-analytics", f"its first line was '{first.strip()}'")
    return process, ready[1]


def start_emulator(
    settings: Settings, environment: dict[str, str], listening: socket.socket, iot_analytics: str
) -> "subprocess.Popen[bytes]":
    """Starts ministack on a socket that listens already; requests wait there until it is up.

    Args:
        settings: What this AWS is started with.
        environment: The environment variables of its clients.
        listening: The socket.
        iot_analytics: Where the IoT Analytics server is. Functions reach it through the emulator, which
            checks their rights.
    """
    data = settings.state / "data"
    own = {
        **environment,
        "LOCAL_AWS_IOT_ANALYTICS": iot_analytics,
        "LOCAL_AWS_IOT_ANALYTICS_MODEL": str(settings.toolchain.model / _MODEL),
        "AWS_ENDPOINT_URL_IOTANALYTICS": environment["AWS_ENDPOINT_URL"],
        "PYTHONPATH": str(_SOURCES),
        "GATEWAY_PORT": str(listening.getsockname()[1]),
        "BIND_HOST": LOOPBACK,
        "MINISTACK_HOST": LOOPBACK,
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": settings.region,
        "AUTH": "true",
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(settings.state / "server.pem"),
        "MINISTACK_SSL_KEY": str(settings.state / "server.key"),
        "STATE_DIR": str(data),
        "S3_DATA_DIR": str(data / "s3"),
        "LAMBDA_EXECUTOR": "local",
        "LAMBDA_ASYNC_RETRY_BASE_SECONDS": str(settings.retry_seconds),
        # Listeners and helpers that are not wanted: MQTT, SFTP, Docker.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{settings.state}/no-docker",
        "LOCAL_AWS_JOURNAL": str(settings.journal),
        **settings.extra,
    }
    command = [str(settings.toolchain.emulator_python), "-m", "local_aws.emulator"]
    command += ["--fd", str(listening.fileno()), "--runtime", str(settings.toolchain.runtime_python)]
    with settings.log_of("emulator").open("wb") as log:
        return processes.start(
            command, environment=own, output=log, errors=subprocess.STDOUT, keep=(listening.fileno(),)
        )


def give_up(settings: Settings, part: str, problem: str) -> NoReturn:
    """Tells that a server did not start, with the last lines of its log.

    Raises:
        LocalAwsFailed: Always.
    """
    last = "\n".join(settings.log_of(part).read_text(errors="replace").splitlines()[-20:])
    raise LocalAwsFailed(f"'{part}' did not start: {problem}\n{last}")
