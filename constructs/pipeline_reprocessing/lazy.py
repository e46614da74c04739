"""Values, texts and dependencies that CDK asks for when the app is complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsii
from aws_cdk import IAnyProducer, IResolvable, IResolveContext, IStringProducer, Lazy
from constructs import Dependable, IConstruct, IDependable


def lazy_text(make: Callable[[IResolveContext], str]) -> str:
    """A token for a text that is made anew each time CDK resolves it."""
    return Lazy.uncached_string(_Producer(make))


def lazy_value(make: Callable[[IResolveContext], object]) -> IResolvable:
    """A token for a value that is made anew each time CDK resolves it; None leaves it out."""
    return Lazy.uncached_any(_Producer(make))


@jsii.implements(IAnyProducer, IStringProducer)
class _Producer:
    def __init__(self, make: Callable[[IResolveContext], Any]) -> None:
        self._make = make

    def produce(self, context: IResolveContext) -> Any:
        return self._make(context)


@jsii.implements(IDependable)
class LazyRoots(Dependable):
    """What to wait for, found each time CDK asks for dependencies: once in a synth, after all Aspects.

    Args:
        find: Gives the constructs to wait for.
    """

    def __init__(self, find: Callable[[], list[IConstruct]]) -> None:
        super().__init__()
        self._find = find
        Dependable.implement(self, self)

    @property
    def dependency_roots(self) -> list[IConstruct]:
        """The constructs to wait for."""
        return self._find()
