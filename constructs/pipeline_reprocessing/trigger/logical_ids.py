"""Logical ids for what CloudFormation must replace where it would update it, or fail to."""

from __future__ import annotations

from collections.abc import Callable

import jsii
from aws_cdk import CfnResource, IResolveContext, IStringProducer, Lazy

from pipeline_reprocessing.trigger.graph import digest

_LENGTH = 255
"""CloudFormation's limit for logical ids."""


def new_id_for_each(element: CfnResource, value: Callable[[], object]) -> None:
    """Gives the element another logical id for each value, so that it becomes another resource.

    Args:
        element: What CloudFormation makes anew, before it removes the old one in the clean-up of the deploy.
        value: Gives it when the template is made: JSON-able, no tokens.
    """
    element.override_logical_id(Lazy.uncached_string(_Id(element, value)))


@jsii.implements(IStringProducer)
class _Id:
    def __init__(self, element: CfnResource, value: Callable[[], object]) -> None:
        self._element = element
        self._value = value

    def produce(self, context: IResolveContext) -> str:
        # Where it is only looked through, the value may not be known yet, and the id is of no interest.
        end = digest(None if context.preparing else self._value())[:16]
        # A long id is cut in front, for CDK tells such ids apart by their ends.
        return self._element.stack.get_logical_id(self._element)[len(end) - _LENGTH :] + end
