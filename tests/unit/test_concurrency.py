"""How many workers call the function, and the warning where the function may not run so often at once."""

from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import Annotations as CdkAnnotations
from aws_cdk import App, CfnParameter, CfnResource, Stack
from aws_cdk.assertions import Annotations, Match
from aws_cdk.aws_lambda import CfnFunction, Code, Function, IFunction, Runtime
from aws_cdk.aws_s3 import Bucket

from pipeline_reprocessing import (
    Archive,
    ArchivePipeline,
    Destination,
    MessageSelection,
    PipelineReprocessing,
    Transform,
)
from pipeline_reprocessing.concurrency import Concurrency

WARNING = "pipeline-reprocessing:concurrencyExceedsReservation"


def test_workers_times_calls_never_exceeds_what_is_allowed_and_uses_almost_all() -> None:
    for allowed in range(1, 10_001):
        concurrency = Concurrency.of(allowed)

        assert concurrency.workers >= 1
        assert 1 <= concurrency.calls_per_worker <= 4
        assert allowed - 2 <= concurrency.workers * concurrency.calls_per_worker <= allowed


@pytest.mark.parametrize(
    ("allowed", "workers", "calls"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 4), (5, 1, 4), (6, 2, 3), (10, 3, 3), (12, 3, 4), (40, 10, 4)],
)
def test_a_worker_keeps_three_or_four_calls_in_flight(allowed: int, workers: int, calls: int) -> None:
    assert Concurrency.of(allowed) == Concurrency(workers, calls)


def test_workers_that_call_up_to_20_times_never_call_more_often_than_allowed() -> None:
    for allowed in range(1, 10_001):
        concurrency = Concurrency.of(allowed, range(10, 21))

        assert concurrency.workers >= 1
        assert 1 <= concurrency.calls_per_worker <= 20
        assert 0.95 * allowed <= concurrency.workers * concurrency.calls_per_worker <= allowed


def test_publishing_takes_no_more_workers_than_replaying_or_than_s3_can_serve() -> None:
    assert [Concurrency.of(allowed).publishers for allowed in (1, 40, 160, 10_000)] == [1, 10, 40, 40]


def function(stack: Stack, **settings: Any) -> Function:
    return Function(
        stack,
        "Enrich",
        code=Code.from_inline("one"),
        handler="index.handler",
        runtime=Runtime.PYTHON_3_14,
        **settings,
    )


def reserved(number: Any) -> Callable[[Stack], IFunction]:
    return lambda stack: function(
        stack, reserved_concurrent_executions=number(stack) if callable(number) else number
    )


def pipeline(stack: Stack, make: Callable[[Stack], IFunction], **arguments: Any) -> ArchivePipeline:
    return ArchivePipeline(
        stack,
        "Pipeline",
        source=Archive.firehose(Bucket(stack, "Raw")),
        transform=Transform.firehose(make(stack)),
        destination=Destination(Bucket(stack, "Clean"), prefix="clean/"),
        **{"max_concurrency": 40, **arguments},
    )


def warnings(make: Callable[[Stack], IFunction], **arguments: Any) -> list[str]:
    stack = Stack(App(), "Telemetry")
    pipeline(stack, make, **arguments)
    return found(stack)


def found(stack: Stack) -> list[str]:
    messages = Annotations.from_stack(stack).find_warning("/Telemetry/Pipeline", Match.any_value())
    return [str(message.entry.data) for message in messages]


def expected(number: int = 39) -> list[str]:
    return [
        f"'max_concurrency' is 40, but 'Telemetry/Enrich' has a reserved concurrency of {number}: Lambda throttles the "
        f"calls beyond it, and the run waits; set max_concurrency={number} or less, or raise the reservation "
        f"[ack: {WARNING}]"
    ]


def test_a_smaller_reservation_is_warned_of_with_the_way_out() -> None:
    assert warnings(reserved(39)) == expected()


def test_a_reservation_of_none_can_only_be_raised() -> None:
    [warning] = warnings(reserved(0))

    assert "the run waits; raise the reservation" in warning


def by_alias(stack: Stack) -> IFunction:
    return reserved(39)(stack).add_alias("live")  # type: ignore[attr-defined, no-any-return]  # of a Function


def by_version(stack: Stack) -> IFunction:
    return reserved(39)(stack).current_version  # type: ignore[attr-defined, no-any-return]  # of a Function


def by_its_arn(stack: Stack) -> IFunction:
    return Function.from_function_arn(stack, "Imported", reserved(39)(stack).function_arn)


def by_its_literal_name(stack: Stack) -> IFunction:
    function(stack, function_name="enrich", reserved_concurrent_executions=39)
    return Function.from_function_name(stack, "Named", "enrich")


def in_another_stack(stack: Stack) -> IFunction:
    return reserved(39)(Stack(stack.node.root, "Functions"))  # type: ignore[arg-type]  # the root is an App


def by_an_escape_hatch(stack: Stack) -> IFunction:
    made = function(stack)
    element = made.node.default_child
    assert isinstance(element, CfnFunction)
    element.add_property_override("ReservedConcurrentExecutions", 39)
    return made


def lowered_by_an_escape_hatch(stack: Stack) -> IFunction:
    made = reserved(40)(stack)
    element = made.node.default_child
    assert isinstance(element, CfnFunction)
    element.add_property_override("ReservedConcurrentExecutions", 39)
    return made


@pytest.mark.parametrize(
    "make",
    [
        by_alias,
        by_version,
        by_its_arn,
        by_its_literal_name,
        by_an_escape_hatch,
        lowered_by_an_escape_hatch,
    ],
)
def test_the_reservation_is_found_however_the_function_is_named(make: Callable[[Stack], IFunction]) -> None:
    assert warnings(make) == expected()


def test_the_reservation_is_found_in_another_stack() -> None:
    assert warnings(in_another_stack) == [expected()[0].replace("Telemetry/Enrich", "Functions/Enrich")]


def removed_by_an_escape_hatch(stack: Stack) -> IFunction:
    made = reserved(39)(stack)
    element = made.node.default_child
    assert isinstance(element, CfnFunction)
    element.add_property_deletion_override("ReservedConcurrentExecutions")
    return made


def imported(stack: Stack) -> IFunction:
    return Function.from_function_name(stack, "Enrich", "enrich")


def alias_written_by_hand(stack: Stack) -> IFunction:
    name = {"Ref": stack.get_logical_id(function(stack).node.default_child)}  # type: ignore[arg-type]  # it has one
    alias = CfnResource(stack, "Alias", type="AWS::Lambda::Alias", properties={"FunctionName": name})
    return Function.from_function_arn(stack, "Imported", alias.ref)


def of_a_parameter(stack: Stack) -> float:
    return CfnParameter(stack, "Reserved", type="Number", default=1).value_as_number


@pytest.mark.parametrize(
    "make",
    [
        function,
        reserved(40),
        reserved(41),
        imported,
        removed_by_an_escape_hatch,
        alias_written_by_hand,
        reserved(of_a_parameter),
    ],
    ids=["no reservation", "equal", "larger", "imported", "removed", "by hand", "parameter"],
)
def test_no_reservation_or_one_that_suffices_or_is_unknown_is_not_warned_of(
    make: Callable[[Stack], IFunction],
) -> None:
    assert warnings(make) == []


def test_a_token_of_calls_is_not_warned_of() -> None:
    stack = Stack(App(), "Telemetry")
    calls = CfnParameter(stack, "Calls", type="Number").value_as_number

    pipeline(stack, reserved(1), max_concurrency=calls)

    assert found(stack) == []


def test_the_warning_can_be_acknowledged() -> None:
    stack = Stack(App(), "Telemetry")
    made = pipeline(stack, reserved(1))

    CdkAnnotations.of(made).acknowledge_warning(WARNING, "it may take all night")

    assert found(stack) == []


def test_looking_for_the_reservation_leaves_the_trigger_as_it_is() -> None:
    triggers = []
    for number in (1, 2):
        stack = Stack(App(), "Telemetry")
        made = pipeline(stack, reserved(number))
        PipelineReprocessing(stack, "Backfill", pipeline=made, messages=MessageSelection.all())
        resources = stack.node.root.synth().get_stack_by_name("Telemetry").template["Resources"]  # type: ignore[attr-defined]  # the root is an App
        triggers += [
            each["Properties"]["Trigger"]
            for each in resources.values()
            if each["Type"] == "Custom::PipelineReprocessing"
        ]

    assert len(triggers) == 2
    assert len(set(triggers)) == 1
