"""The PUT that carries an answer: its header, its status, and no error that quotes its address."""

from __future__ import annotations

import ssl
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from pipeline_reprocessing_handler import clients
from pipeline_reprocessing_handler.aws_errors import Unclear

if TYPE_CHECKING:
    from tests.handler.conftest import Server

    from pipeline_reprocessing_handler.aws import Aws

PATH = "/arn%3Aaws%3Acloudformation/weather?X-Amz-Signature=0f1e2d&X-Amz-Expires=7200"
BODY = b'{"Status": "SUCCESS"}'


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "READ_TIMEOUT", 0.3)


@pytest.fixture
def tls_server(
    serve: Callable[[ThreadingHTTPServer], Iterator[Server]],
    fresh_sandbox: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Server]:
    """An HTTPS server whose certificate the process trusts."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    listening = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    yield from serve(listening)


@pytest.mark.loopback
def test_an_answer_is_put_as_cloudformation_wants_it(real_aws: Aws, tls_server: Server) -> None:
    tls_server.answers = [(200, {}, b"")]

    status = real_aws.put(tls_server.url + PATH, BODY)

    assert status == 200
    (request,) = tls_server.received
    headers = {name.lower(): value for name, value in request.headers}
    assert (request.method, request.path, request.body) == ("PUT", PATH, BODY)
    assert headers["content-type"] == ""  # S3 would not accept another: it is part of the signature
    assert headers["content-length"] == str(len(BODY))
    assert "transfer-encoding" not in headers
    assert "authorization" not in headers


@pytest.mark.loopback
@pytest.mark.parametrize("status", [200, 204, 301, 307, 403, 404, 500, 503])
def test_the_status_is_passed_on(real_aws: Aws, server: Server, status: int) -> None:
    server.answers = [(status, {"Location": "/elsewhere"}, b"")]

    assert real_aws.put(server.url + PATH, BODY) == status

    assert len(server.received) == 1


@pytest.mark.loopback
@pytest.mark.parametrize("trouble", [None, 5.0], ids=["dropped connection", "silence"])
def test_trouble_on_the_way_is_sent_once_and_told_without_the_address(
    real_aws: Aws, server: Server, trouble: Any
) -> None:
    server.answers = [trouble]

    with pytest.raises(Unclear) as unclear:
        real_aws.put(server.url + PATH, BODY)

    assert str(unclear.value).startswith("PUT to 127.0.0.1 failed: ")
    assert_silent(unclear.value)
    assert len(server.received) == 1


@pytest.mark.loopback
def test_a_closed_port_is_told_without_the_address(
    real_aws: Aws, unused_tcp_port_url: Callable[[], str]
) -> None:
    with pytest.raises(Unclear) as unclear:
        real_aws.put(unused_tcp_port_url() + PATH, BODY)

    assert str(unclear.value) == "PUT to 127.0.0.1 failed: NewConnectionError"
    assert_silent(unclear.value)


@pytest.mark.loopback
def test_a_certificate_of_an_unknown_authority_is_refused(
    real_aws: Aws, tls_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    with pytest.raises(Unclear) as unclear:
        real_aws.put(tls_server.url + PATH, BODY)

    assert str(unclear.value) == "PUT to 127.0.0.1 failed: SSLError"
    assert_silent(unclear.value)
    assert tls_server.received == []


@pytest.mark.parametrize("url", ["https://[::1" + PATH, "https://" + PATH, "gopher://host" + PATH])
def test_an_address_that_is_none_is_not_quoted(real_aws: Aws, url: str) -> None:
    with pytest.raises(Unclear) as unclear:
        real_aws.put(url, BODY)

    assert_silent(unclear.value)


def assert_silent(error: BaseException) -> None:
    written = "".join(traceback.format_exception(error))

    assert "Signature" not in written
    assert PATH.partition("?")[0] not in written
