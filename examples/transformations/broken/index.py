"""A Firehose transformation with a mistake: messages have no `temperature`, so every batch fails."""

import base64
import json
from typing import Any


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    return {"records": [transform(record) for record in event["records"]]}


def transform(record: dict[str, str]) -> dict[str, str]:
    message = json.loads(base64.b64decode(record["data"]))
    message["temperature"] = (message["temperature"] - 32) / 1.8
    line = json.dumps(message).encode() + b"\n"
    return {"recordId": record["recordId"], "result": "Ok", "data": base64.b64encode(line).decode()}
