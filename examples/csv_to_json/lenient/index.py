"""CSV files to JSON lines, as S3 tells of them: every value is a number, or null where the file has none."""

import csv
import io
import json
import os
from typing import Any
from urllib.parse import unquote_plus

import boto3

s3 = boto3.client("s3")


def handler(event: dict[str, Any], _context: object) -> None:
    for record in event["Records"]:
        bucket, key = record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
        text = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
        lines = [json.dumps(converted(row)) + "\n" for row in csv.DictReader(io.StringIO(text))]
        # The same place for the same upload, however often it is processed.
        target = key.removeprefix("uploads/").removesuffix(".csv") + ".jsonl"
        s3.put_object(Bucket=os.environ["RESULTS"], Key=target, Body="".join(lines).encode())


def converted(row: dict[str, str]) -> dict[str, Any]:
    return {name: number(value) for name, value in row.items()}


def number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
