"""IAM's quotas for the policies of a role, which ministack does not know.

- The inline policies of a role have at most 10,240 characters together, whitespace not counted.
- A managed policy has at most 6,144 characters, whitespace not counted.
- At most ten managed policies are attached to a role.

Each holds for IAM's API and for CloudFormation, whose resource then fails with the same text.

Source: IAM and AWS STS quotas.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from local_aws.emulator import hooks

_IAM = "ministack.services.iam"
_PROVISIONERS = "ministack.services.cloudformation.provisioners"

_INLINE_PER_ROLE = 10_240
_MANAGED = 6_144
_ATTACHED_PER_ROLE = 10

Answer = tuple[int, dict[str, str], bytes]


class LimitExceeded(Exception):
    """A quota would be exceeded; the text is AWS's."""


def install() -> None:
    """Puts the checks before what ministack does."""
    # CloudFormation calls these by their names in the module, the API by a table.
    hooks.replace(_IAM, "_put_role_policy", "p", _check_inline)
    hooks.replace(_IAM, "store_policy", "arn name path document description tags", _check_created)
    hooks.replace(_IAM, "_create_policy_version", "p", _check_version)
    hooks.replace(_IAM, "attach_managed_policy", "entity policy_arn", _check_attached)
    actions = hooks.find(_IAM, "_IAM_HANDLERS")
    for action, name in (
        ("PutRolePolicy", "_put_role_policy"),
        ("CreatePolicy", "_create_policy"),
        ("CreatePolicyVersion", "_create_policy_version"),
        ("AttachRolePolicy", "_attach_role_policy"),
    ):
        actions[action] = _answered(hooks.find(_IAM, name))
    role = hooks.find(_PROVISIONERS, "_RESOURCE_HANDLERS")["AWS::IAM::Role"]
    role["create"], role["update"] = _check_role(role["create"]), _check_role(role["update"])


def _answered(action: Callable[[Any], Answer]) -> Callable[[Any], Answer]:
    """The action of the API, with a quota as an error in its answer."""

    def answer(p: Any) -> Answer:
        try:
            return action(p)
        except LimitExceeded as refused:
            error: Answer = hooks.find(_IAM, "_error")(409, "LimitExceeded", str(refused), ns="iam")
            return error

    return answer


def _check_inline(original: Any) -> Any:
    def put_role_policy(p: Any) -> Answer:
        name, policy, document = (_value(p, key) for key in ("RoleName", "PolicyName", "PolicyDocument"))
        role = hooks.find(_IAM, "_roles").get(name)
        if role:
            _check_sum(name, {**role["InlinePolicies"], policy: document})
        answer: Answer = original(p)
        return answer

    return put_role_policy


def _check_role(original: Any) -> Any:
    """The inline and managed policies that CloudFormation gives to a role as its properties."""

    def put_role(*arguments: Any, **named: Any) -> Any:
        roles = hooks.find(_IAM, "_roles")
        before = {name: dict(role["InlinePolicies"]) for name, role in roles.items()}
        made = original(*arguments, **named)
        name = made[0]
        try:
            _check_sum(name, roles[name]["InlinePolicies"])
        except LimitExceeded:
            if name in before:
                roles[name]["InlinePolicies"] = before[name]
            else:
                del roles[name]
            raise
        return made

    return put_role


def _check_created(original: Any) -> Any:
    def store_policy(
        arn: str, name: str, path: str, document: Any, *, description: str = "", tags: Any = None
    ) -> Any:
        _check_size(document)
        return original(arn, name, path, document, description=description, tags=tags)

    return store_policy


def _check_version(original: Any) -> Any:
    def create_policy_version(p: Any) -> Answer:
        _check_size(_value(p, "PolicyDocument"))
        answer: Answer = original(p)
        return answer

    return create_policy_version


def _check_attached(original: Any) -> Any:
    def attach_managed_policy(entity: dict[str, Any], policy_arn: str) -> None:
        attached = entity.get("AttachedPolicies", [])
        if "RoleName" in entity and policy_arn not in attached and len(attached) >= _ATTACHED_PER_ROLE:
            raise LimitExceeded(f"Cannot exceed quota for PoliciesPerRole: {_ATTACHED_PER_ROLE}")
        original(entity, policy_arn)

    return attach_managed_policy


def _check_sum(role: str, documents: Mapping[str, Any]) -> None:
    if sum(map(_size, documents.values())) > _INLINE_PER_ROLE:
        raise LimitExceeded(f"Maximum policy size of {_INLINE_PER_ROLE} bytes exceeded for role {role}")


def _check_size(document: Any) -> None:
    if _size(document) > _MANAGED:
        raise LimitExceeded(f"Cannot exceed quota for PolicySize: {_MANAGED}")


def _size(document: Any) -> int:
    text = document if isinstance(document, str) else json.dumps(document)
    return len("".join(text.split()))


def _value(p: Any, key: str) -> str:
    value: str = hooks.find(_IAM, "_p")(p, key)
    return value
