"""Calls of the user's function at once: how many workers make them, and how many the function may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jsii
from aws_cdk import Annotations, CfnResource, Reference, Stack, Token, Tokenization
from aws_cdk.aws_lambda import IFunction
from constructs import Construct, IValidation

from pipeline_reprocessing.trigger.names import FUNCTIONS, named_in
from pipeline_reprocessing.trigger.relevant import owner, property_of
from pipeline_reprocessing.trigger.templates import Templates

MAX_CONCURRENCY = 10_000
MAX_PUBLISHERS = 40
"""Each has 8 copies under way, together some 2,000 a second: S3 takes 3,500 writes a second in a prefix."""
_PUBLISHERS_FOR_TOKEN = 10


@dataclass(frozen=True)
class Concurrency:
    """Workers and the calls that each keeps in flight; multiplied they never exceed what the user allows."""

    workers: int
    calls_per_worker: int

    @classmethod
    def of(cls, max_concurrency: int, calls_per_worker: Sequence[int] = (3, 4)) -> Concurrency:
        """The workers for so many calls at once.

        Of the possible calls per worker those that leave the fewest calls unused, and the most of those. Three or four
        while a worker has messages to transform: it has time for four while it waits for the function. A token cannot
        be divided, so each of its workers makes one call at a time.
        """
        if Token.is_unresolved(max_concurrency):
            return cls(max_concurrency, 1)
        calls = max(
            (min(each, max_concurrency) for each in calls_per_worker),
            key=lambda calls: (max_concurrency // calls * calls, calls),
        )
        return cls(max_concurrency // calls, calls)

    @property
    def publishers(self) -> int:
        """Workers that publish at the same time; they call no function of the user's."""
        return (
            _PUBLISHERS_FOR_TOKEN if Token.is_unresolved(self.workers) else min(self.workers, MAX_PUBLISHERS)
        )


@jsii.implements(IValidation)
class ReservationCheck:
    """Warns where Lambda would throttle calls because the function's reserved concurrency is smaller.

    It runs when the app is complete: the reservation may be set, and the function defined, after the pipeline.

    Args:
        scope: Gets the warning.
        function: Which function is called.
        max_concurrency: How many calls of it run at once.
        share: Which share of the reservation the calls may take.
    """

    def __init__(
        self, scope: Construct, function: IFunction, max_concurrency: int, *, share: float = 1
    ) -> None:
        self._scope = scope
        self._function = function
        self._max_concurrency = max_concurrency
        self._share = share

    def validate(self) -> list[str]:
        """Never an error."""
        resource = definition_of(self._function.function_arn, Stack.of(self._function))
        if resource is None or Token.is_unresolved(self._max_concurrency):
            return []
        template, logical_id = Templates.of(resource).place_of(resource)
        reserved = template.properties(logical_id).get("ReservedConcurrentExecutions")
        allowed = int(reserved * self._share) if isinstance(reserved, int) else self._max_concurrency
        if self._max_concurrency > allowed:
            lower = f"set max_concurrency={allowed} or less, or " if allowed else ""
            effect = (
                "Lambda throttles the calls beyond it, and the run waits"
                if self._share == 1
                else "a replay would take more than half of it from the uploads that arrive meanwhile"
            )
            Annotations.of(self._scope).add_warning_v2(
                "pipeline-reprocessing:concurrencyExceedsReservation",
                f"'max_concurrency' is {self._max_concurrency:,}, but '{owner(resource).node.path}' has a reserved "
                f"concurrency of {reserved:,}: {effect}; {lower}raise the reservation",
            )
        return []


def definition_of(name: object, stack: Stack) -> CfnResource | None:
    """The function of this app that a name or ARN in that stack leads to, directly or by an alias or a version."""
    if not isinstance(name, str):
        return None
    for token in Tokenization.reverse_string(name).tokens:
        target = token.target if isinstance(token, Reference) else None
        if isinstance(target, CfnResource):
            kind = target.cfn_resource_type
            if kind in FUNCTIONS:
                return target
            if kind in {"AWS::Lambda::Alias", "AWS::Lambda::Version"}:
                return definition_of(property_of(target, "functionName"), target.stack)
    templates = Templates.of(stack)
    found = next(named_in(name, templates.template(stack), templates), None)
    element = found and found[0].elements[found[1]]
    return element if isinstance(element, CfnResource) else None
