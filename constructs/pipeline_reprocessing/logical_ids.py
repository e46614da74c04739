"""Logical ids for what CloudFormation must replace where it would update it, or fail to."""

from __future__ import annotations

from collections.abc import Callable

from aws_cdk import CfnResource, IResolveContext

from pipeline_reprocessing.lazy import lazy_text
from pipeline_reprocessing.trigger.graph import digest

_LENGTH = 255
"""CloudFormation's limit for logical ids."""


def new_id_for_each(element: CfnResource, value: Callable[[], object]) -> None:
    """Gives the element another logical id for each value, so that it becomes another resource.

    Args:
        element: What CloudFormation makes anew, before it removes the old one in the clean-up of the deploy.
        value: Gives it when the template is made: JSON-able, no tokens.
    """

    def name(context: IResolveContext) -> str:
        # Where it is only looked through, the value may not be known yet, and the id is of no interest.
        end = digest(None if context.preparing else value())[:16]
        # A long id is cut in front, for CDK tells such ids apart by their ends.
        return element.stack.get_logical_id(element)[len(end) - _LENGTH :] + end

    element.override_logical_id(lazy_text(name))
