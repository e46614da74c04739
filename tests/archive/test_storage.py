"""What happens on the way to S3 and back."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree as ET

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError

from archive_replay.faults import ObjectFailure, ReplayStopped, Superseded, Throttled
from archive_replay.functions import Functions
from archive_replay.storage import Storage, StoredObject, connect


def store(pipeline: Any, body: bytes) -> None:
    pipeline.put("key", raw=body)


def test_a_download_that_breaks_off_goes_on_where_it_broke(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archive_replay.storage.CHUNK", 4)
    store(pipeline, b"0123456789abcdef")
    pipeline.s3.breaks_after += [6, 5]

    assert b"".join(pipeline.storage.read("raw-bucket", "key")) == b"0123456789abcdef"
    assert [call for call, _ in pipeline.s3.calls] == ["GetObject"] * 3


def test_a_download_may_break_off_as_often_as_it_goes_on_in_between(pipeline: Any) -> None:
    store(pipeline, b"0123456789")
    pipeline.s3.breaks_after += [2, 0, 2, 0, 2, 0]

    assert b"".join(pipeline.storage.read("raw-bucket", "key")) == b"0123456789"
    assert len(pipeline.s3.calls) == 7


def test_a_download_that_never_goes_on_is_tried_again_later(pipeline: Any) -> None:
    store(pipeline, b"0123456789")
    pipeline.s3.breaks_after += [0, 0, 0, 0]

    with pytest.raises(Throttled, match="cannot read s3://raw-bucket/key: ReadTimeoutError: Read timeout on"):
        list(pipeline.storage.read("raw-bucket", "key"))
    assert len(pipeline.s3.calls) == 3


def test_an_object_that_changes_while_it_is_read_is_not_mixed(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archive_replay.storage.CHUNK", 4)
    store(pipeline, b"0123456789abcdef")
    pipeline.s3.breaks_after.append(6)
    chunks = pipeline.storage.read("raw-bucket", "key")
    assert next(chunks) == b"0123"

    store(pipeline, b"something else that is as long")
    with pytest.raises(Throttled, match="cannot read s3://raw-bucket/key: PreconditionFailed"):
        list(chunks)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [("SlowDown", 503, Throttled), ("NoSuchBucket", 404, ReplayStopped), ("NoSuchKey", 404, ObjectFailure)],
)
def test_a_read_fails_as_far_as_its_cause_reaches(
    pipeline: Any, code: str, status: int, expected: Any
) -> None:
    store(pipeline, b"x")
    pipeline.s3.fail("GetObject", code, status)

    with pytest.raises(expected, match=f"{code} in GetObject"):
        list(pipeline.storage.read("raw-bucket", "key"))


def test_what_is_written_is_the_same_however_it_is_cut(pipeline: Any) -> None:
    for name, pieces in (("a", [b"xyz" * 1000]), ("b", [b"xyz"] * 1000)):
        with pipeline.storage.upload("result-bucket", name, compress=True) as upload:
            for piece in pieces:
                upload.write(piece)

    first, second = (pipeline.s3.buckets["result-bucket"][name].body for name in ("a", "b"))
    assert gzip.decompress(first) == gzip.decompress(second) == b"xyz" * 1000
    assert first[4:8] == b"\0" * 4  # no time in the header
    assert first == second


def test_an_exception_leaves_nothing_behind(pipeline: Any) -> None:
    def write() -> None:
        with pipeline.storage.upload("result-bucket", "key") as upload:
            upload.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write()

    assert pipeline.s3.keys("result-bucket") == []


def test_a_result_of_a_run_that_began_later_stays(pipeline: Any) -> None:
    def write(started: str) -> None:
        with pipeline.storage.upload("result-bucket", "key", started=started) as upload:
            upload.write(started.encode())

    write("2026-01-02T00:00:00.000Z")
    with pytest.raises(Superseded, match="s3://result-bucket/key was written by a run that began later"):
        write("2026-01-01T23:59:59.999Z")
    write("2026-01-02T00:00:00.000Z")
    write("2026-01-02T00:00:00.001Z")

    assert pipeline.s3.buckets["result-bucket"]["key"].body == b"2026-01-02T00:00:00.001Z"


def test_results_are_written_without_the_right_to_look_at_them(pipeline: Any) -> None:
    pipeline.s3.denied.add(("HeadObject", ""))

    with pipeline.storage.upload("result-bucket", "key", started="2026") as upload:
        upload.write(b"x")

    assert pipeline.s3.buckets["result-bucket"]["key"].body == b"x"


def test_a_write_that_met_its_own_first_attempt_is_made_again(pipeline: Any) -> None:
    def write() -> None:
        with pipeline.storage.upload("result-bucket", "key", started="2026") as upload:
            upload.write(b"x")

    pipeline.s3.before_write.append(write)  # it was stored, but boto3 got no answer and repeats the request

    write()

    assert pipeline.s3.buckets["result-bucket"]["key"].body == b"x"


def test_a_write_that_always_meets_another_is_repeated_later(pipeline: Any) -> None:
    for _ in range(5):
        pipeline.s3.fail("PutObject", "PreconditionFailed", 412)

    def write() -> None:
        with pipeline.storage.upload("result-bucket", "key", started="2026") as upload:
            upload.write(b"x")

    with pytest.raises(Throttled, match="s3://result-bucket/key is being written by another run"):
        write()


def test_parts_are_not_completed_after_a_conflict(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archive_replay.uploads.PART", 5 << 20)
    pipeline.s3.fail("CompleteMultipartUpload", "ConditionalRequestConflict", 409)

    def write() -> None:
        with pipeline.storage.upload("result-bucket", "key", started="2026") as upload:
            upload.write(b"x" * (6 << 20))

    with pytest.raises(Throttled, match="is being written by another run"):
        write()
    assert pipeline.s3.uploads == {}
    write()
    assert len(pipeline.s3.buckets["result-bucket"]["key"].body) == 6 << 20


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("AccessDenied", 403, ReplayStopped),
        ("InternalError", 500, Throttled),
        ("NoSuchUpload", 404, Throttled),
    ],
)
def test_a_part_that_cannot_be_written_leaves_no_upload_behind(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, operation: str, code: str, status: int, expected: Any
) -> None:
    monkeypatch.setattr("archive_replay.uploads.PART", 5 << 20)
    pipeline.s3.fail(operation, code, status)

    def write() -> None:
        with pipeline.storage.upload("result-bucket", "key") as upload:
            upload.write(b"x" * (12 << 20))

    with pytest.raises(expected, match=f"cannot write s3://result-bucket/key: {code}"):
        write()
    assert pipeline.s3.uploads == {}


def test_the_first_error_is_told_when_cleaning_up_fails_too(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archive_replay.uploads.PART", 5 << 20)
    pipeline.s3.fail("UploadPart", "AccessDenied", 403)
    pipeline.s3.fail("AbortMultipartUpload", "InternalError", 500)

    def write() -> None:
        with pipeline.storage.upload("result-bucket", "key") as upload:
            upload.write(b"x" * (6 << 20))

    with pytest.raises(ReplayStopped, match="AccessDenied"):
        write()


def test_a_connection_that_fails_is_worth_another_try(pipeline: Any) -> None:
    failure = EndpointConnectionError(endpoint_url="https://s3")
    pipeline.s3.faults.append(("PutObject", "", lambda: failure))
    pipeline.function.faults.append(failure)

    with pytest.raises(Throttled, match="cannot write s3://result-bucket/key: EndpointConnectionError"):
        pipeline.storage.write_json("result-bucket", "key", {})
    with pytest.raises(Throttled, match=r"cannot invoke arn:.*: EndpointConnectionError"):
        Functions(pipeline.function, "arn:aws:lambda:eu-west-1:111122223333:function:enrich").invoke(b"[]")


ODD = "dt=2025-01-01/a b+c%20:d&e?#ü.json.gz"


class Wire:
    """What a real client sends, and what it gets for it."""

    def __init__(self, operation: str, answer: str) -> None:
        s3, _ = connect()
        events: Any = s3.meta.events
        events.register(f"before-send.s3.{operation}", self._sent)
        self.storage = Storage(s3)
        self.requests: list[Any] = []
        self._answer = answer.encode()

    def _sent(self, request: Any, **_: Any) -> AWSResponse:
        self.requests.append(request)
        headers: Any = {"content-type": "application/xml"}
        return AWSResponse(request.url, 200, headers, self)

    def stream(self) -> Iterator[bytes]:
        yield self._answer


def test_a_key_with_special_characters_is_copied() -> None:
    wire = Wire("CopyObject", '<CopyObjectResult><ETag>"1"</ETag></CopyObjectResult>')

    wire.storage.copy("bucket", ODD, f"copy/{ODD}", started="")

    [request] = wire.requests
    assert unquote(urlsplit(request.url).path) == f"/copy/{ODD}"
    source = request.headers["x-amz-copy-source"].decode()
    assert unquote(source) == f"bucket/{ODD}"
    assert not set(source) & set(" +?#")


def test_a_key_with_special_characters_is_removed() -> None:
    wire = Wire("DeleteObjects", "<DeleteResult/>")

    wire.storage.remove_each("bucket", [ODD])

    [request] = wire.requests
    assert [each.text for each in ET.fromstring(request.body).iter() if each.tag.endswith("Key")] == [ODD]


def test_a_key_with_special_characters_is_listed() -> None:
    wire = Wire(
        "ListObjectsV2",
        "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>"
        f"<Contents><Key>{quote(ODD)}</Key><Size>7</Size></Contents></ListBucketResult>",
    )

    assert list(wire.storage.list("bucket", "dt=")) == [StoredObject(ODD, 7)]
    assert "encoding-type=url" in wire.requests[0].url


def test_the_real_clients_wait_longer_than_any_function_runs() -> None:
    s3, functions = connect()

    assert s3.meta.service_model.service_name == "s3"
    config: Any = functions.meta.config
    assert config.read_timeout > 900
    assert config.retries["mode"] == "standard"
