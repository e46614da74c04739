"""The one subclass of crhelper's `CfnResource`, closing the holes that matter here.

crhelper stays what it is good at: it picks the function for a request, keeps the fields that a response must copy, and
turns an exception into a FAILED response. Its `__call__` does, in this order: `_crhelper_init` (ours also runs the
function, by `_wrap_function`); `_polling_init` if there is a poll function; then, unless another invocation goes on,
`_cfn_response`, which calls `_send`. It is pinned to 2.0.12, because these private parts are overridden.

The holes, by the numbers that the overrides name:

1. ids that are empty, 'None' or invented, or are lost when the function fails
2. polling by an EventBridge rule and permissions that are made at run time
3. a sender that retries for ever, takes any status for delivered, and has no time-out and no limit of size
4. a timer that may answer a second time
5. at level DEBUG the whole event in the log, and two idle minutes in each Delete
6. state that survives in a warm sandbox, and three clients without use
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from crhelper import FAILED, SUCCESS, CfnResource

from .aws import Aws
from .invocation import COPIED, Context, Invocation, RequestType, Waiting
from .ledger import Ledger
from .redaction import redacted, secrets_of, without
from .response import LEDGER_FOR, Answer, respond
from .validation import Failure, one_of

log = logging.getLogger(__name__)

Function = Callable[[Invocation], Answer | Waiting]


class NotDelivered(Exception):
    """CloudFormation could not be reached. Raised out of the function, so that Lambda repeats the event."""


class CrhelperAdapter(CfnResource):
    """Picks the function for an event and responds exactly once.

    Args:
        aws: The way to AWS, and the clock.
        log_group: Where the ledger is.
        begin: Handles a Create or an Update.
        go_on: Handles a continuation of it.
        remove: Handles a Delete. `Waiting` of any of them means that another invocation will answer.
    """

    def __init__(
        self, aws: Aws, log_group: str, *, begin: Function, go_on: Function, remove: Function
    ) -> None:
        with _no_clients():
            super().__init__(log_level="INFO", sleep_on_delete=0)  # hole 5
        self._sam_local = None
        self._aws = aws
        self._log_group = log_group
        crhelper: Any = super()  # its types know only functions that return an id
        crhelper.create(begin)
        crhelper.update(begin)
        crhelper.poll_create(go_on)
        crhelper.poll_update(go_on)
        crhelper.delete(remove)

    def __call__(self, event: Mapping[str, Any], context: Context) -> None:
        """Handles one event.

        Raises:
            NotDelivered: The response could not be sent.
        """
        self._secrets = secrets_of(event)
        with redacted(self._secrets):
            if not event.get("ResponseURL"):
                log.error("an event without ResponseURL cannot be answered")
                return
            self._forget_last_event(event, context)
            try:
                super().__call__(dict(event), context)
            except Exception:
                # Lambda itself writes what leaves the function into the log, and redacts nothing
                log.exception("the request failed, and so did its answer")
                self._delivered = False
            if not self._delivered:
                raise NotDelivered(f"request {self.RequestId} of {self.LogicalResourceId} is not answered")

    def _forget_last_event(self, event: Mapping[str, Any], context: Context) -> None:
        # Hole 6, and an error before crhelper's own reset would be answered to the last request.
        self.NoEcho = False
        self.Status, self.Reason, self.Data = SUCCESS, "", {}
        self.StackId, self.RequestId, self.LogicalResourceId = (str(event.get(key, "")) for key in COPIED)
        self._event = dict(event)
        self._outcome, self._carried_on = Answer(""), False
        self._delivered = True
        self._invocation = Invocation.parse(event, context, self._aws.clock.now())
        # Hole 1: whatever happens from here on, there is an id.
        self.PhysicalResourceId = self._invocation.physical_id or self._invocation.id_of(None)

    def _crhelper_init(self, event: dict[str, Any], context: object) -> bool:
        # Hole 1: none of the state that `_forget_last_event` has set up is thrown away again.
        self.RequestType = one_of("RequestType", event.get("RequestType"), RequestType)
        self._context = context
        self._wrap_function(self._get_func())  # type: ignore[attr-defined]  # crhelper's stubs leave private parts out
        return True

    def _wrap_function(self, function: Function) -> None:
        # Hole 1 again: crhelper takes any return value for the id, and loses the id when the function fails.
        try:
            outcome = function(self._invocation)
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
            if isinstance(outcome, Answer):
                self.PhysicalResourceId = outcome.physical_id or self.PhysicalResourceId
                self.Reason, self.Data = outcome.reason, dict(outcome.data)
                self._outcome = outcome

    def _polling_init(self, event: Mapping[str, Any]) -> None:
        # Hole 2: a function that returned `Waiting` has handed the event to the next invocation.
        self._send_response = not self._carried_on

    def _set_timeout(self) -> None:
        """Hole 4: no timer is needed, for every call ends, and Lambda repeats what did not."""

    def _send(self, status: str | None = None, reason: str = "", send_response: object = None) -> None:
        # Hole 3.
        if status:
            self.Status, self.Reason = status, reason
        answer = replace(
            self._outcome,
            physical_id=str(self.PhysicalResourceId),
            data=self.Data,
            # all who may look at the stack read it, and an exception may quote anything
            reason=without(self._secrets, str(self.Reason)),
            succeeded=self.Status == SUCCESS,
            no_echo=bool(self.NoEcho),
        )
        aws = self._aws.patient(self._aws.clock.now() + LEDGER_FOR)
        ledger = Ledger(aws, self._log_group, self._invocation)
        self._delivered = respond(answer, self._invocation, ledger, aws)


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
