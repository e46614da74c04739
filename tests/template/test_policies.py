"""What the handler may do with pipelines: allowed for as long as it may have to end a run, and within IAM's limits."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from aws_cdk import App, CfnParameter, CfnResource, Stack
from aws_cdk.assertions import Template
from aws_cdk.aws_iam import ManagedPolicy, PolicyStatement, Role
from aws_cdk.aws_iotanalytics import CfnPipeline
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_s3 import Bucket, BucketEncryption
from aws_cdk.aws_stepfunctions import DefinitionBody, Pass, StateMachine
from constructs import Construct

from pipeline_reprocessing import (
    Archive,
    ArchivePipeline,
    Destination,
    IReprocessablePipeline,
    MessageSelection,
    PipelineBinding,
    PipelineReprocessing,
    ReprocessablePipeline,
    Transform,
)
from pipeline_reprocessing.permissions import size_of

Make = Callable[[Stack], Any]


def machine(stack: Stack, name: str = "Machine", comment: str = "one", **changes: Any) -> Any:
    body = DefinitionBody.from_chainable(Pass(stack, f"{name}Do", comment=comment))
    return ReprocessablePipeline.state_machine(StateMachine(stack, name, definition_body=body, **changes))


def known(stack: Stack, name: str) -> Any:
    arn = f"arn:aws:states:eu-west-1:111122223333:stateMachine:{name}"
    return ReprocessablePipeline.state_machine(StateMachine.from_state_machine_arn(stack, "Known", arn))


def iot_pipeline(stack: Stack, formula: str = "temp", **changes: Any) -> Any:
    math = CfnPipeline.MathProperty(name="math", attribute="temp", math=formula)
    activities = [CfnPipeline.ActivityProperty(math=math)]
    return ReprocessablePipeline.iot_analytics(
        CfnPipeline(stack, "Machine", pipeline_activities=activities, **changes)
    )


def policies(make: Make) -> set[str]:
    """The logical ids of the policies for the pipeline."""
    stack = Stack(App(), "Telemetry")
    backfill(stack, "Backfill", make(stack))
    return set(Template.from_stack(stack).find_resources("AWS::IAM::ManagedPolicy"))


def backfill(scope: Construct, name: str, pipeline: IReprocessablePipeline) -> PipelineReprocessing:
    return PipelineReprocessing(scope, name, pipeline=pipeline, messages=MessageSelection.all())


EXCHANGES: dict[str, tuple[Make, Make]] = {
    "another machine": (lambda stack: machine(stack, "One"), lambda stack: machine(stack, "Two")),
    "a machine that was given a name": (machine, lambda stack: machine(stack, state_machine_name="replay")),
    "a machine that was given another name": (
        lambda stack: machine(stack, state_machine_name="one"),
        lambda stack: machine(stack, state_machine_name="two"),
    ),
    "another machine of elsewhere": (lambda stack: known(stack, "one"), lambda stack: known(stack, "two")),
    "another kind under the same id": (machine, iot_pipeline),
    "another name of an IoT Analytics pipeline": (
        lambda stack: iot_pipeline(stack, pipeline_name="one"),
        lambda stack: iot_pipeline(stack, pipeline_name="two"),
    ),
}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_another_pipeline_has_a_policy_beside_the_old_one_in_both_directions(exchange: str) -> None:
    before, after = EXCHANGES[exchange]

    old, new = policies(before), policies(after)

    # Neither id is in the other template, so forward and backward one is made and the other one removed afterwards.
    assert len(old) == len(new) == 1
    assert old.isdisjoint(new)
    assert policies(before) == old


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (machine, lambda stack: machine(stack, comment="two")),
        (iot_pipeline, lambda stack: iot_pipeline(stack, formula="temp * 2")),
    ],
    ids=["machine", "pipeline"],
)
def test_another_definition_keeps_the_policy(before: Make, after: Make) -> None:
    assert policies(before) == policies(after)


def test_a_machine_of_another_stack_has_a_policy_of_its_own_too() -> None:
    def elsewhere(name: str) -> set[str]:
        return policies(lambda stack: machine(Stack(cast(App, stack.node.root), name)))

    one, two = elsewhere("One"), elsewhere("Two")

    assert len(one) == len(two) == 1
    assert one.isdisjoint(two)


LONGEST_NAME = "n" * 77


def known_machines(stack: Stack, numbers: Iterable[int]) -> None:
    """A construct for each number, on a machine with the longest name."""
    for number in numbers:
        arn = f"arn:aws:states:eu-west-1:111122223333:stateMachine:{LONGEST_NAME}{number:03}"
        machine = StateMachine.from_state_machine_arn(stack, f"Known{number}", arn)
        backfill(stack, f"Backfill{number}", ReprocessablePipeline.state_machine(machine))


def documents(template: Template) -> dict[str, Any]:
    """The documents of the managed policies, by their logical ids."""
    found = template.find_resources("AWS::IAM::ManagedPolicy")
    return {name: policy["Properties"]["PolicyDocument"] for name, policy in found.items()}


def allowed(document: dict[str, Any]) -> set[tuple[str, str]]:
    """The actions of a policy, each with a resource."""
    return {
        (action, json.dumps(resource))
        for statement in document["Statement"]
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def places(count: int, *without: int) -> dict[tuple[str, str], str]:
    """In which policy each permission is."""
    stack = Stack(App(), "Telemetry")
    known_machines(stack, sorted(set(range(count)) - set(without)))
    # The last 16 characters stand for the content.
    return {
        one: name[:-16]
        for name, document in documents(Template.from_stack(stack)).items()
        for one in allowed(document)
    }


@pytest.fixture(scope="module")
def hundred() -> Template:
    """A hundred constructs, on as many machines with the longest names."""
    stack = Stack(App(), "Telemetry")
    known_machines(stack, range(100))
    return Template.from_stack(stack)


def test_a_hundred_constructs_fit_and_an_exchange_of_all_does_too(hundred: Template) -> None:
    found = documents(hundred)
    assert 2 * len(found) <= 10
    assert all(len(json.dumps(document, separators=(",", ":"))) <= 6_144 for document in found.values())
    arn = "arn:aws:states:eu-west-1:111122223333"
    assert {one for document in found.values() for one in allowed(document)} == {
        permission
        for number in range(100)
        for permission in (
            ("states:StartExecution", f'"{arn}:stateMachine:{LONGEST_NAME}{number:03}"'),
            ("states:DescribeExecution", f'"{arn}:execution:{LONGEST_NAME}{number:03}:*"'),
            ("states:StopExecution", f'"{arn}:execution:{LONGEST_NAME}{number:03}:*"'),
        )
    }
    hundred.resource_count_is("AWS::IAM::Policy", 1)


def test_each_custom_resource_waits_for_what_allows_its_pipeline(hundred: Template) -> None:
    found = documents(hundred)

    resources = hundred.find_resources("Custom::PipelineReprocessing").values()

    assert len(resources) == 100
    for resource in resources:
        start = ("states:StartExecution", json.dumps(resource["Properties"]["Pipeline"]["Arn"]))
        assert any(start in allowed(found[name]) for name in resource["DependsOn"] if name in found)


def test_a_construct_more_or_less_moves_no_other_permission() -> None:
    before, more, less = places(40), places(41), places(40, 17)

    assert before.items() <= more.items()
    assert less.items() <= before.items()
    assert len(set(before.values())) == 5


def test_an_exchange_replaces_the_policy_of_that_pipeline_alone() -> None:
    def stack_with(name: str) -> set[str]:
        stack = Stack(App(), "Telemetry")
        known_machines(stack, range(20))
        backfill(stack, "Backfill", known(stack, name))
        return set(documents(Template.from_stack(stack)))

    one, two = stack_with("one"), stack_with("two")

    assert len(one - two) == len(two - one) == 1


def test_more_than_fits_is_refused_with_figures_and_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_reprocessing.permissions.POLICY_SIZE", 700)
    stack = Stack(App(), "Telemetry")
    known_machines(stack, range(10))

    with pytest.raises(RuntimeError) as refused:
        Template.from_stack(stack)

    assert (
        "the pipelines of the stack 'Telemetry' must fit into 5 managed policies of 700 characters, got 10 constructs "
        "with up to 4,590 characters; put 5 into another stack, such as 'Backfill"
    ) in str(refused.value)


def test_managed_policies_of_the_user_leave_room_for_fewer() -> None:
    stack = Stack(App(), "Telemetry")
    known_machines(stack, range(40))
    handler = cast(PipelineReprocessing, stack.node.find_child("Backfill0"))
    for name in ("One", "Two", "Three"):
        handler.role.add_managed_policy(ManagedPolicy.from_aws_managed_policy_name(name))

    found = documents(Template.from_stack(stack))

    assert len(found) == 3


def test_equal_statements_are_there_once_and_others_as_they_were_given() -> None:
    condition = {"StringEquals": {"aws:ResourceTag/stage": "prod"}}
    extra = PolicyStatement(
        sid="Extra", actions=["kms:Decrypt"], resources=["arn:aws:kms:::key/one"], conditions=condition
    )
    stack = Stack(App(), "Telemetry")
    pipeline = known(stack, "one")
    for number in range(10):
        backfill(stack, f"Backfill{number}", WithStatement(pipeline, extra))

    found = documents(Template.from_stack(stack))

    assert len(found) < 10
    for document in found.values():
        # Without its label, which has to be unique in a policy.
        assert {
            "Action": "kms:Decrypt",
            "Effect": "Allow",
            "Condition": condition,
            "Resource": "arn:aws:kms:::key/one",
        } in document["Statement"]
        assert len(document["Statement"]) == 3


@dataclass(frozen=True)
class WithStatement(IReprocessablePipeline):
    pipeline: IReprocessablePipeline
    statement: PolicyStatement

    def bind(self, scope: Construct) -> PipelineBinding:
        binding = self.pipeline.bind(scope)
        return replace(binding, statements=[*binding.statements, self.statement])


@pytest.mark.parametrize(
    ("given", "longest"),
    [
        ({"Ref": "Machine"}, 143),
        ({"Fn::ImportValue": "Exported"}, 143),
        ({"Ref": "AWS::Partition"}, 10),
        ({"Fn::Join": ["", ["arn:aws:states:", {"Ref": "AWS::Region"}, ":", {"Ref": "AWS::AccountId"}]]}, 42),
        ({"Fn::Join": ["", ["arn:aws:states:::stateMachine:", {"Ref": "Other"}, ":*"]]}, 112),
        ({"Fn::Join": ["", ["arn:aws:iotanalytics:::pipeline/", {"Ref": "Other"}]]}, 160),
    ],
    ids=["machine", "import", "partition", "region and account", "name of a machine", "another name"],
)
def test_a_deploy_time_value_counts_as_long_as_it_can_be(given: Any, longest: int) -> None:
    assert size_of({"Resource": given}) == len('{"Resource":""}') + longest


def test_a_hundred_machines_fit_whose_names_are_not_known_at_synth() -> None:
    stack = Stack(App(), "Telemetry")
    for number in range(100):
        arn = CfnParameter(stack, f"Arn{number}").value_as_string
        machine = StateMachine.from_state_machine_arn(stack, f"Known{number}", arn)
        backfill(stack, f"Backfill{number}", ReprocessablePipeline.state_machine(machine))

    found = documents(Template.from_stack(stack))

    assert len({one for document in found.values() for one in allowed(document)}) == 300
    assert all(size_of(document) <= 6_144 for document in found.values())


def chain(stack: Stack, length: int, name: str = "Machine") -> None:
    """Constructs, of which each but the first reprocesses what the one before made."""
    first = machine_of(stack, f"{name}0")
    before = backfill(stack, "Backfill0", ReprocessablePipeline.state_machine(first))
    for number in range(1, length):
        last = machine_of(stack, f"{name}{number}")
        last.node.add_dependency(before)
        before = backfill(stack, f"Backfill{number}", ReprocessablePipeline.state_machine(last))


def machine_of(stack: Stack, name: str) -> StateMachine:
    body = DefinitionBody.from_chainable(Pass(stack, f"{name}Do"))
    return StateMachine(stack, name, definition_body=body)


def inline(template: Template) -> dict[str, Any]:
    """The inline policies of pipelines, by their logical ids."""
    found = template.find_resources("AWS::IAM::Policy").items()
    return {name: policy for name, policy in found if name.startswith("Backfill")}


def test_a_pipeline_that_waits_for_another_ones_run_shares_no_policy() -> None:
    stack = Stack(App(), "Telemetry")
    chain(stack, 3)

    # Template refuses circular dependencies.
    template = Template.from_stack(stack)

    own = inline(template)
    assert len(own) == 2
    assert len({policy["Properties"]["PolicyName"] for policy in own.values()}) == 2
    assert len(documents(template)) == 1
    for name, resource in template.find_resources("Custom::PipelineReprocessing").items():
        [policy] = {*own, *documents(template)} & set(resource["DependsOn"])
        assert policy.startswith("PipelineReprocessingHandler" if name.startswith("Backfill0") else name[:9])


def test_an_exchanged_pipeline_that_waits_has_a_policy_beside_the_old_one() -> None:
    def policies_of(name: str) -> dict[str, Any]:
        stack = Stack(App(), "Telemetry")
        chain(stack, 2, name)
        return inline(Template.from_stack(stack))

    [(old_id, old)], [(new_id, new)] = policies_of("Machine").items(), policies_of("Other").items()

    assert old_id != new_id
    # Policies of one name in one role would be one policy, and go with whichever is removed.
    assert old["Properties"]["PolicyName"] != new["Properties"]["PolicyName"]


def test_a_reference_in_a_definition_makes_a_pipeline_wait_too() -> None:
    stack = Stack(App(), "Telemetry")
    first = backfill(stack, "Backfill0", known(stack, "one"))
    definition = DefinitionBody.from_string(f'{{"Comment": "{first.status}"}}')
    second = StateMachine(stack, "Machine", definition_body=definition)
    backfill(stack, "Backfill1", ReprocessablePipeline.state_machine(second))

    template = Template.from_stack(stack)

    assert len(inline(template)) == 1


def test_too_many_pipelines_that_wait_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_reprocessing.permissions.INLINE_SIZE", 900)
    stack = Stack(App(), "Telemetry")
    chain(stack, 4)

    with pytest.raises(RuntimeError) as refused:
        Template.from_stack(stack)

    assert (
        "the pipelines of the stack 'Telemetry' that depend on another PipelineReprocessing must fit into 900 "
        "characters of inline policies, got 3 constructs with up to 1,"
    ) in str(refused.value)
    assert "characters; put some of them into another stack" in str(refused.value)


def test_what_waits_for_the_policy_waits_for_the_one_that_is_there() -> None:
    stack = Stack(App(), "Telemetry")
    later = CfnResource(stack, "Later", type="Custom::Later")
    later.node.add_dependency(backfill(stack, "Backfill", known(stack, "one")).policy)

    template = Template.from_stack(stack)

    [later_too] = template.find_resources("Custom::Later").values()
    assert later_too["DependsOn"] == list(documents(template))


def test_customized_roles_leave_no_policy_behind_and_have_all_in_the_report(tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path))
    stack = Stack(app, "Telemetry")
    Role.customize_roles(stack)
    used = Function(
        stack, "Function", code=Code.from_inline("one"), handler="index.handler", runtime=Runtime.PYTHON_3_14
    )
    archive = ArchivePipeline(
        stack,
        "Pipeline",
        source=Archive.firehose(Bucket(stack, "Raw", encryption=BucketEncryption.KMS)),
        transform=Transform.firehose(used),
        destination=Destination(Bucket(stack, "Clean"), prefix="clean/"),
    )
    backfill(stack, "Backfill", archive)
    backfill(stack, "Other", known(stack, "one"))

    resources = Template.from_stack(stack).to_json()["Resources"].values()

    assert [one["Type"] for one in resources if one["Type"].startswith("AWS::IAM::")] == []
    report = json.loads((tmp_path / "iam-policy-report.json").read_text(encoding="utf-8"))
    told = {role["roleConstructPath"]: role["identityPolicyStatements"] for role in report["roles"]}
    actions = {
        path: {action for statement in statements for action in as_list(statement["Action"])}
        for path, statements in told.items()
    }
    assert actions["Telemetry/PipelineReprocessingHandler/Role"] == {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "logs:DescribeLogStreams",
        "lambda:InvokeFunction",
        "cloudformation:DescribeStacks",
        "states:StartExecution",
        "states:DescribeExecution",
        "states:StopExecution",
    }
    assert actions["Telemetry/Pipeline/Role"] >= {"s3:GetObject", "s3:PutObject", "kms:Decrypt"}
    assert actions["Telemetry/Pipeline/StateMachine/Role"] >= {
        "states:StartExecution",
        "lambda:InvokeFunction",
    }
    machine_arn = "arn:aws:states:eu-west-1:111122223333:stateMachine:one"
    assert machine_arn in json.dumps(told["Telemetry/PipelineReprocessingHandler/Role"])
