"""Contract of the embedded AWS: the CloudFormation types of IoT Analytics, which call the project's own server."""

import json
import uuid
from itertools import pairwise
from typing import Any

import pytest

from local_aws import LocalAws

pytestmark = pytest.mark.embedded


@pytest.fixture
def prefix() -> str:
    return f"contract_{uuid.uuid4().hex[:8]}"


def _resources(prefix: str, *activities: dict[str, Any], **more: Any) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"Channel": {"Name": "in", "ChannelName": {"Ref": "Channel"}}},
        *({kind: {**settings} for kind, settings in activity.items()} for activity in activities),
        {"Datastore": {"Name": "out", "DatastoreName": {"Ref": "Store"}}},
    ]
    for step, following in pairwise(next(iter(step.values())) for step in steps):
        step["Next"] = following["Name"]
    return {
        "Channel": {
            "Type": "AWS::IoTAnalytics::Channel",
            "Properties": {
                "ChannelName": f"{prefix}_channel",
                "RetentionPeriod": {"NumberOfDays": "30"},
                "Tags": [{"Key": "team", "Value": "data"}],
            },
        },
        "Store": {
            "Type": "AWS::IoTAnalytics::Datastore",
            "Properties": {"DatastoreName": f"{prefix}_store", "RetentionPeriod": {"Unlimited": True}},
        },
        "Pipeline": {
            "Type": "AWS::IoTAnalytics::Pipeline",
            "Properties": {"PipelineName": f"{prefix}_pipeline", "PipelineActivities": steps},
        },
        **more,
    }


def _celsius(expression: str) -> dict[str, Any]:
    return {"Math": {"Name": "convert", "Attribute": "celsius", "Math": expression}}


def _activities(local_aws: LocalAws, name: str) -> list[dict[str, Any]]:
    described = local_aws.client("iotanalytics").describe_pipeline(pipelineName=name)
    found: list[dict[str, Any]] = described["pipeline"]["activities"]
    return found


def test_a_stack_makes_changes_and_deletes_them(local_aws: LocalAws, stack: Any, prefix: str) -> None:
    service = local_aws.client("iotanalytics")

    created = stack.deploy(_resources(prefix))
    pipeline = stack.physical_id("Pipeline")
    channel = service.describe_channel(channelName=stack.physical_id("Channel"))["channel"]
    attributes = {"AddAttributes": {"Name": "rename", "Attributes": {"Temp": "Temperature"}}}
    updated = stack.deploy(_resources(prefix, _celsius("(fahrenheit - 32) / 1.8"), attributes))
    activities = _activities(local_aws, pipeline)
    deleted = stack.delete()

    assert (created, updated, deleted) == ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE")
    assert pipeline == f"{prefix}_pipeline"
    assert channel["retentionPeriod"]["numberOfDays"] == 30
    assert [next(iter(activity)) for activity in activities] == [
        "channel",
        "math",
        "addAttributes",
        "datastore",
    ]
    assert activities[1]["math"]["math"] == "(fahrenheit - 32) / 1.8"
    assert activities[2]["addAttributes"]["attributes"] == {"Temp": "Temperature"}
    with pytest.raises(service.exceptions.ResourceNotFoundException):
        service.describe_pipeline(pipelineName=pipeline)


def test_a_refused_create_fails_with_the_words_of_the_server(stack: Any, prefix: str) -> None:
    resources = _resources(prefix)
    resources["Pipeline"]["Properties"]["PipelineName"] = "no-hyphens"

    status = stack.deploy(resources)

    assert status == "ROLLBACK_COMPLETE"
    assert "no-hyphens" in stack.reasons()[0]
    assert "(Service: IoTAnalytics, Status Code: 400, Error: InvalidRequestException)" in stack.reasons()[0]


def test_a_refused_update_leaves_the_old_definition(local_aws: LocalAws, stack: Any, prefix: str) -> None:
    stack.deploy(_resources(prefix))
    before = _activities(local_aws, f"{prefix}_pipeline")

    status = stack.deploy(_resources(prefix, _celsius("")))

    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert "InvalidRequestException" in stack.reasons()[0]
    assert _activities(local_aws, f"{prefix}_pipeline") == before


def test_a_rollback_restores_the_old_definition(
    local_aws: LocalAws, stack: Any, prefix: str, with_function: Any, custom_resource: Any
) -> None:
    stack.deploy(with_function(**_resources(prefix)))
    before = _activities(local_aws, f"{prefix}_pipeline")
    later = custom_resource(depends_on=("Pipeline",), Create={"Status": "FAILED", "Reason": "told to fail"})

    status = stack.deploy(with_function(**_resources(prefix, _celsius("fahrenheit / 2"), Later=later)))

    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert _activities(local_aws, f"{prefix}_pipeline") == before


def test_a_new_name_replaces(local_aws: LocalAws, stack: Any, prefix: str) -> None:
    service = local_aws.client("iotanalytics")
    stack.deploy(_resources(prefix))
    renamed = _resources(prefix)
    renamed["Pipeline"]["Properties"]["PipelineName"] = f"{prefix}_renamed"

    status = stack.deploy(renamed)

    assert status == "UPDATE_COMPLETE"
    assert _activities(local_aws, f"{prefix}_renamed")
    with pytest.raises(service.exceptions.ResourceNotFoundException):
        service.describe_pipeline(pipelineName=f"{prefix}_pipeline")


def test_a_function_may_only_do_what_its_role_allows_on_the_pipeline(
    stack: Any, prefix: str, with_function: Any
) -> None:
    def statement(pipeline: str) -> dict[str, Any]:
        arn = "arn:aws:iotanalytics:${AWS::Region}:${AWS::AccountId}:pipeline/" + pipeline
        action = "iotanalytics:DescribePipeline"
        return {"Effect": "Allow", "Action": action, "Resource": {"Fn::Sub": arn}}

    name = f"{prefix}_pipeline"
    describe = {"request": ["GET", f"/pipelines/{name}"]}
    stack.deploy(with_function(**_resources(prefix), statements=[statement("another")]))
    denied = stack.invoke(describe)
    stack.deploy(with_function(**_resources(prefix), statements=[statement(name)]))
    allowed = stack.invoke(describe)
    cancel = stack.invoke({"request": ["DELETE", f"/pipelines/{name}/reprocessing/run-1"]})

    assert (denied["status"], denied["error"]) == (403, "AccessDeniedException")
    assert (
        f"iotanalytics:DescribePipeline on resource: arn:aws:iotanalytics:us-east-1:123456789012:pipeline/{name}"
        in (denied["body"])
    )
    assert allowed["status"] == 200
    assert json.loads(allowed["body"])["pipeline"]["name"] == name
    assert (cancel["status"], cancel["error"]) == (403, "AccessDeniedException")
