"""Stacks with a function that does what the resource's properties tell it."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local_aws import LocalAws

FUNCTION = """
import json, os, time, urllib.request

import boto3


def handler(event, context):
    if "ResponseURL" not in event:
        return act(event, context)
    print("answers go to", event["ResponseURL"])
    properties = event["ResourceProperties"]
    act(json.loads(properties.get(event["RequestType"] + "Does", "{}")), context)
    answer = {
        "Status": "SUCCESS",
        "PhysicalResourceId": event.get("PhysicalResourceId") or "made",
        **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
        **json.loads(properties.get(event["RequestType"], "{}")),
    }
    send(event["ResponseURL"], answer)


def send(url, content):
    body = json.dumps(content).encode()
    urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": ""}, method="PUT")).read()


def request(method, path):
    # Signed for IoT Analytics by hand, for boto3 has dropped its client.
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.httpsession import URLLib3Session

    url = os.environ["AWS_ENDPOINT_URL_IOTANALYTICS"] + path
    signed = AWSRequest(method, url, data=b"")
    credentials = boto3.Session().get_credentials()
    SigV4Auth(credentials, "iotanalytics", os.environ["AWS_REGION"]).add_auth(signed)
    answer = URLLib3Session(verify=os.environ["AWS_CA_BUNDLE"]).send(signed.prepare())
    return {"status": answer.status_code, "error": answer.headers.get("x-amzn-errortype"), "body": answer.text}


def act(wish, context):
    print("function in process", os.getpid(), "wishes", json.dumps(wish))
    print("client context", context.client_context)
    if "sleep" in wish:
        time.sleep(wish["sleep"])
    if "call" in wish:
        service, operation, arguments = wish["call"]
        answer = getattr(boto3.client(service), operation)(**arguments)
        answer.pop("ResponseMetadata")
        answer.pop("Payload", None)
        return json.loads(json.dumps(answer, default=str))
    if "request" in wish:
        return request(*wish["request"])
    if "signal" in wish:
        send(*wish["signal"])
    if "raise" in wish:
        raise RuntimeError(wish["raise"])
    if "exit" in wish:
        os._exit(wish["exit"])
    if "double" in wish:
        return {"doubled": wish["double"] * 2}
    return {
        "pid": os.getpid(),
        "environment": dict(os.environ),
        "runtime": context.__class__.__module__,
        "log_stream": context.log_stream_name,
        "client_context": context.client_context and context.client_context.custom,
        "remaining": context.get_remaining_time_in_millis(),
    }
"""


def resources(
    *, statements: list[dict[str, Any]] | None = None, timeout: int = 90, **more: Any
) -> dict[str, Any]:
    """A function with its role and log group, and more resources beside them."""
    policy = {"PolicyName": "inline", "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}}
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return {
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
                **({"Policies": [policy]} if statements else {}),
            },
        },
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {}},
        "Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": "python3.13",
                "Handler": "index.handler",
                "Code": {"ZipFile": FUNCTION},
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Timeout": timeout,
                "LoggingConfig": {"LogGroup": {"Ref": "Logs"}},
            },
        },
        **more,
    }


def custom(*, depends_on: tuple[str, ...] = (), seconds: int = 30, **properties: Any) -> dict[str, Any]:
    """A custom resource: `Create={...}` overrides the answer to Create, `CreateDoes={...}` is done before it."""
    told = {
        name: json.dumps(value) if isinstance(value, dict) and not name.startswith("As") else value
        for name, value in properties.items()
    }
    return {
        "Type": "Custom::Contract",
        "DependsOn": list(depends_on),
        "Properties": {
            "ServiceToken": {"Fn::GetAtt": ["Function", "Arn"]},
            "ServiceTimeout": seconds,
            **told,
        },
    }


@dataclass
class Stack:
    """A stack, deployed by CloudFormation's API: no CLI, for speed."""

    aws: LocalAws
    name: str = field(default_factory=lambda: f"contract-{uuid.uuid4().hex[:8]}")
    id: str = ""

    def deploy(self, template_resources: dict[str, Any], **outputs: Any) -> str:
        """Creates or updates it and gives the status that it ends in."""
        cloudformation = self.aws.client("cloudformation")
        template: dict[str, Any] = {"Resources": template_resources}
        if outputs:
            template["Outputs"] = {name: {"Value": value} for name, value in outputs.items()}
        body = json.dumps(template)
        call = cloudformation.update_stack if self.id else cloudformation.create_stack
        self.id = call(StackName=self.name, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])["StackId"]
        return self.wait()

    def delete(self) -> str:
        """Deletes it and gives the status that it ends in."""
        self.aws.client("cloudformation").delete_stack(StackName=self.id)
        return self.wait()

    def wait(self) -> str:
        """Waits for the end of what is going on, and gives the status."""
        while True:
            (stack,) = self.aws.client("cloudformation").describe_stacks(StackName=self.id)["Stacks"]
            status: str = stack["StackStatus"]
            if not status.endswith("_IN_PROGRESS"):
                return status
            time.sleep(0.05)

    def physical_id(self, logical_id: str) -> str:
        """The physical id of a resource."""
        described = self.aws.client("cloudformation").describe_stack_resource(
            StackName=self.id, LogicalResourceId=logical_id
        )
        found: str = described["StackResourceDetail"]["PhysicalResourceId"]
        return found

    def reasons(self) -> list[str]:
        """Why resources failed, in order."""
        events = self.aws.client("cloudformation").describe_stack_events(StackName=self.id)["StackEvents"]
        failed = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
        return [event.get("ResourceStatusReason", "") for event in reversed(failed)]

    def requests(self) -> list[dict[str, Any]]:
        """What CloudFormation sent to custom resources of this stack, in order."""
        entries = [entry["Request"] for entry in self.aws.custom_resource_log() if "Request" in entry]
        return [request for request in entries if request["StackId"] == self.id]

    def invoke(self, wish: dict[str, Any], **more: Any) -> Any:
        """Invokes its function and gives the payload, or the error."""
        answer = self.aws.client("lambda").invoke(
            FunctionName=self.physical_id("Function"), Payload=json.dumps(wish), **more
        )
        content = answer["Payload"].read()
        return json.loads(content) if content else None

    def logs(self) -> list[str]:
        """The lines of its function."""
        return self.aws.function_logs(self.physical_id("Function"))


@pytest.fixture
def stack(local_aws: LocalAws) -> Iterator[Stack]:
    """A stack that is deleted after the test."""
    made = Stack(local_aws)
    yield made
    if made.id:
        made.delete()


@pytest.fixture(scope="session")
def with_function() -> Callable[..., dict[str, Any]]:
    """Makes the resources of a stack with the function."""
    return resources


@pytest.fixture(scope="session")
def custom_resource() -> Callable[..., dict[str, Any]]:
    """Makes a custom resource that is served by the function."""
    return custom


@pytest.fixture
def as_role(local_aws: LocalAws) -> Callable[..., Any]:
    """Makes a client that may do what these statements of a new role allow."""

    def client(service: str, *statements: dict[str, Any]) -> Any:
        iam, name = local_aws.client("iam"), f"contract-{uuid.uuid4().hex[:8]}"
        trust = {"Effect": "Allow", "Principal": {"AWS": local_aws.account}, "Action": "sts:AssumeRole"}
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trust))
        iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=_policy(*statements))
        session = local_aws.client("sts").assume_role(RoleArn=made["Role"]["Arn"], RoleSessionName="test")
        return boto3.client(
            service,
            region_name=local_aws.region,
            endpoint_url=local_aws.endpoint_url,
            verify=local_aws.environment["AWS_CA_BUNDLE"],
            aws_access_key_id=session["Credentials"]["AccessKeyId"],
            aws_secret_access_key=session["Credentials"]["SecretAccessKey"],
            aws_session_token=session["Credentials"]["SessionToken"],
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )

    return client


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Waits until something is true and gives it."""

    def wait(condition: Callable[[], Any]) -> Any:
        for _ in range(600):
            if result := condition():
                return result
            time.sleep(0.05)
        raise AssertionError("it did not become true within 30 seconds")

    return wait
