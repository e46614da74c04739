"""Contract of the embedded AWS: where it listens, and that nothing of it stays."""

import ipaddress
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from local_aws import LocalAws, LocalAwsFailed
from local_aws.toolchain import Toolchain

pytestmark = pytest.mark.embedded

HOLDER = """
import signal, sys, time
from local_aws import LocalAws

# a shell makes what it starts in its background deaf to Ctrl-C, this test too
signal.signal(signal.SIGINT, signal.default_int_handler)
with LocalAws.start(sys.argv[1]) as aws:
    print("holding", flush=True)
    time.sleep(600)
"""


def _members(state: Path) -> list[psutil.Process]:
    """The processes that were started with this folder as their state: all have it in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if environment.get("SSL_CERT_FILE", "").startswith(str(state)):
            found.append(process)
    return found


def test_it_listens_on_the_loopback_interface_only(
    local_aws: LocalAws, stack: Any, with_function: Any
) -> None:
    stack.deploy(with_function())
    stack.invoke({})

    listening = [
        connection.laddr.ip
        for process in _members(local_aws.state_directory)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert listening
    assert all(ipaddress.ip_address(address).is_loopback for address in listening)


def test_nothing_stays_when_the_block_ends_by_an_exception() -> None:
    aws = LocalAws.start()
    state = aws.state_directory
    before = _members(state)

    with pytest.raises(RuntimeError, match="in the block"), aws:
        raise RuntimeError("in the block")

    assert before
    assert not _members(state)
    assert not state.exists()


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["ctrl-c", "sigterm", "sigkill"],
)
def test_nothing_stays_when_the_holder_is_ended_by(
    tmp_path: Path, eventually: Any, number: signal.Signals, exit_code: int
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"holding\n"
        assert _members(tmp_path)

        holder.send_signal(number)

        assert holder.wait() == exit_code
    eventually(lambda: not _members(tmp_path))


def test_a_part_that_does_not_start_is_told_with_its_log(tmp_path: Path) -> None:
    tools = Toolchain.of_project()
    broken = Toolchain(**{**vars(tools), "emulator_python": tools.runtime_python})

    with pytest.raises(
        LocalAwsFailed, match=r"(?s)'emulator' did not start: .*No package metadata.*ministack"
    ):
        LocalAws.start(tmp_path, toolchain=broken)

    assert not _members(tmp_path)


def test_our_own_environment_stays_outside(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid")
    monkeypatch.setenv("AWS_PROFILE", "somebody")

    environment = local_aws.environment

    assert not {"HTTPS_PROXY", "AWS_PROFILE"} & set(environment)
    assert environment["HOME"] != os.environ.get("HOME")
