"""The server as a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws.iot_analytics.client import LocalControl, iot_analytics_client, put_messages

pytestmark = pytest.mark.loopback

COMMAND = [sys.executable, "-m", "local_aws.iot_analytics"]


@pytest.fixture
def process() -> Iterator[Any]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        one = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
        )
        started.append(one)
        return one

    yield start
    for one in started:
        # Leaving the block waits for its end and closes the pipes.
        with one:
            one.kill()


def _environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | more


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    ready = re.fullmatch(r"READY (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
    assert ready
    return ready[1]


def test_it_says_where_it_is_and_serves(process: Any, tmp_path: Path) -> None:
    url = _url(process("--storage", "memory", "--state", str(tmp_path), "--region", "eu-west-1"))
    client, control = iot_analytics_client(url), LocalControl(url)

    arn = client.create_channel(channelName="c")["channelArn"]
    put_messages(client, "c", [{"t": 1}])
    control.close()

    assert arn == "arn:aws:iotanalytics:eu-west-1:123456789012:channel/c"
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".gz"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_to_even_with_a_run_held(process: Any, number: signal.Signals) -> None:
    one = process("--storage", "memory", "--seconds-per-object", "1000")
    client = iot_analytics_client(_url(one))
    client.create_channel(channelName="c")
    client.create_datastore(datastoreName="d")
    activities = [
        {"channel": {"name": "in", "channelName": "c", "next": "out"}},
        {"datastore": {"name": "out", "datastoreName": "d"}},
    ]
    client.create_pipeline(pipelineName="p", pipelineActivities=activities)
    client.start_pipeline_reprocessing(pipelineName="p")

    one.send_signal(number)

    assert one.wait(30) == 0
    assert one.stderr.read() == ""


def test_it_stops_when_whoever_started_it_is_gone(process: Any) -> None:
    one = process("--storage", "memory")
    _url(one)

    one.stdin.close()

    assert one.wait(30) == 0


def test_it_never_goes_to_the_real_s3() -> None:
    done = subprocess.run(COMMAND, env=_environment(), capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == (
        "'AWS_ENDPOINT_URL' must name the local S3, so that nothing goes to the real one; or use --storage memory\n"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org", "10.0.0.1"])
def test_it_is_for_this_machine_only(host: str) -> None:
    done = subprocess.run(
        [*COMMAND, "--host", host], env=_environment(), capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert (
        f"must be a loopback address such as 127.0.0.1, got '{host}': nobody is asked who they are"
        in done.stderr
    )


def test_it_says_how_to_get_the_model(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--model", str(tmp_path)], env=_environment(), capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "run 'make setup', or name its place with '--model'" in done.stderr
