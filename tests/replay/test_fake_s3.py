"""The S3 of these tests refuses what S3 refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from fake_s3 import FakeS3, Stored

PLACE: Any = {"Bucket": "result-bucket", "Key": "key"}
SOURCE: Any = {"Bucket": "result-bucket", "Key": "source"}
PART: Any = {"PartNumber": 1}


def begun(s3: FakeS3) -> Any:
    return {**PLACE, "UploadId": s3.create_multipart_upload(**PLACE)["UploadId"]}


def upload(s3: FakeS3, *bodies: bytes) -> tuple[Any, list[Any]]:
    place = begun(s3)
    return place, [
        {"PartNumber": number, **s3.upload_part(**place, PartNumber=number, Body=body)}
        for number, body in enumerate(bodies, 1)
    ]


def complete(s3: FakeS3, change: Callable[[list[Any]], list[Any]], *bodies: bytes) -> None:
    place, parts = upload(s3, *bodies)
    s3.complete_multipart_upload(**place, MultipartUpload={"Parts": change(parts)})


def completed_twice(s3: FakeS3) -> None:
    place, parts = upload(s3, b"x")
    for _ in range(2):
        s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})


REFUSED: dict[str, list[Callable[[FakeS3], Any]]] = {
    "KeyTooLongError": [lambda s3: s3.put_object(Bucket="result-bucket", Key="ü" * 513, Body=b"")],
    "MetadataTooLarge": [lambda s3: s3.put_object(**PLACE, Body=b"", Metadata={"name": "x" * 2045})],
    "PreconditionFailed": [
        lambda s3: s3.put_object(**SOURCE, Body=b"", IfNoneMatch="*"),
        lambda s3: s3.put_object(**SOURCE, Body=b"", IfMatch='"other"'),
        lambda s3: s3.delete_object(**SOURCE, IfMatch='"other"'),
        lambda s3: (
            s3.copy_object(**PLACE, CopySource=SOURCE)
            and s3.copy_object(**PLACE, CopySource=SOURCE, IfNoneMatch="*")
        ),
    ],
    "NoSuchKey": [
        lambda s3: s3.put_object(**PLACE, Body=b"", IfMatch='"other"'),
        lambda s3: s3.copy_object(**SOURCE, CopySource=PLACE),
    ],
    "MalformedXML": [
        lambda s3: s3.delete_objects(Bucket="result-bucket", Delete={"Objects": [{"Key": "k"}] * 1001}),
        lambda s3: s3.delete_objects(Bucket="result-bucket", Delete={"Objects": []}),
        lambda s3: complete(s3, lambda parts: [], b"x"),
    ],
    "InvalidArgument": [
        lambda s3: s3.upload_part(**begun(s3), PartNumber=0, Body=b"x"),
        lambda s3: s3.upload_part(**begun(s3), PartNumber=10_001, Body=b"x"),
        lambda s3: s3.upload_part_copy(
            **begun(s3), **PART, CopySource=SOURCE, CopySourceRange=f"bytes=0-{6 << 20}"
        ),
    ],
    "InvalidRequest": [
        lambda s3: s3.copy_object(**SOURCE, CopySource=SOURCE),
        lambda s3: s3.upload_part_copy(
            **begun(s3),
            **PART,
            CopySource={"Bucket": "result-bucket", "Key": "small"},
            CopySourceRange="bytes=0-0",
        ),
    ],
    "EntityTooSmall": [lambda s3: complete(s3, list, b"x", b"y")],
    "InvalidPartOrder": [lambda s3: complete(s3, lambda parts: parts[::-1], b"x", b"y")],
    "InvalidPart": [
        lambda s3: complete(s3, lambda parts: [{**parts[0], "ETag": '"other"'}], b"x"),
        lambda s3: complete(s3, lambda parts: [{**parts[0], "PartNumber": 2}], b"x"),
    ],
    "NoSuchUpload": [
        completed_twice,
        lambda s3: s3.upload_part(**SOURCE, **PART, UploadId=begun(s3)["UploadId"], Body=b"x"),
    ],
}


@pytest.mark.parametrize(
    ("code", "request_"), [(code, each) for code, requests in REFUSED.items() for each in requests]
)
def test_what_s3_refuses_is_refused(s3: FakeS3, code: str, request_: Callable[[FakeS3], Any]) -> None:
    s3.buckets["result-bucket"] |= {"source": Stored(b"x" * (6 << 20), {}), "small": Stored(b"x", {})}

    with pytest.raises(ClientError) as caught:
        request_(s3)

    assert caught.value.response["Error"]["Code"] == code


def test_metadata_must_be_ascii(s3: FakeS3) -> None:
    with pytest.raises(ParamValidationError):
        s3.put_object(**PLACE, Body=b"", Metadata={"name": "ü"})


def test_an_etag_is_of_the_bytes_and_their_parts_and_not_of_the_metadata(s3: FakeS3) -> None:
    assert Stored(b"x", {"a": "b"}).etag == Stored(b"x", {}).etag == '"9dd4e461268c8034f5c8564e155c67a6"'

    complete(s3, list, b"x")

    # MD5 of the MD5s, as S3 computes it of a multipart upload.
    assert s3.buckets["result-bucket"]["key"].etag == '"9affad555af89da9b0bfcd5e45bc93da-1"'
