"""Contract of the embedded AWS: conditional copies, archived objects, and what a missing object looks like."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws import LocalAws

pytestmark = pytest.mark.embedded

_ARCHIVED = (403, "InvalidObjectState")


@pytest.fixture
def s3(local_aws: LocalAws) -> Any:
    """A client with all rights."""
    return local_aws.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    """A bucket with the objects `old` and `new`."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    for key in ("old", "new"):
        s3.put_object(Bucket=name, Key=key, Body=key.encode())
    return name


def _refusal(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    answer = refused.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def _allow(action: str, resource: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": f"arn:aws:s3:::{resource}", **more}


def _body(s3: Any, bucket: str, key: str) -> bytes:
    content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


@pytest.mark.parametrize(
    ("key", "condition", "refusal"),
    [
        ("old", {"IfNoneMatch": "*"}, (412, "PreconditionFailed")),
        ("old", {"IfMatch": '"0123456789abcdef0123456789abcdef"'}, (412, "PreconditionFailed")),
        ("absent", {"IfMatch": '"0123456789abcdef0123456789abcdef"'}, (404, "NoSuchKey")),
    ],
)
def test_a_copy_is_refused_when_its_destination_is_another(
    s3: Any, bucket: str, key: str, condition: dict[str, str], refusal: tuple[int, str]
) -> None:
    source = f"{bucket}/new"

    refused = _refusal(s3.copy_object, Bucket=bucket, Key=key, CopySource=source, **condition)

    assert refused == refusal
    assert _body(s3, bucket, "old") == b"old"
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["new", "old"]


def test_a_copy_is_made_when_its_destination_is_as_expected(s3: Any, bucket: str) -> None:
    expected = s3.head_object(Bucket=bucket, Key="old")["ETag"]
    source = f"{bucket}/new"

    s3.copy_object(Bucket=bucket, Key="old", CopySource=source, IfMatch=expected)
    s3.copy_object(Bucket=bucket, Key="absent", CopySource=source, IfNoneMatch="*")

    assert _body(s3, bucket, "old") == _body(s3, bucket, "absent") == b"new"


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_object_can_be_neither_read_nor_copied(s3: Any, bucket: str, storage_class: str) -> None:
    s3.put_object(Bucket=bucket, Key="cold", Body=b"cold", StorageClass=storage_class)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="copy")["UploadId"]
    copy = {"Bucket": bucket, "Key": "copy", "CopySource": f"{bucket}/cold"}

    assert _refusal(s3.get_object, Bucket=bucket, Key="cold") == _ARCHIVED
    assert _refusal(s3.copy_object, **copy) == _ARCHIVED
    assert _refusal(s3.upload_part_copy, UploadId=upload, PartNumber=1, **copy) == _ARCHIVED
    assert s3.head_object(Bucket=bucket, Key="cold")["StorageClass"] == storage_class


def test_a_restored_object_is_read_copied_and_listed_with_its_expiry(
    s3: Any, bucket: str, eventually: Any
) -> None:
    for key in ("a cold+1", "frozen"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"cold", StorageClass="GLACIER")

    def listed(**more: Any) -> dict[str, Any]:
        contents = s3.list_objects_v2(Bucket=bucket, **more)["Contents"]
        return {entry["Key"]: (entry["StorageClass"], entry.get("RestoreStatus")) for entry in contents}

    asked = {"OptionalObjectAttributes": ["RestoreStatus"]}
    s3.restore_object(Bucket=bucket, Key="a cold+1", RestoreRequest={"Days": 1})
    under_way = listed(**asked)
    eventually(lambda: 'ongoing-request="false"' in s3.head_object(Bucket=bucket, Key="a cold+1")["Restore"])
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/a cold+1")
    restored = listed(**asked)

    assert under_way["a cold+1"] == ("GLACIER", {"IsRestoreInProgress": True})
    assert restored["a cold+1"][1]["IsRestoreInProgress"] is False
    assert restored["a cold+1"][1]["RestoreExpiryDate"].tzinfo is not None
    assert restored["frozen"] == ("GLACIER", None)
    assert restored["new"] == restored["copy"] == ("STANDARD", None)
    assert listed()["a cold+1"] == ("GLACIER", None)
    assert _body(s3, bucket, "a cold+1") == _body(s3, bucket, "copy") == b"cold"


@pytest.mark.parametrize("versioning", ["Enabled", "Suspended"])
def test_the_copy_of_an_object_in_parts_has_the_etag_of_its_bytes(
    s3: Any, bucket: str, versioning: str
) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": versioning})
    upload = {"Bucket": bucket, "Key": "parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    part = s3.upload_part(PartNumber=1, Body=b"old", **upload)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    source = s3.complete_multipart_upload(MultipartUpload=parts, **upload)["ETag"]

    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/parts")["CopyObjectResult"][
        "ETag"
    ]

    assert source.endswith('-1"')
    assert copied == s3.head_object(Bucket=bucket, Key="old")["ETag"]
    assert copied == s3.head_object(Bucket=bucket, Key="copy")["ETag"]
    versions = s3.list_object_versions(Bucket=bucket, Prefix="copy")["Versions"]
    assert [version["ETag"] for version in versions] == [copied]


def test_a_missing_object_is_hidden_from_those_who_may_list_only_a_part(
    s3: Any, bucket: str, as_role: Any
) -> None:
    objects = _allow("s3:*Object", f"{bucket}/*")
    part = {"Condition": {"StringLike": {"s3:prefix": ["raw/*"]}}}
    partly = as_role("s3", objects, _allow("s3:ListBucket", bucket, **part))
    copy = {"Bucket": bucket, "Key": "copy", "CopySource": f"{bucket}/absent"}

    assert partly.list_objects_v2(Bucket=bucket, Prefix="raw/")["KeyCount"] == 0
    assert _body(partly, bucket, "old") == b"old"
    assert _refusal(partly.get_object, Bucket=bucket, Key="absent") == (403, "AccessDenied")
    assert _refusal(partly.head_object, Bucket=bucket, Key="absent") == (403, "403")
    assert _refusal(partly.copy_object, **copy) == (403, "AccessDenied")


def test_a_missing_object_is_known_to_those_who_may_list_the_bucket(
    s3: Any, bucket: str, as_role: Any
) -> None:
    wholly = as_role("s3", _allow("s3:*Object", f"{bucket}/*"), _allow("s3:ListBucket", bucket))
    copy = {"Bucket": bucket, "Key": "copy", "CopySource": f"{bucket}/absent"}

    assert _refusal(wholly.get_object, Bucket=bucket, Key="absent") == (404, "NoSuchKey")
    assert _refusal(wholly.head_object, Bucket=bucket, Key="absent") == (404, "404")
    assert _refusal(wholly.copy_object, **copy) == (404, "NoSuchKey")
