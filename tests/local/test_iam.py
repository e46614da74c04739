"""Contract of the embedded AWS: IAM's quotas for the policies of a role, by API and by CloudFormation."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws import LocalAws

pytestmark = pytest.mark.embedded

_INLINE = "Maximum policy size of 10240 bytes exceeded for role "
_SIZE = "Cannot exceed quota for PolicySize: 6144"
_COUNT = "Cannot exceed quota for PoliciesPerRole: 10"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


def _document(size: int) -> dict[str, Any]:
    """A policy of as many characters, whitespace not counted."""
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    statement["Resource"] += "x" * (size - len(json.dumps(document, separators=(",", ":"))))
    return document


def _text(size: int) -> str:
    return json.dumps(_document(size), indent=8)


@pytest.fixture
def iam(local_aws: LocalAws) -> Any:
    """A client with all rights."""
    return local_aws.client("iam")


@pytest.fixture
def role(iam: Any) -> str:
    """The name of a role without policies."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(_TRUST))
    return name


def _refusal(call: Callable[..., Any], **arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    answer = refused.value.response
    return (
        answer["ResponseMetadata"]["HTTPStatusCode"],
        answer["Error"]["Code"],
        answer["Error"]["Message"],
    )


def _create(iam: Any, size: int = 200) -> str:
    name = f"contract-{uuid.uuid4().hex[:8]}"
    arn: str = iam.create_policy(PolicyName=name, PolicyDocument=_text(size))["Policy"]["Arn"]
    return arn


def test_inline_policies_of_a_role_have_a_size_together(iam: Any, role: str) -> None:
    iam.put_role_policy(RoleName=role, PolicyName="one", PolicyDocument=_text(6_000))
    iam.put_role_policy(RoleName=role, PolicyName="two", PolicyDocument=_text(4_240))

    refusal = _refusal(iam.put_role_policy, RoleName=role, PolicyName="two", PolicyDocument=_text(4_241))

    assert refusal == (409, "LimitExceeded", f"{_INLINE}{role}")
    kept = iam.get_role_policy(RoleName=role, PolicyName="two")["PolicyDocument"]
    assert kept == _document(4_240)


def test_a_managed_policy_and_each_version_of_it_have_a_size(iam: Any) -> None:
    arn = _create(iam, 6_144)

    created = _refusal(iam.create_policy, PolicyName="too-long", PolicyDocument=_text(6_145))
    changed = _refusal(iam.create_policy_version, PolicyArn=arn, PolicyDocument=_text(6_145))

    assert created == changed == (409, "LimitExceeded", _SIZE)


def test_ten_managed_policies_are_attached_to_a_role_at_most(iam: Any, role: str) -> None:
    arns = [_create(iam) for _ in range(11)]
    for arn in arns[:10]:
        iam.attach_role_policy(RoleName=role, PolicyArn=arn)

    refusal = _refusal(iam.attach_role_policy, RoleName=role, PolicyArn=arns[10])

    assert refusal == (409, "LimitExceeded", _COUNT)
    iam.attach_role_policy(RoleName=role, PolicyArn=arns[0])
    iam.detach_role_policy(RoleName=role, PolicyArn=arns[0])
    iam.attach_role_policy(RoleName=role, PolicyArn=arns[10])


def _role(**properties: Any) -> dict[str, Any]:
    return {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": _TRUST, **properties}}


def _inline(name: str, size: int) -> dict[str, Any]:
    return {
        "Type": "AWS::IAM::Policy",
        "Properties": {"PolicyName": name, "PolicyDocument": _document(size), "Roles": [{"Ref": "Role"}]},
    }


def _managed(size: int = 200) -> dict[str, Any]:
    return {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"PolicyDocument": _document(size), "Roles": [{"Ref": "Role"}]},
    }


def _properties_with_inline(size: int) -> dict[str, Any]:
    return {"Policies": [{"PolicyName": "own", "PolicyDocument": _document(size)}]}


_TOO_MUCH: dict[str, tuple[dict[str, Any], str]] = {
    "inline policies": (
        {"Role": _role(), "One": _inline("one", 6_000), "Two": _inline("two", 4_241)},
        _INLINE,
    ),
    "a role with inline policies": ({"Role": _role(**_properties_with_inline(10_241))}, _INLINE),
    "inline policies of the role and beside it": (
        {"Role": _role(**_properties_with_inline(6_000)), "Two": _inline("two", 4_241)},
        _INLINE,
    ),
    "a managed policy": ({"Role": _role(), "One": _managed(6_145)}, _SIZE),
    "managed policies": (
        {"Role": _role(), **{f"Managed{number}": _managed() for number in range(11)}},
        _COUNT,
    ),
}


@pytest.mark.parametrize("too_much", _TOO_MUCH)
def test_cloudformation_fails_with_the_text_of_iam(stack: Any, too_much: str) -> None:
    resources, text = _TOO_MUCH[too_much]

    created = stack.deploy(resources)

    assert created == "ROLLBACK_COMPLETE"
    assert text in " ".join(stack.reasons())


@pytest.mark.parametrize("too_much", _TOO_MUCH)
def test_an_update_fails_with_the_text_of_iam_and_is_rolled_back(stack: Any, too_much: str) -> None:
    resources, text = _TOO_MUCH[too_much]
    stack.deploy({"Role": _role(), "One": _managed() if text == _SIZE else _inline("one", 200)})

    updated = stack.deploy(resources)

    assert updated == "UPDATE_ROLLBACK_COMPLETE"
    assert text in " ".join(stack.reasons())


def test_as_much_as_iam_takes_is_deployed(stack: Any, iam: Any) -> None:
    status = stack.deploy(
        {
            "Role": _role(),
            "One": _inline("one", 6_000),
            "Two": _inline("two", 4_240),
            "Longest": _managed(6_144),
            **{f"Managed{number}": _managed() for number in range(9)},
        }
    )

    assert status == "CREATE_COMPLETE"
    attached = iam.list_attached_role_policies(RoleName=stack.physical_id("Role"))["AttachedPolicies"]
    assert len(attached) == 10
