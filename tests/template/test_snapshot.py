"""Ids and properties are a public contract: what changes here replaces people's resources or re-runs their data.

A change on purpose is written down with `pytest tests/template/test_snapshot.py --snapshot-update`.
"""

import re
from typing import Any

from aws_cdk import App, Duration, Stack
from aws_cdk.assertions import Template
from aws_cdk.aws_iotanalytics import CfnPipeline
from aws_cdk.aws_lambda import Code, Function, Runtime
from aws_cdk.aws_stepfunctions import DefinitionBody, StateMachine
from aws_cdk.aws_stepfunctions_tasks import LambdaInvoke
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline, Wait


def test_ids_and_properties_stay_as_they_are(snapshot: SnapshotAssertion) -> None:
    stack = Stack(App(), "Telemetry")
    used = Function(
        stack, "Function", code=Code.from_inline("one"), handler="index.handler", runtime=Runtime.PYTHON_3_14
    )
    activities = [
        CfnPipeline.ActivityProperty(
            channel=CfnPipeline.ChannelProperty(name="source", channel_name="telemetry", next="enrich")
        ),
        CfnPipeline.ActivityProperty(
            lambda_=CfnPipeline.LambdaProperty(
                name="enrich", lambda_name=used.function_name, batch_size=10, next="store"
            )
        ),
        CfnPipeline.ActivityProperty(
            datastore=CfnPipeline.DatastoreProperty(name="store", datastore_name="telemetry")
        ),
    ]
    pipeline = CfnPipeline(stack, "Pipeline", pipeline_activities=activities)
    task = LambdaInvoke(stack, "Task", lambda_function=used)
    machine = StateMachine(stack, "Machine", definition_body=DefinitionBody.from_chainable(task))

    PipelineReprocessing(
        stack,
        "Recent",
        pipeline=ReprocessablePipeline.iot_analytics(pipeline),
        messages=MessageSelection.last(Duration.days(30)),
    )
    PipelineReprocessing(
        stack,
        "Everything",
        pipeline=ReprocessablePipeline.state_machine(machine),
        messages=MessageSelection.all(),
        wait=Wait.for_completion(timeout=Duration.hours(6)),
    )

    assert ours(Template.from_stack(stack)) == snapshot(extension_class=JSONSnapshotExtension)


def ours(template: Template) -> dict[str, Any]:
    resources = template.to_json()["Resources"]
    return {
        name: _without_asset_hash(resource)
        for name, resource in sorted(resources.items())
        if re.match("Recent|Everything|PipelineReprocessingHandler", name)
    }


def _without_asset_hash(resource: dict[str, Any]) -> dict[str, Any]:
    """The handler's code may change; nobody's data does by that."""
    if resource["Type"] == "AWS::Lambda::Function":
        resource["Properties"]["Code"]["S3Key"] = "<hash>.zip"
    return resource
