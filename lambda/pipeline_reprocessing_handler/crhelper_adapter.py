"""The one subclass of crhelper's `CfnResource`, closing the holes that matter here.

crhelper stays what it is good at: it picks the decorated function for a request, keeps the fields that an answer
must copy, and turns an exception into a FAILED answer. Its `__call__` does, in this order: `_crhelper_init` (ours also
runs the decorated function, by `_wrap_function`); `_polling_init` if there is a poll function; then, unless somebody else
goes on, `_cfn_response`, which calls `_send`. It is pinned to 2.0.12, because these private parts are overridden.

The holes, by the numbers that the overrides name:

1. ids that are empty, 'None' or invented, or are lost when the function fails
2. polling by an EventBridge rule and permissions that are made at run time
3. a sender that retries for ever, takes any status for delivered, and has no time-out and no limit of size
4. a timer that may answer a second time
5. at level DEBUG the whole event in the log, and two idle minutes in each Delete
6. state that survives in a warm sandbox, and three clients that nobody uses
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crhelper import FAILED, SUCCESS, CfnResource

from .aws import Aws
from .ledger import Ledger
from .lifecycle import Settled, Waiting
from .properties import Properties
from .redaction import redacted, secrets_of, without
from .request import ARRIVED_AT, NOT_STARTED, check_request_type, requested_at
from .response import COPIED, Answer, deliver, delivery_of
from .validation import Failure

log = logging.getLogger(__name__)


class NotDelivered(Exception):
    """CloudFormation could not be reached. Raised out of the function, so that Lambda repeats the event."""


class Lifecycle(CfnResource):
    """Dispatches requests to the decorated functions and answers each exactly once.

    The functions return `Settled` (answer now) or `Waiting` (somebody else goes on and will answer).

    Args:
        aws: The way to AWS, and the clock.
        log_group: Where the ledger is.
    """

    def __init__(self, aws: Aws, log_group: str) -> None:
        with _no_clients():
            super().__init__(log_level="INFO", sleep_on_delete=0)  # hole 5
        self._sam_local = None
        self._aws = aws
        self._log_group = log_group

    def __call__(self, event: dict[str, Any], context: Any) -> None:
        """Handles one event.

        Raises:
            NotDelivered: The answer could not be sent.
        """
        self._secrets = secrets_of(event)
        with redacted(self._secrets):
            if not event.get("ResponseURL"):
                log.error("an event without ResponseURL cannot be answered")
                return
            self._forget_last_event(event)
            try:
                super().__call__(event, context)
            except Exception:
                # Lambda itself writes what leaves the function into the log, and redacts nothing
                log.exception("the request failed, and so did its answer")
                self._delivered = False
            if not self._delivered:
                raise NotDelivered(f"request {self.RequestId} of {self.LogicalResourceId} is not answered")

    def _forget_last_event(self, event: dict[str, Any]) -> None:
        # Hole 6, and an error before crhelper's own reset would be answered to the last request.
        self.NoEcho = False
        self.Status, self.Reason, self.Data = SUCCESS, "", {}
        self.StackId, self.RequestId, self.LogicalResourceId = (str(event.get(key, "")) for key in COPIED)
        self._response_url = event["ResponseURL"]
        self._carried_on = False
        self._delivered = True
        if requested_at(event) is None:
            event[ARRIVED_AT] = self._aws.clock.now().timestamp()
        self._event = event
        # Hole 1: whatever happens from here on, there is one.
        self.PhysicalResourceId = str(event.get("PhysicalResourceId") or "") or _id_without_run(event)

    def _crhelper_init(self, event: dict[str, Any], context: Any) -> bool:
        # Hole 1: none of the state that `_forget_last_event` has set up is thrown away again.
        self.RequestType = check_request_type(event.get("RequestType"))
        self._context = context
        self._wrap_function(self._get_func())  # type: ignore[attr-defined]  # crhelper's stubs leave private parts out
        return True

    def _wrap_function(self, func: Callable[[Mapping[str, Any], Any], Settled | Waiting | None]) -> None:
        # Hole 1 again: crhelper takes any return value for the id, and loses the id when the function fails.
        try:
            outcome = func(self._event, self._context)
        except Failure as failure:
            log.error("%s", failure)
            self.Status, self.Reason = FAILED, str(failure)
            if self.RequestType == "Create" and failure.physical_id:
                self.PhysicalResourceId = failure.physical_id  # so that the Delete that follows knows the run
        except Exception as error:
            log.exception("the request failed")
            self.Status, self.Reason = FAILED, f"{type(error).__name__}: {error}"
        else:
            self._carried_on = isinstance(outcome, Waiting)
            if isinstance(outcome, Settled):
                self.PhysicalResourceId = outcome.physical_id or self.PhysicalResourceId
                self.Reason, self.Data = outcome.reason, dict(outcome.data)

    def _polling_init(self, event: Mapping[str, Any]) -> None:
        # Hole 2: whoever returned `Waiting` has handed the event to the next invocation.
        self._send_response = not self._carried_on

    def _set_timeout(self) -> None:
        """Hole 4: no timer is needed, for every call ends, and Lambda repeats what did not."""

    def _send(self, status: str | None = None, reason: str = "", send_response: object = None) -> None:
        # Hole 3.
        if status:
            self.Status, self.Reason = status, reason
        answer = Answer(
            succeeded=self.Status == SUCCESS,
            # everybody who may look at the stack reads it, and an exception may quote anything
            reason=without(self._secrets, str(self.Reason)),
            physical_id=str(self.PhysicalResourceId),
            data=self.Data,
            no_echo=bool(self.NoEcho),
        )
        ledger = Ledger(self._aws, self._log_group, self.LogicalResourceId)
        self._delivered = deliver(
            delivery_of(answer, self._event, now=self._aws.clock.now()), ledger, self._aws
        )


def _id_without_run(event: Mapping[str, Any]) -> str:
    try:
        name = Properties.parse(event.get("ResourceProperties")).target.name
    except Exception:  # noqa: BLE001  # whatever it is: an answer needs an id
        name = str(event.get("LogicalResourceId") or "resource")
    return f"{name}/{NOT_STARTED}"


@contextmanager
def _no_clients() -> Iterator[None]:
    """Hole 6: SAM's switch is crhelper's only way out."""
    before = os.environ.get("AWS_SAM_LOCAL")
    os.environ["AWS_SAM_LOCAL"] = "true"
    try:
        yield
    finally:
        del os.environ["AWS_SAM_LOCAL"]
        if before is not None:
            os.environ["AWS_SAM_LOCAL"] = before
