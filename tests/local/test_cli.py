"""Contract of the embedded AWS: the real CDK CLI deploys, fails with the reason, rolls back and destroys."""

from collections.abc import Callable
from pathlib import Path

import pytest

from local_aws import CdkFailed, CdkResult, LocalAws

pytestmark = pytest.mark.embedded

APP = """
import os
from aws_cdk import App, CfnOutput, CustomResource, Duration, Stack, aws_lambda as lambda_

app = App()
stack = Stack(app, "Tiny")
function = lambda_.Function(
    stack, "Function", runtime=lambda_.Runtime.PYTHON_3_13, handler="index.handler",
    code=lambda_.Code.from_asset("code"), timeout=Duration.seconds(20),
)
resource = CustomResource(
    stack, "Custom", service_token=function.function_arn, resource_type="Custom::Tiny",
    properties={"Value": os.environ["VALUE"]},
)
CfnOutput(stack, "Value", value=resource.get_att_string("Value"))
app.synth()
"""

HANDLER = """
import json, urllib.request


def handler(event, context):
    value = event["ResourceProperties"]["Value"]
    answer = {name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")}
    answer |= {"Status": "SUCCESS", "PhysicalResourceId": "tiny", "Data": {"Value": value}}
    if value == "bad":
        answer |= {"Status": "FAILED", "Reason": "'Value' must be good, got 'bad'"}
    request = urllib.request.Request(
        event["ResponseURL"], json.dumps(answer).encode(), {"content-type": ""}, method="PUT"
    )
    urllib.request.urlopen(request).read()
"""


@pytest.fixture
def cdk(local_aws: LocalAws, tmp_path: Path) -> Callable[..., CdkResult]:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "code").mkdir()
    (tmp_path / "code/index.py").write_text(HANDLER)

    def run(command: str, value: str = "good", on_output: Callable[[str], object] | None = None) -> CdkResult:
        return local_aws.cdk(
            command,
            "Tiny",
            app="python app.py",
            directory=tmp_path,
            environment={"VALUE": value},
            on_output=on_output,
        )

    return run


def test_a_stack_is_deployed_fails_to_update_and_is_destroyed(
    local_aws: LocalAws, cdk: Callable[..., CdkResult]
) -> None:
    lines: list[str] = []
    cloudformation = local_aws.client("cloudformation")

    deployed = cdk("deploy", on_output=lines.append).check()
    failed = cdk("deploy", value="bad")
    (stack,) = cloudformation.describe_stacks(StackName="Tiny")["Stacks"]
    destroyed = cdk("destroy").check()

    assert "\n".join(lines) == deployed.output
    assert "Tiny.Value = good" in deployed.output
    assert "CREATE_IN_PROGRESS" in deployed.output
    assert failed.exit_code == 1
    assert "'Value' must be good, got 'bad'" in failed.output
    with pytest.raises(CdkFailed, match="'cdk deploy Tiny' ended with 1"):
        failed.check()
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "Tiny: destroyed" in destroyed.output
    with pytest.raises(cloudformation.exceptions.ClientError, match="does not exist"):
        cloudformation.describe_stacks(StackName="Tiny")
