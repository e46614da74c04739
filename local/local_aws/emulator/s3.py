"""S3 where ministack is kinder than AWS.

- CopyObject honours `If-Match` and `If-None-Match` of the destination.
- CopyObject and UploadPartCopy refuse an archived source that is not restored.
- A copy gets the storage class STANDARD unless the request names another; ministack keeps that of the source.
- The ETag of a copy is the MD5 of its bytes, also where the source was uploaded in parts.
- A missing object is a 403 to callers without an unconditional `s3:ListBucket`, as the source of a copy too.
- ListObjects gives the `RestoreStatus` of restored objects to callers that ask for it.
"""

import hashlib
import xml.etree.ElementTree as ET
from typing import Any
from urllib.parse import unquote

from local_aws.emulator import hooks

_S3 = "ministack.services.s3"
_ACTIONS = "ministack.core.iam_actions"
_IAM = "ministack.core.iam_evaluator"

_ARN = "arn:aws:s3:::"
_XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"

Answer = tuple[int, dict[str, str], bytes]


def install() -> None:
    """Puts the checks around what ministack does."""
    hooks.replace(_S3, "_copy_object", "bucket_name dest_key headers", _check_both_ends)
    hooks.replace(_S3, "_upload_part_copy", "bucket_name dest_key query_params headers", _check_the_source)
    hooks.replace(_S3, "_dispatch", "method bucket key headers body query_params", _answer_as_s3)


def _check_both_ends(original: Any) -> Any:
    violated = hooks.find(_S3, "_check_put_preconditions")

    def copy_object(bucket_name: str, dest_key: str, headers: dict[str, str]) -> Answer:
        bucket = hooks.find(_S3, "_buckets").get(bucket_name) or {"objects": {}}
        current = bucket["objects"].get(dest_key)
        refused: Answer | None = _refused_source(headers) or violated(headers, current)
        if refused:
            return refused
        copied: Answer = original(bucket_name, dest_key, {"x-amz-storage-class": "STANDARD", **headers})
        return _with_etag_of_bytes(copied, bucket_name, dest_key) if copied[0] == 200 else copied

    return copy_object


def _with_etag_of_bytes(copied: Answer, bucket: str, key: str) -> Answer:
    copy = hooks.find(_S3, "_buckets")[bucket]["objects"][key]
    of_parts = copy["etag"]
    if "-" not in of_parts:
        return copied
    content = hooks.find(_S3, "_read_body")(bucket, key, copy)
    of_bytes = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    versions = hooks.find(_S3, "_object_versions").get((bucket, key), [])
    for record in (copy, *(version for version in versions if version["is_latest"])):
        record["etag"] = of_bytes
    status, headers, body = copied
    return status, headers, body.replace(of_parts.encode(), of_bytes.encode())


def _check_the_source(original: Any) -> Any:
    def upload_part_copy(
        bucket_name: str, dest_key: str, query_params: dict[str, list[str]], headers: dict[str, str]
    ) -> Answer:
        answer: Answer = _refused_source(headers) or original(bucket_name, dest_key, query_params, headers)
        return answer

    return upload_part_copy


def _answer_as_s3(original: Any) -> Any:
    def dispatch(  # noqa: PLR0917  # the parameters of the function that it replaces
        method: str,
        bucket: str,
        key: str,
        headers: dict[str, str],
        body: bytes,
        query_params: dict[str, list[str]],
    ) -> Answer:
        answer: Answer = original(method, bucket, key, headers, body, query_params)
        if method in {"GET", "HEAD"} and key and _is_missing(answer):
            return _hidden(bucket, headers, query_params) or answer
        asked = headers.get("x-amz-optional-object-attributes", "")
        if method == "GET" and not key and "RestoreStatus" in asked:
            return _with_restore_status(bucket, answer)
        return answer

    return dispatch


def _refused_source(headers: dict[str, str]) -> Answer | None:
    """Why the source of a copy cannot be read, for reasons that ministack does not look at."""
    source = hooks.find(_ACTIONS, "_s3_source_object")(headers)
    if source is None:
        return None
    arn, version = source
    bucket, _, key = arn.removeprefix(_ARN).partition("/")
    read: Answer = hooks.find(_S3, "_get_object")(
        bucket, key, {}, {"versionId": [version]} if version else {}
    )
    if _is_missing(read):
        return _hidden(bucket, headers, {})
    return read if b"<Code>InvalidObjectState</Code>" in read[2] and read[0] == 403 else None


def _is_missing(answer: Answer) -> bool:
    return answer[0] == 404 and b"<Code>NoSuchKey</Code>" in answer[2]


def _hidden(bucket: str, headers: dict[str, str], query_params: dict[str, list[str]]) -> Answer | None:
    """The answer about a missing object to a caller that may not know that it is missing."""
    access_key = hooks.find("ministack.core.router", "extract_access_key_id")(headers, query_params)
    if not access_key:
        return None  # a service of the emulator itself
    region = hooks.find("ministack.core.responses", "get_region")()
    # Without `s3:prefix`, which GetObject does not have: a conditional right to list does not count.
    denied = hooks.find(_IAM, "enforce")(
        access_key, "s3:ListBucket", "s3", region, resource_arn=f"{_ARN}{bucket}", service_context={}
    )
    if denied is None:
        return None
    answer: Answer = hooks.find(_ACTIONS, "access_denied_response")(
        "s3",
        "s3:ListBucket",
        denied.principal_arn,
        hooks.find("ministack.core.responses", "new_uuid")(),
        headers=headers,
        explicit_deny=denied.decision == "Deny",
    )
    return answer


def _with_restore_status(bucket_name: str, answer: Answer) -> Answer:
    status, headers, body = answer
    bucket = hooks.find(_S3, "_buckets").get(bucket_name)
    if status != 200 or bucket is None:
        return answer
    listing = ET.fromstring(body)  # noqa: S314  # written by the emulator itself
    decoded = unquote if listing.find(f"{{{_XMLNS}}}EncodingType") is not None else str
    for entry in listing.iter(f"{{{_XMLNS}}}Contents"):
        key = decoded(entry.findtext(f"{{{_XMLNS}}}Key", ""))
        record = bucket["objects"].get(key)
        phase = hooks.find(_S3, "_sync_restore")(bucket_name, key, record)
        if phase is None:
            continue
        restore = ET.SubElement(entry, f"{{{_XMLNS}}}RestoreStatus")
        ongoing = ET.SubElement(restore, f"{{{_XMLNS}}}IsRestoreInProgress")
        ongoing.text = "true" if phase == "in_progress" else "false"
        if phase == "restored":
            expiry = ET.SubElement(restore, f"{{{_XMLNS}}}RestoreExpiryDate")
            expiry.text = hooks.find(_S3, "_restore_expiry_iso")(record["restore"]["expires_at"])
    return status, headers, ET.tostring(listing, "utf-8", xml_declaration=True, default_namespace=_XMLNS)
