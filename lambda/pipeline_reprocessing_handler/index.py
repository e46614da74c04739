"""Entry point: an event in, a response out."""
# ruff: noqa: E402  # what comes before the imports makes them faster

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

gc.disable()  # imports leave no garbage, and looking for it takes a tenth of a cold start

from .aws import IAM_PROPAGATION, Aws
from .crhelper_adapter import CrhelperAdapter
from .invocation import LAST_WORD, START_BY, Context, Invocation, Waiting, is_of_ours
from .ledger import Ledger
from .lifecycle import Lifecycle
from .response import Answer
from .waiting import Wait

log = logging.getLogger(__name__)


class Handler:
    """The Lambda function.

    Args:
        aws: The way to AWS, and the clock.
        log_group: The function's own log group, where the ledger is.
    """

    def __init__(self, aws: Aws, log_group: str) -> None:
        self._aws = aws
        self._log_group = log_group
        self._adapter = CrhelperAdapter(
            aws, log_group, begin=self.create_or_update, go_on=self.go_on, remove=self.remove
        )

    def __call__(self, event: Mapping[str, Any], context: Context) -> None:
        self._adapter(event, context)

    def create_or_update(self, invocation: Invocation) -> Answer | Waiting:
        """A Create or an Update: starts the run, and hands the wait to the next invocation."""
        until = invocation.at_least(min(invocation.made_at + START_BY, invocation.until(keep=LAST_WORD)))
        aws = self._aws.patient(until, denials_pass_until=invocation.began_at + IAM_PROPAGATION)
        ledger = Ledger(aws, self._log_group, invocation)
        return Lifecycle(invocation, ledger, aws).create_or_update()

    def go_on(self, invocation: Invocation) -> Answer | Waiting:
        """A continuation: goes on waiting, and hands over again before its time is up."""
        aws = self._aws.patient(invocation.until(keep=LAST_WORD))
        wait = Wait(invocation, Ledger(aws, self._log_group, invocation), aws)
        return wait.go_on(Waiting(**invocation.event["CrHelperData"]), hand_over_at=invocation.hand_over_at)

    def remove(self, invocation: Invocation) -> Answer:
        """A Delete: succeeds for whatever is unknown, unreadable or finished."""
        if isinstance(invocation.parsed, Exception):
            log.warning(
                "nothing to remove: %s", invocation.parsed
            )  # what is unreadable has never started anything
            return Answer(invocation.physical_id)
        # While a Create still goes on, the role may be new.
        role_may_be_new = timedelta() if is_of_ours(invocation.physical_id) else IAM_PROPAGATION
        until = invocation.at_least(invocation.until(keep=LAST_WORD))
        denials_pass_until = invocation.began_at + role_may_be_new
        aws = self._aws.patient(until, denials_pass_until=denials_pass_until)
        return Lifecycle(invocation, Ledger(aws, self._log_group, invocation), aws).remove()


handler = Handler(Aws(), os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", ""))
gc.freeze()
gc.enable()
