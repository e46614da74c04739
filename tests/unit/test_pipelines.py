"""ReprocessablePipeline checks what it is given, and says what to start and with which permissions."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from aws_cdk import App, Environment, Stack, Token
from aws_cdk.aws_iotanalytics import CfnPipeline
from aws_cdk.aws_stepfunctions import (
    CfnStateMachine,
    CfnStateMachineAlias,
    CfnStateMachineVersion,
    DefinitionBody,
    Pass,
    StateMachine,
    StateMachineType,
)
from constructs import Construct

from pipeline_reprocessing import (
    ArchivePipeline,
    IReprocessablePipeline,
    PipelineBinding,
    ReprocessablePipeline,
)

ARN = "arn:aws:states:eu-west-1:111122223333:stateMachine:replay"


@pytest.fixture
def stack() -> Stack:
    return Stack(App(), "Telemetry")


def bound(stack: Stack, pipeline: IReprocessablePipeline) -> PipelineBinding:
    return pipeline.bind(Construct(stack, "Backfill"))


def statements(stack: Stack, binding: PipelineBinding) -> Any:
    return stack.resolve([statement.to_statement_json() for statement in binding.statements])


def iot_arn(name: Any) -> dict[str, Any]:
    parts = ["arn:", {"Ref": "AWS::Partition"}, ":iotanalytics:", {"Ref": "AWS::Region"}, ":"]
    literal = isinstance(name, str)
    rest = [f":pipeline/{name}"] if literal else [":pipeline/", name]
    return {"Fn::Join": ["", [*parts, {"Ref": "AWS::AccountId"}, *rest]]}


IOT_ACTIONS = [
    "iotanalytics:StartPipelineReprocessing",
    "iotanalytics:CancelPipelineReprocessing",
    "iotanalytics:DescribePipeline",
]


def test_a_named_pipeline_is_found_by_its_name(stack: Stack) -> None:
    binding = bound(stack, ReprocessablePipeline.iot_analytics_named("telemetry"))

    assert binding.properties == {"Kind": "IOT_ANALYTICS", "Name": "telemetry"}
    assert statements(stack, binding) == [
        {"Effect": "Allow", "Action": IOT_ACTIONS, "Resource": iot_arn("telemetry")}
    ]
    assert list(binding.watched) == []


def test_a_defined_pipeline_is_referred_to_and_watched(stack: Stack) -> None:
    pipeline = CfnPipeline(stack, "Pipeline", pipeline_activities=[])

    binding = bound(stack, ReprocessablePipeline.iot_analytics(pipeline))

    assert stack.resolve(binding.properties) == {"Kind": "IOT_ANALYTICS", "Name": {"Ref": "Pipeline"}}
    assert statements(stack, binding)[0]["Resource"] == iot_arn({"Ref": "Pipeline"})
    assert list(binding.watched) == [pipeline]


def test_a_pipeline_is_the_same_by_name_and_by_definition(stack: Stack) -> None:
    pipeline = CfnPipeline(stack, "Pipeline", pipeline_name="telemetry", pipeline_activities=[])

    by_definition = bound(stack, ReprocessablePipeline.iot_analytics(pipeline))

    assert by_definition.name == "telemetry"


def test_another_endpoint_is_handed_on(stack: Stack) -> None:
    pipeline = ReprocessablePipeline.iot_analytics_named("telemetry", endpoint_url="https://iot.example.com")

    assert bound(stack, pipeline).properties["EndpointUrl"] == "https://iot.example.com"


def test_a_token_passes_as_a_name_and_as_an_endpoint(stack: Stack) -> None:
    name, url = (Token.as_string({"Ref": parameter}) for parameter in ("Name", "Url"))

    binding = bound(stack, ReprocessablePipeline.iot_analytics_named(name, endpoint_url=url))

    assert stack.resolve(binding.properties) == {
        "Kind": "IOT_ANALYTICS",
        "Name": {"Ref": "Name"},
        "EndpointUrl": {"Ref": "Url"},
    }


def test_a_token_passes_as_the_name_of_a_defined_pipeline(stack: Stack) -> None:
    name = Token.as_string({"Ref": "Name"})

    binding = bound(
        stack,
        ReprocessablePipeline.iot_analytics(
            CfnPipeline(stack, "P", pipeline_name=name, pipeline_activities=[])
        ),
    )

    assert stack.resolve(binding.properties["Name"]) == {"Ref": "P"}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", "'name' must have 1 to 128 characters, got 0"),
        ("a" * 129, "'name' must have 1 to 128 characters, got 129"),
        (
            "my-pipeline",
            "'name' must consist of letters, digits and underscores and not begin with two underscores, "
            "got 'my-pipeline'; IoT Analytics allows no hyphens",
        ),
        (
            "__pipeline",
            "'name' must consist of letters, digits and underscores and not begin with two underscores, "
            "got '__pipeline'; IoT Analytics allows no hyphens",
        ),
        (5, "'name' must be a pipeline's name, got int 5"),
    ],
)
def test_an_impossible_name_is_refused(name: Any, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        ReprocessablePipeline.iot_analytics_named(name)


def test_an_impossible_name_of_a_defined_pipeline_is_refused(stack: Stack) -> None:
    pipeline = CfnPipeline(stack, "Pipeline", pipeline_name="my-pipeline", pipeline_activities=[])

    with pytest.raises(
        ValueError, match=r"^'pipeline\.pipeline_name' must consist of .* got 'my-pipeline'; "
    ):
        ReprocessablePipeline.iot_analytics(pipeline)


def test_a_name_in_place_of_a_pipeline_is_refused() -> None:
    error = "'pipeline' must be a CfnPipeline, got 'telemetry'; use .iot_analytics_named() for one by name"

    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        ReprocessablePipeline.iot_analytics("telemetry")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("url", ["example.com", "ftp://example.com", "https://user:secret@example.com", ""])
def test_an_impossible_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="'endpoint_url' must be an http or https URL"):
        ReprocessablePipeline.iot_analytics_named("telemetry", endpoint_url=url)


@pytest.mark.parametrize(("url", "shown"), [(5, "int 5"), (True, "bool True"), (b"http", "bytes b'http'")])
def test_an_endpoint_that_is_no_text_is_refused(url: Any, shown: str) -> None:
    with pytest.raises(ValueError, match=f"^'endpoint_url' must be a URL, got {shown}$"):
        ReprocessablePipeline.iot_analytics_named("telemetry", endpoint_url=url)


def test_a_state_machine_is_started_and_its_executions_are_watched_and_stopped(stack: Stack) -> None:
    machine = StateMachine(stack, "Replay", definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")))

    binding = bound(stack, ReprocessablePipeline.state_machine(machine))

    logical_id = stack.resolve(machine.state_machine_arn)["Ref"]
    executions = {
        "Fn::Join": [
            "",
            [
                "arn:",
                {"Ref": "AWS::Partition"},
                ":states:",
                {"Ref": "AWS::Region"},
                ":",
                {"Ref": "AWS::AccountId"},
                ":execution:",
                {"Fn::GetAtt": [logical_id, "Name"]},
                ":*",
            ],
        ]
    }
    assert stack.resolve(binding.properties) == {"Kind": "STATE_MACHINE", "Arn": {"Ref": logical_id}}
    assert statements(stack, binding) == [
        {"Effect": "Allow", "Action": "states:StartExecution", "Resource": {"Ref": logical_id}},
        {
            "Effect": "Allow",
            "Action": ["states:DescribeExecution", "states:StopExecution"],
            "Resource": executions,
        },
    ]
    assert list(binding.watched) == [machine]


def test_a_state_machine_of_elsewhere_is_known_by_its_arn(stack: Stack) -> None:
    machine = StateMachine.from_state_machine_arn(stack, "Replay", ARN)

    binding = bound(stack, ReprocessablePipeline.state_machine(machine))

    assert binding.properties == {"Kind": "STATE_MACHINE", "Arn": ARN}
    assert [statement["Resource"] for statement in statements(stack, binding)] == [
        ARN,
        "arn:aws:states:eu-west-1:111122223333:execution:replay:*",
    ]


def test_a_token_passes_as_an_arn(stack: Stack) -> None:
    machine = StateMachine.from_state_machine_arn(stack, "Replay", Token.as_string({"Ref": "Arn"}))

    binding = bound(stack, ReprocessablePipeline.state_machine(machine))

    [_, executions] = statements(stack, binding)
    region, account, name = (
        {"Fn::Select": [part, {"Fn::Split": [":", {"Ref": "Arn"}]}]} for part in (3, 4, 6)
    )
    assert stack.resolve(binding.properties["Arn"]) == {"Ref": "Arn"}
    assert executions["Resource"]["Fn::Join"][1][2:] == [
        ":states:",
        region,
        ":",
        account,
        ":execution:",
        name,
        ":*",
    ]


def test_an_express_state_machine_is_refused(stack: Stack) -> None:
    machine = StateMachine(
        stack,
        "Replay",
        definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")),
        state_machine_type=StateMachineType.EXPRESS,
    )
    error = (
        "'state_machine' must be of type STANDARD, got the EXPRESS one 'Telemetry/Replay'; EXPRESS executions can be "
        "started twice, and neither be found again nor stopped"
    )

    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        ReprocessablePipeline.state_machine(machine)


def test_an_express_state_machine_is_refused_by_its_arn_too(stack: Stack) -> None:
    resource = CfnStateMachine(
        stack, "Raw", role_arn="role", definition_string="{}", state_machine_type="EXPRESS"
    )
    machine = StateMachine.from_state_machine_arn(stack, "Replay", resource.attr_arn)

    with pytest.raises(ValueError, match="'state_machine' must be of type STANDARD, got the EXPRESS one"):
        ReprocessablePipeline.state_machine(machine)


@pytest.mark.parametrize("kind", ["Alias", "Version"])
def test_what_stands_for_a_state_machine_is_refused(stack: Stack, kind: str) -> None:
    raw = CfnStateMachine(stack, "Raw", role_arn="role", definition_string="{}")
    version = CfnStateMachineVersion(stack, "Version", state_machine_arn=raw.attr_arn)
    routing = CfnStateMachineAlias.RoutingConfigurationVersionProperty(
        state_machine_version_arn=version.attr_arn, weight=100
    )
    alias = CfnStateMachineAlias(stack, "Alias", routing_configuration=[routing])
    arn = alias.attr_arn if kind == "Alias" else version.attr_arn
    error = (
        f"'state_machine' must be a state machine, got CfnStateMachine{kind} 'Telemetry/{kind}'; "
        "name the state machine itself"
    )

    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        ReprocessablePipeline.state_machine(StateMachine.from_state_machine_arn(stack, "Replay", arn))


def test_a_state_machine_that_became_express_later_is_refused_at_the_end(stack: Stack) -> None:
    machine = StateMachine(stack, "Replay", definition_body=DefinitionBody.from_chainable(Pass(stack, "Do")))
    pipeline = ReprocessablePipeline.state_machine(machine)
    resource = machine.node.default_child
    assert isinstance(resource, CfnStateMachine)
    resource.state_machine_type = "EXPRESS"

    with pytest.raises(ValueError, match="'state_machine' must be of type STANDARD"):
        bound(stack, pipeline)


@pytest.mark.parametrize(
    ("machine", "error"),
    [
        (
            ARN,
            f"'state_machine' must be an IStateMachine, got '{ARN}'; use StateMachine.from_state_machine_arn()",
        ),
        (
            None,
            "'state_machine' must be an IStateMachine, got NoneType None; use StateMachine.from_state_machine_arn()",
        ),
    ],
)
def test_what_is_no_state_machine_is_refused(machine: Any, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        ReprocessablePipeline.state_machine(machine)


def test_an_arn_of_something_else_is_refused(stack: Stack) -> None:
    arn = "arn:aws:states:eu-west-1:111122223333:activity:replay"
    machine = StateMachine.from_state_machine_arn(stack, "Replay", arn)

    with pytest.raises(
        ValueError, match=f"^'state_machine' must be the ARN of a state machine, got '{arn}'$"
    ):
        ReprocessablePipeline.state_machine(machine)


IRELAND = Environment(account="111122223333", region="eu-west-1")
VIRGINIA = Environment(account="111122223333", region="us-east-1")
ELSEWHERE = Environment(account="444455556666", region="eu-west-1")


def known_machine(stack: Stack, there: Environment) -> IReprocessablePipeline:
    arn = f"arn:aws:states:{there.region}:{there.account}:stateMachine:replay"
    return ReprocessablePipeline.state_machine(StateMachine.from_state_machine_arn(stack, "Replay", arn))


def machine_of_another_stack(stack: Stack, there: Environment) -> IReprocessablePipeline:
    other = Stack(cast(App, stack.node.root), "Machines", env=there)
    body = DefinitionBody.from_chainable(Pass(other, "Do"))
    return ReprocessablePipeline.state_machine(StateMachine(other, "Replay", definition_body=body))


def pipeline_of_another_stack(stack: Stack, there: Environment) -> IReprocessablePipeline:
    other = Stack(cast(App, stack.node.root), "Pipelines", env=there)
    return ReprocessablePipeline.iot_analytics(CfnPipeline(other, "Pipeline", pipeline_activities=[]))


@pytest.mark.parametrize("make", [known_machine, machine_of_another_stack, pipeline_of_another_stack])
@pytest.mark.parametrize(
    ("there", "difference"),
    [
        (VIRGINIA, "region of the stack of 'Telemetry/Backfill', 'eu-west-1', got 'us-east-1'"),
        (ELSEWHERE, "account of the stack of 'Telemetry/Backfill', '111122223333', got '444455556666'"),
    ],
    ids=["region", "account"],
)
def test_a_pipeline_that_the_handler_could_not_reach_is_refused(
    make: Callable[[Stack, Environment], IReprocessablePipeline], there: Environment, difference: str
) -> None:
    stack = Stack(App(), "Telemetry", env=IRELAND)
    pipeline = make(stack, there)
    argument = "pipeline" if make is pipeline_of_another_stack else "state_machine"
    error = f"'{argument}' must be in the {difference}; put the PipelineReprocessing into a stack there"

    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        bound(stack, pipeline)


@pytest.mark.parametrize("make", [known_machine, machine_of_another_stack, pipeline_of_another_stack])
def test_a_pipeline_of_the_same_place_passes(
    make: Callable[[Stack, Environment], IReprocessablePipeline],
) -> None:
    stack = Stack(App(), "Telemetry", env=IRELAND)

    assert bound(stack, make(stack, IRELAND)).properties


def test_a_kind_of_ones_own_may_add_to_another_one(stack: Stack) -> None:
    class Calibrated(IReprocessablePipeline):
        def bind(self, scope: Construct) -> PipelineBinding:
            binding = ReprocessablePipeline.iot_analytics_named("telemetry").bind(scope)
            return replace(binding, fingerprint=[binding.fingerprint, 0.5])

    assert bound(stack, Calibrated()).fingerprint == [{"Name": "telemetry"}, 0.5]


def test_an_archive_pipeline_makes_no_pipelines() -> None:
    assert not any(hasattr(ArchivePipeline, name) for name in ("iot_analytics", "iot_analytics_named"))


def test_a_kind_of_ones_own_has_to_say_what_it_is(stack: Stack) -> None:
    class Unfinished(IReprocessablePipeline):
        pass

    with pytest.raises(NotImplementedError):
        Unfinished().bind(stack)
