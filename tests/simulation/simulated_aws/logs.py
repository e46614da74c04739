"""CloudWatch Logs: the streams of one log group."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .errors import service_error
from .timeline import Timeline

_NAME = re.compile(r"[^:*]{1,512}")


class SimulatedLogs:
    """CreateLogStream is atomic; DescribeLogStreams comes late, and in pages, which may be empty and still not the last.

    Args:
        timeline: When.
        page_size: Streams in one page.
        lag: Seconds until a new stream is listed.
    """

    def __init__(self, timeline: Timeline, page_size: int, lag: float = 0.0) -> None:
        self._timeline = timeline
        self._page_size = page_size
        self._lag = lag
        self.streams: dict[str, int] = {"2026/01/01/[$LATEST]0": 0, "2026/01/01/[$LATEST]1": 0}
        self.came_late = 0
        """How many listings have left out a stream that was there already."""

    def create_log_stream(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        name = parameters["logStreamName"]
        if not _NAME.fullmatch(name):
            raise service_error("InvalidParameterException", 400, f"the name {name!r} is not allowed")
        if name in self.streams:
            raise service_error(
                "ResourceAlreadyExistsException", 400, "The specified log stream already exists"
            )
        self.streams[name] = int(self._timeline.time().timestamp() * 1000)
        return {}

    def describe_log_streams(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        prefix = parameters.get("logStreamNamePrefix", "")
        newest = (self._timeline.time().timestamp() - self._lag) * 1000
        there = [name for name in self.streams if name.startswith(prefix)]
        names = sorted(name for name in there if self.streams[name] <= newest)
        self.came_late += len(names) < len(there)
        start = int(parameters.get("nextToken", "0"))
        end = start + min(self._page_size, 50)
        answer: dict[str, Any] = {
            "logStreams": [
                {"logStreamName": name, "creationTime": self.streams[name]} for name in names[start:end]
            ]
        }
        if end < len(names) or (self._page_size == 1 and start < len(names)):
            answer["nextToken"] = str(end)
        return answer
