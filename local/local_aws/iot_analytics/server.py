"""The HTTP server: routes, headers and errors as a rest-json client of the service expects them."""

import json
import logging
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from local_aws.iot_analytics.control import COMMON_ERRORS, PREFIX, Call, Control
from local_aws.iot_analytics.errors import ServiceError, invalid_request
from local_aws.iot_analytics.functions import Functions
from local_aws.iot_analytics.ingestion import Ingestion
from local_aws.iot_analytics.injected_faults import CONNECTION_DROPPED, Fault, Faults
from local_aws.iot_analytics.model import ImproperAnswer, Operation, RawRequest, ServiceModel
from local_aws.iot_analytics.pipelines import Pipelines
from local_aws.iot_analytics.runs import Runs
from local_aws.iot_analytics.service import Members, Place, Service
from local_aws.iot_analytics.storage import MemoryStore, ObjectStore
from local_aws.iot_analytics.stores import Channels, Datastores
from local_aws.iot_analytics.tagging import Tagging

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

INGESTION_TIME = "x-local-ingestion-time"
"""The header, on this server only, that lets a BatchPutMessage arrive at another time than now: ISO 8601 with a zone, or
epoch seconds. All messages of the batch arrive at that time and make one archive object."""

_log = logging.getLogger(__name__)


class _Dropped(Exception):
    """The connection is to be closed without an answer."""


class Application:
    """The service as a WSGI application.

    Args:
        model: The official service model.
        customer_store: Where the customer's buckets are.
        functions: What lambda activities call.
        own_store: Where the service keeps what is not in a customer's bucket; by default in this process.
        place: Region and account.
        now: The clock.
        new_id: A new id each time. Ids must not hold an underscore.
    """

    def __init__(
        self,
        *,
        model: ServiceModel,
        customer_store: ObjectStore,
        functions: Functions,
        own_store: ObjectStore | None = None,
        place: Place | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._model = model
        self.service = Service(
            place=place or Place(),
            customer_store=customer_store,
            functions=functions,
            now=now,
            new_id=new_id,
            runs=Runs(now, new_id),
            own_store=own_store or MemoryStore(),
        )
        self._faults = Faults()
        self._control = Control(model, self.service, self._faults)
        self._ingestion = Ingestion(self.service)
        self._operations = {
            **Channels(self.service).operations,
            **Datastores(self.service).operations,
            **Pipelines(self.service).operations,
            **Tagging(self.service).operations,
        }
        self._routes = Map(
            [
                Rule(re.sub(r"\{(\w+)\}", r"<\1>", each.path), endpoint=each.name, methods=[each.method])
                for each in model.operations.values()
            ],
            strict_slashes=True,
            merge_slashes=False,
        )

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answers one request, as WSGI has it."""
        request = Request(environ)
        try:
            response = self._answer(request)
        except _Dropped:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError("told to drop the connection") from None
        return response(environ, start_response)

    def close(self) -> None:
        """Stops all runs."""
        self.service.runs.stop()

    def _answer(self, request: Request) -> Response:
        if request.path.startswith(PREFIX):
            return self._local(request)
        try:
            name, path_values = self._routes.bind_to_environ(request.environ).match()
        except HTTPException:
            return _error(
                404, "UnknownOperationException", f"no operation has {request.method} {request.path}"
            )
        operation = self._model.operations[name]
        try:
            response = self._operation(operation, path_values, request)
        except _Dropped:
            self._control.note(Call(operation.name, 0))
            raise
        except ServiceError as error:
            response = self._service_error(operation, error)
        except Exception:  # noqa: BLE001  # what broke here is told as the service would tell it, and logged
            _log.exception("%s broke", operation.name)
            response = _error(
                500, "InternalFailureException", "internal failure; the server's log tells more"
            )
        self._control.note(Call(operation.name, response.status_code))
        return response

    def _operation(self, operation: Operation, path_values: Mapping[str, str], request: Request) -> Response:
        fault = self._faults.take(operation.name)
        if fault and fault.when == "before":
            self._befall(operation, fault)
        members = self._model.request(
            operation, RawRequest(path_values, dict(request.args.lists()), request.get_data())
        )
        answer = self._model.answer(operation, self._done(operation, members, request))
        if fault and fault.when == "after":
            self._befall(operation, fault)
        if operation.status == 204:
            return _response(204, None)
        return _response(operation.status, answer)

    def _done(self, operation: Operation, members: Members, request: Request) -> Members:
        if operation.name == "BatchPutMessage":
            return self._ingestion.put_messages(members, _ingestion_time(request.headers.get(INGESTION_TIME)))
        if operation.name not in self._operations:
            raise invalid_request(
                f"{operation.name} is not served here; served are: {', '.join(sorted(self._operations))}"
            )
        return self._operations[operation.name](members)

    def _befall(self, operation: Operation, fault: Fault) -> None:
        time.sleep(fault.delay_seconds)
        if fault.error == CONNECTION_DROPPED:
            raise _Dropped
        if fault.error:
            _log.info("%s is told to fail with %s", operation.name, fault.error)
            raise ServiceError(fault.error, fault.message)

    def _service_error(self, operation: Operation, error: ServiceError) -> Response:
        if error.code in COMMON_ERRORS:
            return _error(COMMON_ERRORS[error.code], error.code, error.message)
        status = self._model.error_status(error.code)
        if status is None or error.code not in operation.errors:
            raise ImproperAnswer(f"{operation.name} cannot answer {error.code}: {error.message}")
        return _error(status, error.code, error.message, error.details)

    def _local(self, request: Request) -> Response:
        try:
            body = json.loads(request.get_data() or b"{}")
            if not isinstance(body, dict):
                raise invalid_request("the body must be a JSON object")
            return _response(200, self._control.answer(request.method, request.path, request.args, body))
        except ServiceError as error:
            return _error(
                404 if error.code == "ResourceNotFoundException" else 400, error.code, error.message
            )
        except ValueError as error:
            return _error(400, "InvalidRequestException", f"the body must be JSON: {error}")


class _QuietHandler(WSGIRequestHandler):
    """Writes requests to the log instead of the terminal, and nothing at all about connections that ended."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
        _log.debug(f"{type} {message}", *args)

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
        """Does nothing: whoever closed the connection knows."""


def serve(application: Application, host: str, port: int) -> BaseWSGIServer:
    """A server of the application, bound and not yet running; port 0 takes a free one."""
    return make_server(host, port, application, threaded=True, request_handler=_QuietHandler)


def _response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        b"" if body is None else json.dumps(body),
        status=status,
        headers={"x-amzn-RequestId": str(uuid.uuid4()), **(headers or {})},
        content_type="application/json",
    )


def _error(status: int, code: str, message: str, details: Mapping[str, str] | None = None) -> Response:
    return _response(status, {"message": message, **(details or {})}, {"x-amzn-ErrorType": code})


def _ingestion_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return datetime.fromtimestamp(float(text), UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise invalid_request(
            f"'{INGESTION_TIME}' must be ISO 8601 with a zone, or epoch seconds, got '{text[:100]}'"
        )
    return moment
