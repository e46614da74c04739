"""A Firehose transformation: temperatures in degrees Celsius, without what no thermometer in Seattle can show."""

import base64
import json
from typing import Any


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    return {"records": [transform(record) for record in event["records"]]}


def transform(record: dict[str, str]) -> dict[str, str]:
    message = json.loads(base64.b64decode(record["data"]))
    if not -40 < message["temp"] < 130:
        return {"recordId": record["recordId"], "result": "Dropped", "data": record["data"]}
    message["temp"] = (message["temp"] - 32) / 1.8
    line = json.dumps(message).encode() + b"\n"
    return {"recordId": record["recordId"], "result": "Ok", "data": base64.b64encode(line).decode()}
