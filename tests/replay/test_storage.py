"""What happens on the way to S3 and back."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree as ET

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError
from fake_s3 import Stored

from object_replay.faults import Denied, ObjectFailure, ReplayStopped, Superseded, Throttled
from object_replay.functions import Functions
from object_replay.settings import Run
from object_replay.storage import Storage, StoredObject, connect

OLD, NEW = "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"


def began(pipeline: Any, started: str) -> Run:
    """The pipeline's run, as one that began then."""
    run: Run = pipeline.parsed()
    return replace(run, started=started)


def write(pipeline: Any, started: str, content: bytes = b"x") -> None:
    """A run that began then writes a result."""
    with pipeline.storage.upload("result-bucket", "key", run=began(pipeline, started)) as upload:
        upload.write(content)


def content(pipeline: Any, key: str = "key") -> bytes:
    return gzip.decompress(pipeline.s3.buckets["result-bucket"][key].body)


def store(pipeline: Any, body: bytes) -> None:
    pipeline.put("key", raw=body)


def test_a_download_that_breaks_off_goes_on_where_it_broke(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("object_replay.storage.CHUNK", 4)
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
    monkeypatch.setattr("object_replay.storage.CHUNK", 4)
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
        with pipeline.storage.upload("result-bucket", name, run=pipeline.parsed()) as upload:
            for piece in pieces:
                upload.write(piece)

    first, second = (pipeline.s3.buckets["result-bucket"][name].body for name in ("a", "b"))
    assert gzip.decompress(first) == gzip.decompress(second) == b"xyz" * 1000
    assert first == second


@pytest.mark.parametrize("change", [{"name": "run-2"}, {"started": NEW}], ids=str)
@pytest.mark.parametrize("shared", [True, False])
def test_equal_results_of_two_runs_differ_in_their_etag(pipeline: Any, change: Any, shared: bool) -> None:
    run = pipeline.parsed()
    for name, writer in (("a", run), ("b", replace(run, **change))):
        with pipeline.storage.upload("result-bucket", name, run=writer, shared=shared) as upload:
            upload.write(b"xyz")

    first, second = (pipeline.s3.buckets["result-bucket"][name] for name in ("a", "b"))
    assert gzip.decompress(first.body) == gzip.decompress(second.body) == b"xyz"
    assert first.etag != second.etag
    assert b"run-1 2026-02-01T00:00:00.000Z\0" in first.body


def test_an_object_of_the_run_s_own_folder_is_written_as_it_is(pipeline: Any) -> None:
    with pipeline.storage.upload("result-bucket", "key") as upload:
        upload.write(b"x")
        upload.write(b"y")

    stored = pipeline.s3.buckets["result-bucket"]["key"]
    assert (stored.body, stored.metadata, upload.written) == (b"xy", {}, 2)
    assert [call for call, _ in pipeline.s3.calls] == ["PutObject"]


def test_a_result_of_more_than_a_part_is_uploaded_in_parts_of_8_mib(pipeline: Any) -> None:
    data = random.Random(1).randbytes(17 << 20)  # does not become smaller

    with pipeline.storage.upload("result-bucket", "key", run=pipeline.parsed()) as upload:
        for first in range(0, len(data), 1 << 20):
            upload.write(data[first : first + (1 << 20)])
            [*pending] = pipeline.s3.uploads.values()
            assert all(len(part) == 8 << 20 for each in pending for part in each.parts.values())
            numbers = {number for each in pending for number in each.parts}

    stored = pipeline.s3.buckets["result-bucket"]["key"]
    assert gzip.decompress(stored.body) == data
    assert stored.metadata == {"replay-started": pipeline.started}
    assert stored.etag.endswith('-3"')
    assert numbers == {1, 2}
    assert upload.written == len(stored.body)
    assert pipeline.s3.uploads == {}


def test_an_exception_leaves_nothing_behind(pipeline: Any) -> None:
    def write() -> None:
        with pipeline.storage.upload("result-bucket", "key") as upload:
            upload.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write()

    assert pipeline.s3.keys("result-bucket") == []


def test_a_result_of_a_run_that_began_later_stays(pipeline: Any) -> None:
    write(pipeline, NEW, b"new")

    with pytest.raises(Superseded, match="s3://result-bucket/key was written by a run that began later"):
        write(pipeline, "2026-01-01T23:59:59.999Z")
    assert content(pipeline) == b"new"
    write(pipeline, NEW, b"again")
    assert content(pipeline) == b"again"
    write(pipeline, "2026-01-02T00:00:00.001Z", b"newer")
    assert content(pipeline) == b"newer"


@pytest.mark.parametrize("before", [None, b"same"], ids=["nothing was there", "an earlier run's was there"])
@pytest.mark.parametrize("size", [0, 6 << 20], ids=["at once", "in parts"])
def test_a_write_does_not_replace_what_a_later_run_wrote_in_the_meantime(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, size: int, before: bytes | None
) -> None:
    monkeypatch.setattr("object_replay.uploads.PART", 5 << 20)
    monkeypatch.setattr("object_replay.uploads.COMPRESSION_LEVEL", 0)
    if before:
        write(pipeline, "2025", before)
    # The later run writes what was there before, as after a rollback: only its name tells the two apart.
    pipeline.s3.before_write.append(lambda: write(pipeline, NEW, b"same"))

    with pytest.raises((Superseded, Throttled)):
        write(pipeline, OLD, b"x" * size)

    assert content(pipeline) == b"same"
    assert pipeline.s3.uploads == {}


def test_a_write_of_which_only_staging_knows_looks_at_nothing(pipeline: Any) -> None:
    with pipeline.storage.upload("result-bucket", "key", run=pipeline.parsed(), shared=False) as upload:
        upload.write(b"x")

    assert [call for call, _ in pipeline.s3.calls] == ["PutObject"]
    assert pipeline.s3.buckets["result-bucket"]["key"].metadata == {"replay-started": pipeline.started}


def test_results_are_written_without_the_right_to_look_at_them(pipeline: Any) -> None:
    pipeline.s3.denied.add(("HeadObject", ""))

    write(pipeline, NEW)

    assert content(pipeline) == b"x"


def test_a_look_that_fails_in_passing_is_repeated_later(pipeline: Any) -> None:
    pipeline.s3.fail("HeadObject", "SlowDown", 503)

    with pytest.raises(Throttled, match="cannot write s3://result-bucket/key: SlowDown"):
        write(pipeline, NEW)


def test_a_write_that_met_its_own_first_attempt_is_made_again(pipeline: Any) -> None:
    # It was stored, but boto3 got no answer and repeats the request.
    pipeline.s3.before_write.append(lambda: write(pipeline, NEW))

    write(pipeline, NEW)

    assert content(pipeline) == b"x"


@pytest.mark.parametrize(("times", "succeeds"), [(4, True), (5, False)])
def test_a_write_that_always_meets_another_is_repeated_later(
    pipeline: Any, times: int, succeeds: bool
) -> None:
    for _ in range(times):
        pipeline.s3.fail("PutObject", "PreconditionFailed", 412)

    if succeeds:
        write(pipeline, NEW)
        assert content(pipeline) == b"x"
    else:
        with pytest.raises(Throttled, match="s3://result-bucket/key is being written by another run"):
            write(pipeline, NEW)


def test_a_conflict_in_the_run_s_own_folder_is_no_other_run_s(pipeline: Any) -> None:
    pipeline.s3.fail("PutObject", "PreconditionFailed", 412)

    with pytest.raises(ReplayStopped, match="cannot write s3://result-bucket/key: PreconditionFailed"):
        pipeline.storage.write_json("result-bucket", "key", {})


def test_a_copy_over_a_result_that_others_keep_writing_is_left_for_later(pipeline: Any) -> None:
    pipeline.s3.buckets["result-bucket"]["staged"] = Stored(b"x", {"replay-started": NEW})
    for _ in range(5):
        pipeline.s3.fail("CopyObject", "PreconditionFailed", 412)

    with pytest.raises(Throttled, match=r"^s3://result-bucket/key is being written by another run"):
        pipeline.storage.copy("result-bucket", "staged", "key", run=began(pipeline, NEW))


def test_parts_are_not_completed_after_a_conflict(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("object_replay.uploads.PART", 5 << 20)
    monkeypatch.setattr("object_replay.uploads.COMPRESSION_LEVEL", 0)
    pipeline.s3.fail("CompleteMultipartUpload", "ConditionalRequestConflict", 409)

    with pytest.raises(Throttled, match="is being written by another run"):
        write(pipeline, NEW, b"x" * (6 << 20))
    assert pipeline.s3.uploads == {}
    write(pipeline, NEW, b"x" * (6 << 20))
    assert content(pipeline) == b"x" * (6 << 20)


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
    monkeypatch.setattr("object_replay.uploads.PART", 5 << 20)
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
    monkeypatch.setattr("object_replay.uploads.PART", 5 << 20)
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


def removed(pipeline: Any, count: int) -> list[str]:
    """Removes so many objects, a last one stays."""
    names = [f"key-{number:04d}" for number in range(count + 1)]
    pipeline.s3.buckets["result-bucket"] = {name: Stored(b"x", {}) for name in names}
    pipeline.storage.remove_each("result-bucket", names[:count])
    keys: list[str] = pipeline.s3.keys("result-bucket")
    return keys


@pytest.mark.parametrize("count", [0, 1, 1000, 1001, 2500])
def test_objects_are_removed_a_thousand_at_a_time(pipeline: Any, count: int) -> None:
    assert removed(pipeline, count) == [f"key-{count:04d}"]
    assert len([call for call, _ in pipeline.s3.calls]) == count


@pytest.mark.parametrize("code", ["InternalError", "SlowDown", "ServiceUnavailable", "OperationAborted"])
def test_a_key_that_cannot_be_removed_in_passing_is_tried_again(pipeline: Any, code: str) -> None:
    pipeline.s3.key_errors += [("key-0000", code)] * 2

    assert removed(pipeline, 1001) == ["key-1001"]
    assert [key for _, key in pipeline.s3.calls].count("key-0000") == 3
    assert len(pipeline.s3.calls) == 1001 + 2


def test_a_key_that_cannot_be_removed_again_and_again_is_left_to_the_step(pipeline: Any) -> None:
    pipeline.s3.key_errors += [("key-0000", "InternalError")] * 3

    with pytest.raises(
        Throttled, match="cannot remove s3://result-bucket/key-0000: InternalError: InternalError in Delete"
    ):
        removed(pipeline, 1001)
    assert pipeline.s3.keys("result-bucket") == ["key-0000", "key-1001"]


def test_a_key_that_may_not_be_removed_is_final_and_the_others_go(pipeline: Any) -> None:
    pipeline.s3.denied.add(("DeleteObjects", "key-0003"))
    pipeline.s3.key_errors.append(("key-0002", "InternalError"))

    with pytest.raises(Denied, match="cannot remove s3://result-bucket/key-0003: AccessDenied"):
        removed(pipeline, 1001)
    assert pipeline.s3.keys("result-bucket") == ["key-0003", "key-1001"]
    assert [key for _, key in pipeline.s3.calls].count("key-0003") == 1


def test_a_key_that_s3_refuses_is_named_with_the_reason(pipeline: Any) -> None:
    with pytest.raises(ReplayStopped, match=r"cannot remove s3://result-bucket/k{1025}: KeyTooLongError"):
        pipeline.storage.remove_each("result-bucket", ["k" * 1025])


def test_everything_under_a_prefix_is_removed_and_nothing_else(pipeline: Any) -> None:
    pipeline.s3.buckets["result-bucket"] = {name: Stored(b"x", {}) for name in ("a", "b/1", "b/2", "c")}

    pipeline.storage.remove_all("result-bucket", "b/")

    assert pipeline.s3.keys("result-bucket") == ["a", "c"]


@pytest.mark.parametrize(
    ("metadata", "stays"),
    [({"replay-started": OLD}, False), ({"replay-started": NEW}, True), ({}, True)],
    ids=["an earlier run's", "the run's own", "a person's"],
)
def test_only_what_an_earlier_run_wrote_is_removed(pipeline: Any, metadata: Any, stays: bool) -> None:
    pipeline.s3.buckets["result-bucket"]["key"] = Stored(b"x", metadata)

    pipeline.storage.remove_errors("result-bucket", "key", run=began(pipeline, NEW), own=False)

    assert pipeline.s3.keys("result-bucket") == ["key"] * stays


@pytest.mark.parametrize(
    ("stored", "started"),
    [(None, ""), (Stored(b"x", {}), ""), (Stored(b"x", {"replay-started": OLD}), OLD)],
    ids=["nothing", "a person's", "a run's"],
)
def test_an_object_tells_when_the_run_began_that_wrote_it(pipeline: Any, stored: Any, started: str) -> None:
    if stored:
        pipeline.s3.buckets["result-bucket"]["key"] = stored

    assert pipeline.storage.started("result-bucket", "key") == started


def test_what_a_person_wrote_is_replaced(pipeline: Any) -> None:
    pipeline.s3.buckets["result-bucket"]["key"] = Stored(b"x", {})

    write(pipeline, OLD, b"result")

    assert content(pipeline) == b"result"


def test_what_is_not_there_need_not_be_removed(pipeline: Any) -> None:
    pipeline.storage.remove_errors("result-bucket", "key", run=began(pipeline, NEW), own=False)

    assert [call for call, _ in pipeline.s3.calls] == ["HeadObject"]


@pytest.mark.parametrize(
    ("code", "status", "expected"), [("AccessDenied", 403, Denied), ("SlowDown", 503, Throttled)]
)
def test_what_cannot_be_removed_is_named_with_the_reason(
    pipeline: Any, code: str, status: int, expected: Any
) -> None:
    pipeline.s3.buckets["result-bucket"]["key"] = Stored(b"x", {"replay-started": OLD})
    pipeline.s3.fail("DeleteObject", code, status)

    with pytest.raises(expected, match=f"cannot remove s3://result-bucket/key: {code}"):
        pipeline.storage.remove_errors("result-bucket", "key", run=began(pipeline, NEW), own=False)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"text": "ü 日本 \N{GRINNING FACE}"}, {"text": "ü 日本 \N{GRINNING FACE}"}),
        ({"\ud83d": ["half of \udc00 a pair"]}, {"?": ["half of ? a pair"]}),
    ],
)
def test_json_is_written_whatever_its_texts_hold(pipeline: Any, value: Any, read: Any) -> None:
    pipeline.storage.write_json("result-bucket", "key", value)

    assert pipeline.storage.read_json("result-bucket", "key") == read
    json.dumps(read, ensure_ascii=False).encode()  # as Lambda's runtime does


ODD = "dt=2025-01-01/a b+c%20:d&e?#ü.json.gz"


class Wire:
    """What a real client sends, and what it gets for it."""

    def __init__(self, operation: str, answer: str) -> None:
        s3, _ = connect()
        events: Any = s3.meta.events
        events.register(f"before-send.s3.{operation}", self._sent)
        events.register("before-send.s3.HeadObject", self._missing)
        self.storage = Storage(s3)
        self.requests: list[Any] = []
        self._answer = answer.encode()

    def _sent(self, request: Any, **_: Any) -> AWSResponse:
        self.requests.append(request)
        headers: Any = {"content-type": "application/xml"}
        return AWSResponse(request.url, 200, headers, self)

    def _missing(self, request: Any, **_: Any) -> AWSResponse:
        self._answer, answer = b"", self._answer
        headers: Any = {}
        missing = AWSResponse(request.url, 404, headers, self)
        assert missing.content == b""  # an answer to HEAD has no body
        self._answer = answer
        return missing

    def stream(self) -> Iterator[bytes]:
        yield self._answer


def test_a_key_with_special_characters_is_copied(pipeline: Any) -> None:
    wire = Wire("CopyObject", '<CopyObjectResult><ETag>"1"</ETag></CopyObjectResult>')

    wire.storage.copy("bucket", ODD, f"copy/{ODD}", run=pipeline.parsed())

    [request] = wire.requests
    assert request.headers["If-None-Match"] == b"*"
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
    s3_config: Any = s3.meta.config
    assert (s3_config.read_timeout, s3_config.connect_timeout, s3_config.max_pool_connections) == (60, 10, 40)
    config: Any = functions.meta.config
    assert (config.read_timeout, config.connect_timeout, config.tcp_keepalive) == (905, 10, True)
    # A call of a function that was sent twice would be there twice.
    for each, attempts in ((s3.meta.config, 6), (functions.meta.config, 1)):
        retries: Any = vars(each)["_user_provided_options"]["retries"]
        assert (retries["mode"], retries["total_max_attempts"]) == ("standard", attempts)
