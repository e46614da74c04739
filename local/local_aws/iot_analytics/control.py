"""What only this server has: under `/_local/`, for tests and demos, with JSON in and out.

==================  ======  ===========================================================================================
`/_local/runs`      GET     every run, the oldest first: id, pipeline, status, reason, objects, messages
`/_local/pace`      GET     how runs go on
`/_local/pace`      PATCH   `secondsPerObject`, `hold`, `keepSummaries`; what is left out stays
`/_local/faults`    GET     the faults that are still to come
`/_local/faults`    POST    `operation`; `error`, `times`, `when`, `delaySeconds`, `message`
`/_local/faults`    DELETE  takes them all back
`/_local/failures`  POST    makes runs fail: `pipeline`, `run`, `afterObjects`, `reason`, `times`, all optional
`/_local/failures`  DELETE  takes back those that have not happened
`/_local/calls`     GET     every request to an operation so far, the oldest first: operation and the answer's status
`/_local/calls`     DELETE  forgets them
`/_local/rows`      GET     `?datastore=<name>[&run=<id or live>]`: the data store's rows, each with its run
==================  ======  ===========================================================================================
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from local_aws.iot_analytics.errors import invalid_request, not_found
from local_aws.iot_analytics.injected_faults import CONNECTION_DROPPED, Fault, Faults
from local_aws.iot_analytics.model import ServiceModel
from local_aws.iot_analytics.runs import Misfortune
from local_aws.iot_analytics.service import Service

PREFIX = "/_local/"

COMMON_ERRORS: Mapping[str, int] = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "InternalServerError": 500,
}
"""Errors that any AWS service may answer and no service model lists, with their HTTP status."""

# More than any test or demo makes; only so that a server left alone does not fill up.
_CALLS_KEPT = 100_000

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """One request to an operation, and how it was answered; status 0 means not at all."""

    operation: str
    status: int


class Control:
    """Answers what comes in under `/_local/`.

    Args:
        model: The service model, to know what can be ordered.
        service: What there is.
        faults: Where ordered faults go.
    """

    def __init__(self, model: ServiceModel, service: Service, faults: Faults) -> None:
        self._model = model
        self._service = service
        self._faults = faults
        self._calls: deque[Call] = deque(maxlen=_CALLS_KEPT)
        self._routes: Mapping[tuple[str, str], Callable[[Body, Mapping[str, str]], Any]] = {
            ("GET", "runs"): self._runs,
            ("GET", "pace"): self._pace,
            ("PATCH", "pace"): self._set_pace,
            ("GET", "faults"): self._all_faults,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "failures"): self._add_failure,
            ("DELETE", "failures"): self._clear_failures,
            ("GET", "calls"): self._all_calls,
            ("DELETE", "calls"): self._clear_calls,
            ("GET", "rows"): self._rows,
        }

    def note(self, call: Call) -> None:
        """Remembers a request to an operation."""
        self._calls.append(call)

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Body) -> Any:
        """The JSON that answers a request.

        Raises:
            ServiceError: There is no such thing, or it is not to be had in this way.
        """
        route = self._routes.get((method, path.removeprefix(PREFIX)))
        if route is None:
            raise not_found("local control", f"{method} {path}")
        return route(body, query)

    def _runs(self, _: Body, __: Mapping[str, str]) -> Any:
        return [_spelled(asdict(run)) for run in self._service.runs.all()]

    def _pace(self, _: Body, __: Mapping[str, str]) -> Any:
        return _spelled(asdict(self._service.runs.pace))

    def _set_pace(self, body: Body, _: Mapping[str, str]) -> Any:
        given = _given(body, secondsPerObject=(int, float), hold=(bool,), keepSummaries=(int,))
        self._service.runs.pace = replace(self._service.runs.pace, **given)
        return _spelled(asdict(self._service.runs.pace))

    def _all_faults(self, _: Body, __: Mapping[str, str]) -> Any:
        return [_spelled(asdict(fault)) for fault in self._faults.all()]

    def _add_fault(self, body: Body, _: Mapping[str, str]) -> Any:
        given = _given(
            body,
            operation=(str,),
            error=(str,),
            times=(int,),
            when=(str,),
            delaySeconds=(int, float),
            message=(str,),
        )
        operation = given.get("operation", "")
        if operation not in self._model.operations:
            raise invalid_request(f"'operation' must be an operation of IoT Analytics, got '{operation}'")
        modelled = self._model.operations[operation].errors
        possible = (*modelled, *COMMON_ERRORS, CONNECTION_DROPPED)
        if "error" in given and given["error"] not in possible:
            raise invalid_request(f"'error' must be one of {', '.join(possible)}, got '{given['error']}'")
        if given.get("when", "before") not in {"before", "after"}:
            raise invalid_request(f"'when' must be before or after, got '{given['when']}'")
        self._faults.add(Fault(**given))
        return {}

    def _clear_faults(self, _: Body, __: Mapping[str, str]) -> Any:
        self._faults.clear()
        return {}

    def _add_failure(self, body: Body, _: Mapping[str, str]) -> Any:
        given = _given(body, pipeline=(str,), run=(str,), afterObjects=(int,), reason=(str,), times=(int,))
        self._service.runs.befall(Misfortune(**given))
        return {}

    def _clear_failures(self, _: Body, __: Mapping[str, str]) -> Any:
        self._service.runs.spare()
        return {}

    def _all_calls(self, _: Body, __: Mapping[str, str]) -> Any:
        return [asdict(call) for call in self._calls]

    def _clear_calls(self, _: Body, __: Mapping[str, str]) -> Any:
        self._calls.clear()
        return {}

    def _rows(self, _: Body, query: Mapping[str, str]) -> Any:
        datastore = self._service.datastores.get(query.get("datastore", ""))
        return [{"run": run, "row": row} for run, row in datastore.content.rows(query.get("run"))]


def _given(body: Body, **kinds: tuple[type, ...]) -> dict[str, Any]:
    """The members by their Python names, checked."""
    given = {}
    for name, value in body.items():
        if name not in kinds:
            raise invalid_request(f"'{name}' is unknown; known here: {', '.join(sorted(kinds))}")
        if type(value) not in kinds[name]:
            raise invalid_request(
                f"'{name}' must be {' or '.join(kind.__name__ for kind in kinds[name])}, got {value!r}"
            )
        given["".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)] = value
    return given


def _spelled(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members as JSON spells them."""
    return {
        name.split("_")[0] + "".join(part.title() for part in name.split("_")[1:]): (
            value.timestamp() if isinstance(value, datetime) else value
        )
        for name, value in members.items()
    }
