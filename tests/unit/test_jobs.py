"""What a state machine runs elsewhere than in Lambda, through `.sync` tasks, is part of the trigger."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, CfnResource, DefaultStackSynthesizer, Size, Stack
from aws_cdk.assertions import Template
from aws_cdk.aws_batch import CfnJobDefinition, EcsFargateContainerDefinition, EcsJobDefinition
from aws_cdk.aws_ec2 import Vpc
from aws_cdk.aws_ecs import (
    Cluster,
    ContainerImage,
    FargatePlatformVersion,
    FargateTaskDefinition,
    LogDrivers,
)
from aws_cdk.aws_glue import CfnJob
from aws_cdk.aws_s3_assets import Asset
from aws_cdk.aws_stepfunctions import DefinitionBody, IntegrationPattern, StateMachine
from aws_cdk.aws_stepfunctions_tasks import (
    BatchSubmitJob,
    EcsFargateLaunchTarget,
    EcsRunTask,
    GlueStartJobRun,
)

from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline

SYNC = IntegrationPattern.RUN_JOB


def backfill(stack: Stack, body: Any) -> dict[str, Any]:
    """The custom resource where a state machine with that body reprocesses."""
    if not isinstance(body, DefinitionBody):
        body = DefinitionBody.from_chainable(body)
    machine = StateMachine(stack, "Machine", definition_body=body)
    PipelineReprocessing(
        stack,
        "Backfill",
        pipeline=ReprocessablePipeline.state_machine(machine),
        messages=MessageSelection.all(),
    )
    [resource] = Template.from_stack(stack).find_resources("Custom::PipelineReprocessing").values()
    return dict(resource)


def glue(*, qualifier: str = "hnb659fds", path: Path | None = None, **properties: Any) -> str:
    stack = Stack(App(), "Telemetry", synthesizer=DefaultStackSynthesizer(qualifier=qualifier))
    script = Asset(stack, "Script", path=str(path)).s3_object_url if path else "s3://scripts/one.py"
    given: dict[str, Any] = {"role": "role", "command": {"name": "glueetl", "scriptLocation": script}}
    job = CfnJob(stack, "Job", **(given | properties))
    run = GlueStartJobRun(stack, "Run", glue_job_name=job.ref, integration_pattern=SYNC)
    trigger: str = backfill(stack, run)["Properties"]["Trigger"]
    return trigger


def ecs(image: str = "image:1", *, memory: int = 512, logs: bool = False, **environment: str) -> str:
    stack = Stack(App(), "Telemetry")
    task = FargateTaskDefinition(stack, "Task", memory_limit_mib=memory)
    task.add_container(
        "Main",
        image=ContainerImage.from_registry(image),
        environment=environment,
        logging=LogDrivers.aws_logs(stream_prefix="telemetry") if logs else None,
    )
    vpc = Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=["a"], private_subnet_ids=["subnet-1"]
    )
    run = EcsRunTask(
        stack,
        "Run",
        cluster=Cluster(stack, "Cluster", vpc=vpc),
        task_definition=task,
        launch_target=EcsFargateLaunchTarget(platform_version=FargatePlatformVersion.LATEST),
        integration_pattern=SYNC,
    )
    resource = backfill(stack, run)
    assert stack.resolve(task.task_definition_arn)["Ref"] in resource["DependsOn"]
    assert any(name.startswith("TaskTaskRole") for name in resource["DependsOn"])
    trigger: str = resource["Properties"]["Trigger"]
    return trigger


def batch(image: str = "image:1", *, memory: int = 512, **environment: str) -> str:
    stack = Stack(App(), "Telemetry")
    container = EcsFargateContainerDefinition(
        stack,
        "Container",
        image=ContainerImage.from_registry(image),
        memory=Size.mebibytes(memory),
        cpu=1,
        environment=environment,
    )
    job = EcsJobDefinition(stack, "Job", container=container)
    trigger: str = backfill(stack, submit(stack, job.job_definition_arn))["Properties"]["Trigger"]
    return trigger


def batch_nodes(image: str) -> str:
    stack = Stack(App(), "Telemetry")
    nodes = [{"targetNodes": "0:", "container": {"image": image}}]
    job = CfnJobDefinition(
        stack,
        "Job",
        type="multinode",
        node_properties={"mainNode": 0, "numNodes": 2, "nodeRangeProperties": nodes},
    )
    trigger: str = backfill(stack, submit(stack, job.ref))["Properties"]["Trigger"]
    return trigger


def submit(stack: Stack, job: str) -> BatchSubmitJob:
    queue = "arn:aws:batch:eu-west-1:111122223333:job-queue/queue"
    return BatchSubmitJob(
        stack, "Run", job_definition_arn=job, job_name="run", job_queue_arn=queue, integration_pattern=SYNC
    )


def test_the_script_of_a_glue_job_changes_it_but_not_where_that_lies(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.py", "again.py", "two.py")]
    for path, text in zip(paths, ("one", "one", "two"), strict=True):
        path.write_text(text)

    first, again, second = (glue(path=path) for path in paths)

    assert first == again == glue(path=paths[0], qualifier="telemetry")
    assert first != second


@pytest.mark.parametrize(
    "changes",
    [
        {"command": {"name": "glueetl", "scriptLocation": "s3://scripts/two.py"}},
        {"default_arguments": {"--unit": "celsius"}},
        {"glue_version": "5.0"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_a_glue_job_does_changes_it(changes: dict[str, Any]) -> None:
    assert glue() != glue(**changes)


def test_how_a_glue_job_runs_does_not_change_it() -> None:
    assert glue() == glue(max_retries=3, tags={"owner": "telemetry"}, timeout=60)


def test_the_image_and_environment_of_a_container_task_change_it() -> None:
    assert len({ecs(), ecs("image:2"), ecs(UNIT="celsius")}) == 3


def test_the_memory_and_logs_of_a_container_task_do_not_change_it() -> None:
    assert ecs() == ecs(memory=1024, logs=True)


def test_the_image_and_environment_of_a_batch_job_change_it() -> None:
    assert len({batch(), batch("image:2"), batch(UNIT="celsius")}) == 3
    assert batch_nodes("image:1") != batch_nodes("image:2")


def test_the_memory_of_a_batch_job_does_not_change_it() -> None:
    assert batch() == batch(memory=1024)


NAMED: dict[str, tuple[str, str, Callable[[str], dict[str, Any]]]] = {
    "Glue job": (
        "AWS::Glue::Job",
        "JobName",
        lambda image: {"Name": "clean", "Command": {"ScriptLocation": f"s3://scripts/{image}.py"}},
    ),
    "task definition": (
        "AWS::ECS::TaskDefinition",
        "TaskDefinition",
        lambda image: {"Family": "clean", "ContainerDefinitions": [{"Image": image}]},
    ),
    "job definition": (
        "AWS::Batch::JobDefinition",
        "JobDefinition",
        lambda image: {"JobDefinitionName": "clean", "ContainerProperties": {"Image": image}},
    ),
}


@pytest.mark.parametrize("named", NAMED)
def test_a_job_that_a_definition_names_by_its_own_name_changes_it(named: str) -> None:
    kind, parameter, properties = NAMED[named]

    def trigger(image: str) -> str:
        stack = Stack(App(), "Telemetry")
        CfnResource(stack, "Job", type=kind, properties=properties(image))
        definition = stack.to_json_string(
            {"StartAt": "Run", "States": {"Run": {"Type": "Task", "Parameters": {parameter: "clean"}}}}
        )
        resource = backfill(stack, DefinitionBody.from_string(definition))
        assert "Job" in resource["DependsOn"]
        value: str = resource["Properties"]["Trigger"]
        return value

    assert trigger("one") == trigger("one")
    assert trigger("one") != trigger("two")


def test_an_image_that_is_an_asset_counts_by_its_hash() -> None:
    def of_image(repository: str, digest: str) -> str:
        return ecs(f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/{repository}:{digest}")

    assert of_image("one", "a" * 64) == of_image("two", "a" * 64)
    assert of_image("one", "a" * 64) != of_image("one", "b" * 64)
