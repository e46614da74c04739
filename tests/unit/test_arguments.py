"""PipelineReprocessing says at synth what is wrong with an argument, and what to do about it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import App, Duration, Stack, Token
from aws_cdk.assertions import Template
from aws_cdk.aws_iam import Role, ServicePrincipal
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_stepfunctions import DefinitionBody, Pass, StateMachine
from constructs import Construct

from pipeline_reprocessing import (
    IReprocessablePipeline,
    MessageSelection,
    OnRemoval,
    OnRollback,
    PipelineBinding,
    PipelineReprocessing,
    ReprocessablePipeline,
    Wait,
    Watch,
)

PIPELINE = ReprocessablePipeline.iot_analytics_named("telemetry")


@pytest.fixture
def stack() -> Stack:
    return Stack(App(), "Telemetry")


def reprocessing(stack: Stack, **arguments: Any) -> PipelineReprocessing:
    required: dict[str, Any] = {"pipeline": PIPELINE, "messages": MessageSelection.all()}
    return PipelineReprocessing(stack, "Backfill", **(required | arguments))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            {"pipeline": "telemetry"},
            "'pipeline' must be of type IReprocessablePipeline, got 'telemetry'; use one such as "
            "ReprocessablePipeline.state_machine(...)",
        ),
        (
            {"messages": "all"},
            "'messages' must be of type MessageSelection, got 'all'; use one such as MessageSelection.all()",
        ),
        (
            {"messages": None},
            "'messages' must be of type MessageSelection, got NoneType None; use one such as MessageSelection.all()",
        ),
        (
            {"wait": 50},
            "'wait' must be of type Wait, got int 50; use one such as Wait.for_completion(timeout=...)",
        ),
        *(
            (
                {"wait": wait},
                f"'wait' must be of type Wait, got {shown}; use one such as Wait.for_completion(timeout=...)",
            )
            for wait, shown in ((0, "int 0"), (False, "bool False"), ("", "''"))
        ),
        (
            {"messages": MessageSelection.s3_paths(["a", "b", "raw/ä"])},
            "'paths[2]' has a character that IoT Analytics refuses, got 'raw/ä'; "
            r"it takes [a-zA-Z0-9/_!'(){}*\s.\-=:]+",
        ),
        (
            {"wait": Duration.minutes(50)},
            "'wait' must be of type Wait, got Duration 50 minutes; use one such as Wait.for_completion(timeout=...)",
        ),
        (
            {"wait": object()},
            "'wait' must be of type Wait, got object; use one such as Wait.for_completion(timeout=...)",
        ),
        (
            {"rerun_on": "function"},
            "'rerun_on' must be a list of constructs, got 'function'; write rerun_on=[...]",
        ),
        (
            {"version": 2},
            "'version' must be a text known at synth, got int 2; it is part of a hash made there",
        ),
        (
            {"version": Token.as_string({"Ref": "Version"})},
            "'version' must be a text known at synth, got a token; it is part of a hash made there",
        ),
        ({"rerun_on": ["function"]}, "'rerun_on[0]' must be a construct, got 'function'"),
        ({"on_rollback": "NEVER"}, "'on_rollback' must be one of KEEP, REPROCESS, got 'NEVER'"),
        ({"on_removal": "NEVER"}, "'on_removal' must be one of CANCEL, LEAVE, got 'NEVER'"),
        (
            {
                "messages": MessageSelection.time_range(Token.as_string({"Ref": "Start"})),
                "wait": Wait.for_completion(timeout=Duration.hours(2)),
            },
            "'messages' must be known at synth for a 'timeout' above 55 minutes, got a token; a WaitCondition waits "
            "once for each selection",
        ),
    ],
)
def test_an_impossible_argument_is_refused(stack: Stack, arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        reprocessing(stack, **arguments)


@pytest.mark.parametrize(
    "make",
    [
        lambda stack: Function.from_function_name(stack, "Elsewhere", "elsewhere"),
        lambda stack: Role(stack, "Elsewhere", assumed_by=ServicePrincipal("lambda.amazonaws.com")),
        lambda stack: Construct(stack, "Elsewhere"),
    ],
    ids=["imported", "role", "empty"],
)
def test_what_this_app_cannot_watch_is_refused(stack: Stack, make: Callable[[Stack], Construct]) -> None:
    error = (
        "'rerun_on[0]' has nothing whose change this app could see, got 'Telemetry/Elsewhere'; "
        "put what changes into 'version'"
    )

    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        reprocessing(stack, rerun_on=[make(stack)])


def function(scope: Construct, name: str = "Function") -> Function:
    return Function(
        scope, name, code=Code.from_inline("one"), handler="index.handler", runtime=Runtime.PYTHON_3_13
    )


def test_a_state_machine_is_no_pipeline_by_itself(stack: Stack) -> None:
    machine = StateMachine(stack, "Replay", definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")))
    error = (
        "'pipeline' must be of type IReprocessablePipeline, got StateMachine 'Telemetry/Replay'; use one such as "
        "ReprocessablePipeline.state_machine(...)"
    )

    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        reprocessing(stack, pipeline=machine)


def test_a_function_is_no_list_of_them(stack: Stack) -> None:
    error = "'rerun_on' must be a list of constructs, got Function 'Telemetry/Function'; write rerun_on=[...]"

    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        reprocessing(stack, rerun_on=function(stack))


def test_nothing_more_may_be_watched(stack: Stack) -> None:
    reprocessing(stack, rerun_on=None)

    Template.from_stack(stack).resource_count_is("Custom::PipelineReprocessing", 1)


def test_a_kind_that_the_handler_cannot_start_is_refused(stack: Stack) -> None:
    class Own(IReprocessablePipeline):
        def bind(self, scope: Construct) -> PipelineBinding:
            return PipelineBinding(name="own", properties={"Kind": "OWN"}, statements=[])

    error = "'pipeline.properties.Kind' must be one of IOT_ANALYTICS, STATE_MACHINE, got 'OWN'"

    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        reprocessing(stack, pipeline=Own())


def test_a_kind_of_ones_own_must_give_a_binding(stack: Stack) -> None:
    class Own(IReprocessablePipeline):
        def bind(self, scope: Construct) -> PipelineBinding:
            return None  # type: ignore[return-value]  # as where 'return' was forgotten

    error = (
        "'pipeline.bind(...)' must be of type PipelineBinding, got NoneType None; use one such as "
        "PipelineBinding(...)"
    )

    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        reprocessing(stack, pipeline=Own())


def test_a_kind_of_ones_own_takes_the_paths_of_what_it_starts(stack: Stack) -> None:
    class Own(IReprocessablePipeline):
        def bind(self, scope: Construct) -> PipelineBinding:
            return PipelineBinding(
                name="own", properties={"Kind": "IOT_ANALYTICS", "Name": "own"}, statements=[]
            )

    with pytest.raises(
        ValueError, match=r"^'paths\[0\]' has a character that IoT Analytics refuses, got 'a&b'"
    ):
        reprocessing(stack, pipeline=Own(), messages=MessageSelection.s3_paths(["a&b"]))


@pytest.mark.parametrize(
    "paths", [Token.as_list({"Ref": "Paths"}), ["raw/one", Token.as_string({"Ref": "Path"})]]
)
def test_tokens_pass_as_paths_of_iot_analytics(stack: Stack, paths: list[str]) -> None:
    reprocessing(stack, messages=MessageSelection.s3_paths(paths))

    Template.from_stack(stack).has_resource_properties(
        "Custom::PipelineReprocessing", {"Messages": {"S3Paths": stack.resolve(paths)}}
    )


def test_a_state_machine_takes_any_key(stack: Stack) -> None:
    machine = StateMachine(stack, "Replay", definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")))
    paths = ["raw/größe-温度", "a+b,c&d@e%f"]

    reprocessing(
        stack,
        pipeline=ReprocessablePipeline.state_machine(machine),
        messages=MessageSelection.s3_paths(paths),
    )

    Template.from_stack(stack).has_resource_properties(
        "Custom::PipelineReprocessing", {"Messages": {"S3Paths": paths}}
    )


def test_what_the_trigger_is_made_from_cannot_contain_it(stack: Stack) -> None:
    used = function(stack)
    construct = reprocessing(stack, rerun_on=[used])
    used.add_environment("DATA", construct.trigger)
    error = (
        "the trigger of 'Telemetry/Backfill' must not be in what it is made from, got it in "
        "'Telemetry/Function'; put a text of your own there, and into 'version'"
    )

    with pytest.raises(RuntimeError, match=re.escape(error)):
        Template.from_stack(stack)


def test_two_triggers_cannot_be_made_from_each_other(stack: Stack) -> None:
    functions = [function(stack, name) for name in ("One", "Two")]
    constructs = [
        PipelineReprocessing(
            stack,
            f"{used.node.id}Backfill",
            pipeline=PIPELINE,
            messages=MessageSelection.all(),
            rerun_on=[used],
        )
        for used in functions
    ]
    for used, construct in zip(functions, reversed(constructs), strict=True):
        used.add_environment("DATA", construct.trigger)

    with pytest.raises(RuntimeError, match="Backfill' must not be in what it is made from"):
        Template.from_stack(stack)


def test_a_function_that_is_watched_by_nobody_may_contain_the_trigger(stack: Stack) -> None:
    construct = reprocessing(stack)
    function(stack).add_environment("DATA", construct.trigger)

    resources = Template.from_stack(stack).find_resources("Custom::PipelineReprocessing").values()

    [resource] = resources
    Template.from_stack(stack).has_resource_properties(
        "AWS::Lambda::Function",
        {"Environment": {"Variables": {"DATA": resource["Properties"]["Trigger"]}}},
    )


def test_the_stack_itself_cannot_be_watched(stack: Stack) -> None:
    error = (
        "'rerun_on[0]' must not contain this construct, got 'Telemetry'; name the parts that decide the data"
    )

    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        reprocessing(stack, rerun_on=[stack])


def test_choices_may_be_written_as_texts(stack: Stack) -> None:
    reprocessing(stack, on_rollback="REPROCESS", on_removal="LEAVE")

    Template.from_stack(stack).has_resource_properties(
        "Custom::PipelineReprocessing", {"OnRollback": "REPROCESS", "OnRemoval": "LEAVE"}
    )


def test_choices_are_those_of_the_handler() -> None:
    assert list(OnRollback) == ["KEEP", "REPROCESS"]
    assert list(OnRemoval) == ["CANCEL", "LEAVE"]


def test_what_was_made_is_exposed(stack: Stack) -> None:
    construct = reprocessing(stack)

    assert isinstance(construct.handler, Function)
    assert construct.handler.role is construct.role
    assert construct.handler.log_group is construct.log_group
    assert construct.resource.node.path == "Telemetry/Backfill/Resource"
    assert construct.policy.node.path == "Telemetry/Backfill/Policy"
    assert construct.wait_condition is None
    assert construct.grant_principal is construct.role.grant_principal


def test_a_stack_has_one_handler_however_many_constructs(stack: Stack) -> None:
    one, two = (
        PipelineReprocessing(stack, name, pipeline=PIPELINE, messages=MessageSelection.all())
        for name in ("One", "Two")
    )

    assert one.handler is two.handler


def test_arguments_have_names(stack: Stack) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        PipelineReprocessing(stack, "Backfill", PIPELINE, MessageSelection.all())  # type: ignore[call-arg]  # on purpose


def test_the_choice_of_messages_has_no_default(stack: Stack) -> None:
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'messages'"):
        PipelineReprocessing(stack, "Backfill", pipeline=PIPELINE)  # type: ignore[call-arg]  # on purpose


def test_a_function_can_be_granted_something(stack: Stack) -> None:
    used = function(stack)

    grant = used.grant_invoke(reprocessing(stack))

    assert grant.success


@pytest.mark.parametrize("name", ["ignored_environment", "ignored_layers"])
@pytest.mark.parametrize(
    ("value", "given"), [("BUILD_*", "'BUILD_*'"), (5, "int 5"), (["A", 5], "list ['A', 5]")]
)
def test_what_is_left_out_is_a_list_of_names(name: str, value: Any, given: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"'{name}' must be a list of names, got {given}")):
        Watch(**{name: value})
