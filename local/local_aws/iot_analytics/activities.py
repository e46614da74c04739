"""The activities of a pipeline: checked when it is created, then applied to messages.

Every kind that the service had is here but the two that ask AWS IoT about a thing.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from local_aws.iot_analytics.attributes import Attribute
from local_aws.iot_analytics.errors import invalid_request
from local_aws.iot_analytics.expressions import Filter, Formula
from local_aws.iot_analytics.functions import FunctionFailed, Functions
from local_aws.iot_analytics.messages import Message

_NOT_SERVED = ("deviceRegistryEnrich", "deviceShadowEnrich")


@dataclass(frozen=True)
class Batch:
    """Messages on their way, and what became of those that are not among them any more.

    Args:
        messages: The messages that go on.
        dropped: How many a filter has let fall.
        failed: How many an activity could not process. The service logged these and went on without them; so do we.
        reasons: Why they failed, one line for each failure.
    """

    messages: list[Message]
    dropped: int = 0
    failed: int = 0
    reasons: tuple[str, ...] = field(default=())


class Step(Protocol):
    """What one activity does."""

    def __call__(self, batch: Batch) -> Batch:
        """The batch after the activity."""


@dataclass(frozen=True)
class Steps:
    """A pipeline's activities, ready to run.

    Args:
        channel: The name of the channel that the messages come from.
        datastore: The name of the data store that they go to.
        between: What happens in between, in this order.
    """

    channel: str
    datastore: str
    between: tuple[Step, ...]

    def process(self, messages: Sequence[Message]) -> Batch:
        """What is to be stored of these messages."""
        batch = Batch(list(messages))
        for step in self.between:
            if not batch.messages:
                break
            batch = step(batch)
        return batch


def steps_of(activities: Sequence[Mapping[str, Any]], functions: Functions) -> Steps:
    """The steps that these activities describe: from the one channel along `next` to the one data store.

    Args:
        activities: As in CreatePipeline.
        functions: What the lambda activities call.

    Raises:
        ServiceError: InvalidRequestException if they are no chain, or one of them is not usable.
    """
    chain = _chain(activities)
    return Steps(
        channel=chain[0].settings["channelName"],
        datastore=chain[-1].settings["datastoreName"],
        between=tuple(_step(activity, functions) for activity in chain[1:-1]),
    )


@dataclass(frozen=True)
class _Activity:
    kind: str
    name: str
    next: str | None
    settings: Mapping[str, Any]


def _activity(position: int, entry: Mapping[str, Any]) -> _Activity:
    if len(entry) != 1:
        got = ", ".join(sorted(entry)) or "none"
        raise invalid_request(f"'pipelineActivities[{position}]' must hold exactly one activity, got {got}")
    [(kind, settings)] = entry.items()
    if kind in _NOT_SERVED:
        raise invalid_request(
            f"'pipelineActivities[{position}]' is a {kind} activity, which asks AWS IoT about a thing and is not served "
            "here; use a lambda activity that adds what you need"
        )
    return _Activity(kind=kind, name=settings["name"], next=settings.get("next"), settings=settings)


def _chain(entries: Sequence[Mapping[str, Any]]) -> list[_Activity]:
    activities = [_activity(position, entry) for position, entry in enumerate(entries)]
    by_name: dict[str, _Activity] = {}
    for activity in activities:
        if activity.name in by_name:
            raise invalid_request(f"two activities are named '{activity.name}'; names must be unique")
        by_name[activity.name] = activity
    for kind in ("channel", "datastore"):
        count = sum(activity.kind == kind for activity in activities)
        if count != 1:
            raise invalid_request(f"'pipelineActivities' must hold exactly one {kind} activity, got {count}")

    chain = [next(activity for activity in activities if activity.kind == "channel")]
    while chain[-1].kind != "datastore":
        here = chain[-1]
        if here.next is None:
            raise invalid_request(
                f"activity '{here.name}' has no 'next'; only the datastore activity is the last one"
            )
        if here.next not in by_name:
            raise invalid_request(
                f"activity '{here.name}' is followed by '{here.next}', which does not exist"
            )
        if by_name[here.next] in chain:
            raise invalid_request(
                f"activity '{here.name}' is followed by '{here.next}', which comes before it"
            )
        chain.append(by_name[here.next])
    left_out = sorted(by_name.keys() - {activity.name for activity in chain})
    if left_out:
        raise invalid_request(
            f"no activity leads to '{left_out[0]}'; name it as another one's 'next', or leave it out"
        )
    return chain


def _step(activity: _Activity, functions: Functions) -> Step:
    settings = activity.settings
    match activity.kind:
        case "addAttributes":
            return _add({Attribute(old): new for old, new in settings["attributes"].items()})
        case "removeAttributes":
            return _remove([Attribute(name) for name in settings["attributes"]])
        case "selectAttributes":
            return _select([Attribute(name) for name in settings["attributes"]])
        case "filter":
            return _filter(Filter(settings["filter"]))
        case "math":
            return _math(activity.name, settings["attribute"], Formula(settings["math"]), settings["math"])
        case "lambda":
            return _lambda(activity.name, settings["lambdaName"], settings["batchSize"], functions)
    raise invalid_request(
        f"activity '{activity.name}' is of the kind '{activity.kind}', which is not served here"
    )


def _each(change: Callable[[Message], Message]) -> Step:
    return lambda batch: replace(batch, messages=[change(message) for message in batch.messages])


def _add(new_names: Mapping[Attribute, str]) -> Step:
    # An attribute that is not there is not added; the documentation does not say.
    return _each(
        lambda message: (
            message | {new: value for old, new in new_names.items() if (value := old.of(message)) is not None}
        )
    )


def _remove(attributes: Sequence[Attribute]) -> Step:
    def change(message: Message) -> Message:
        for attribute in attributes:
            message = attribute.without(message)
        return message

    return _each(change)


def _select(attributes: Sequence[Attribute]) -> Step:
    # As documented, `device.temp` becomes `temp`: selected attributes always stand at the root.
    return _each(
        lambda message: {
            attribute.last: value for attribute in attributes if (value := attribute.of(message)) is not None
        }
    )


def _filter(condition: Filter) -> Step:
    def step(batch: Batch) -> Batch:
        passing = condition.passing(batch.messages)
        return replace(batch, messages=passing, dropped=batch.dropped + len(batch.messages) - len(passing))

    return step


def _math(name: str, attribute: str, formula: Formula, text: str) -> Step:
    def step(batch: Batch) -> Batch:
        values = formula.values(batch.messages)
        messages = [
            message | {attribute: value}
            for message, value in zip(batch.messages, values, strict=True)
            if value is not None
        ]
        failed = len(batch.messages) - len(messages)
        reasons = (f"activity '{name}': '{text}' gives no number for {failed} message(s)",) if failed else ()
        return replace(
            batch, messages=messages, failed=batch.failed + failed, reasons=batch.reasons + reasons
        )

    return step


def _lambda(name: str, function: str, batch_size: int, functions: Functions) -> Step:
    def step(batch: Batch) -> Batch:
        messages: list[Message] = []
        failed, reasons = 0, []
        rest = iter(batch.messages)
        while part := list(itertools.islice(rest, batch_size)):
            try:
                messages += functions(function, part)
            except FunctionFailed as error:
                failed += len(part)
                reasons.append(f"activity '{name}': {error}")
        return replace(
            batch, messages=messages, failed=batch.failed + failed, reasons=(*batch.reasons, *reasons)
        )

    return step
