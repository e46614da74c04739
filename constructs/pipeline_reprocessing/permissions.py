"""What the handler may do with the pipelines of a stack, within IAM's limits for one role.

All constructs of a stack share at most five managed policies. A policy never changes: other statements make another
resource. CloudFormation creates it before it updates the custom resources, and removes the old one in the clean-up. So
the handler may start a run on a new pipeline and end one on the old, on the way forward and in a rollback. There are
five because the old and the new ones together must be at most the ten that IAM attaches to a role.

A custom resource waits for its policy, and the policy waits for every pipeline in it. So a pipeline that depends on
another `PipelineReprocessing` is in an inline policy of its own: in a shared one it could close a circle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jsii
from aws_cdk import CfnResource, IResolveContext, Reference, Stack, Tokenization
from aws_cdk.aws_iam import CfnManagedPolicy, CfnPolicy, CfnRole, PolicyStatement, Role
from constructs import Construct, Dependable, IConstruct, IValidation

from pipeline_reprocessing.acknowledged import EXECUTIONS, acknowledge_wildcard
from pipeline_reprocessing.lazy import LazyRoots, lazy_text, lazy_value
from pipeline_reprocessing.logical_ids import new_id_for_each
from pipeline_reprocessing.pipelines import PipelineBinding
from pipeline_reprocessing.trigger.graph import digest
from pipeline_reprocessing.trigger.templates import Template, Templates

POLICY_SIZE = 6_144
"""The most characters of a managed policy, without whitespace (IAM quota)."""
POLICIES_PER_ROLE = 10
"""The most managed policies attached to a role (IAM quota)."""
INLINE_SIZE = 4_500
"""The most characters of inline policies here: half of IAM's 10,240 for a role, less the handler's own policy."""

_LONGEST = {"AWS::Partition": 10, "AWS::Region": 14, "AWS::AccountId": 12, "AWS::URLSuffix": 16}
"""Of the partitions and regions that exist, no pair is longer than these two together."""
_PARTS_OF_ARN = {1: "AWS::Partition", 3: "AWS::Region", 4: "AWS::AccountId"}
_LONGEST_ARN = 143
"""The ARN of a state machine with the longest name, in such a region."""
_LONGEST_MACHINE_NAME, _LONGEST_NAME = 80, 128

Json = Mapping[str, Any]
Content = tuple[Json, list[object]]


def _is_synthesized(role: Role) -> bool:
    """Whether the role is in the template: not where `Role.customize_roles` prevents that."""
    return role.node.default_child is not None


class PipelinePermission(Construct):
    """What the handler may do with one pipeline; what depends on this waits until it may.

    Args:
        scope: The `PipelineReprocessing`.
        id: Its id in that scope.
        permissions: Those of the stack's handler.
        binding: The pipeline.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002  # CDK's name for it
        permissions: Permissions,
        binding: PipelineBinding,
    ) -> None:
        super().__init__(scope, id)
        self._binding = binding
        self.place = scope.node.path.removeprefix(Stack.of(scope).node.path)
        """The construct's path in the stack."""
        self.policy = permissions.add(self, binding.statements)
        """The inline policy, for a pipeline that must not share one; None where roles are customized."""
        Dependable.implement(self, LazyRoots(lambda: permissions.roots(self)))

    @property
    def statements(self) -> list[Json]:
        """The statements as JSON, with tokens."""
        return [statement.to_statement_json() for statement in self._binding.statements]

    @property
    def pipeline(self) -> list[object]:
        """What tells the pipeline from another one that has the same references, with tokens."""
        name = self._binding.name
        tokens = Tokenization.reverse_string(name).tokens
        targets = [token.target for token in tokens if isinstance(token, Reference)]
        given = [
            getattr(target, kind, None)
            for target in targets
            for kind in ("state_machine_name", "pipeline_name")
        ]
        return [self._binding.properties["Kind"], name, *given]


class Permissions:
    """The policies that let a handler work on the pipelines of its stack.

    Args:
        scope: The handler.
        role: Its role.
    """

    def __init__(self, scope: Construct, role: Role) -> None:
        self._scope = scope
        self._role = role
        self._templates = Templates.of(scope)
        self._members: list[PipelinePermission] = []
        self._shared = [
            _SharedPolicy(scope, f"Pipelines{index}", self, role)
            for index in range(POLICIES_PER_ROLE // 2)
            if _is_synthesized(role)
        ]
        # What was found when CDK last asked for dependencies, which is once in each synth, after all Aspects.
        self._found: _Found | None = None
        scope.node.add_validation(_Validation(self))

    def add(self, member: PipelinePermission, statements: Sequence[PolicyStatement]) -> _InlinePolicy | None:
        """Allows the handler what the member says; gives a policy that exists only if it cannot share one."""
        if not _is_synthesized(self._role):
            for statement in statements:
                self._role.add_to_principal_policy(statement)
            return None
        self._members.append(member)
        for arn in (arn for statement in statements for arn in statement.resources if ":execution:" in arn):
            acknowledge_wildcard(self._scope, arn, EXECUTIONS)
        return _InlinePolicy(member, "Resource", self, self._role)

    def roots(self, member: PipelinePermission) -> list[IConstruct]:
        """The policies that may allow it."""
        if member.policy is None:
            return []
        if self._found is None or self._found.validated:
            self._found = _Found(self._members, self._of_all(), self._policies())
        shared = self._found.places.get(member)
        return [member.policy, *([shared] if shared else [])]

    def holds(self, policy: CfnResource) -> list[PipelinePermission]:
        """Whose statements are in it."""
        found = self._found
        if found is None:
            return []
        return [
            member
            for member in self._members
            if (member.policy if member in found.apart else found.places.get(member)) is policy
        ]

    def exists(self, policy: CfnResource) -> bool:
        """Whether it is in the template."""
        # CDK drops a dependency on what is not, so until the app is settled all of them are.
        return self._found is None or not self._found.validated or bool(self.holds(policy))

    def document(self, policy: CfnResource, context: IResolveContext) -> Json:
        """Its document: with tokens while CDK looks for references to other stacks, which are in them."""
        if context.preparing:
            return {"Statement": [part for member in self.holds(policy) for part in member.statements]}
        return self.content(policy)[0]

    def content(self, policy: CfnResource) -> Content:
        """Its document, and the pipelines in it, both without tokens."""
        found = self._found
        if self._templates.is_rendering:
            return {}, []  # what is made from the template does not look at policies
        if found is None or not found.validated:
            return self._content(policy, self._of_all())
        # CDK asks for it each time that it writes down a dependency on the policy.
        if policy not in found.contents:
            found.contents[policy] = self._content(policy, found.resolved)
        return found.contents[policy]

    def _content(self, policy: CfnResource, resolved: Mapping[PipelinePermission, Any]) -> Content:
        members = self.holds(policy)
        document = _document(statement for member in members for statement in resolved[member][0])
        return document, sorted((resolved[member][1] for member in members), key=json.dumps)

    def validate(self) -> list[str]:
        """Settles which policies there are, now that references are; gives what does not fit."""
        found = self._found
        if found is None:
            return []
        found.resolved, found.validated = self._of_all(), True
        found.apart = set(self._of_chains(found.resolved)) if len(self._members) > 1 else set()
        found.contents.clear()
        return list(self._problems(found))

    def _of_all(self) -> dict[PipelinePermission, Any]:
        """The statements and the pipeline of each member, resolved."""
        given = [[member.statements, member.pipeline] for member in self._members]
        return dict(zip(self._members, Stack.of(self._scope).resolve(given), strict=True))

    def _policies(self) -> list[_SharedPolicy]:
        """Those that fit twice beside the managed policies that the user gave to the role."""
        role = self._role.node.default_child
        assert isinstance(role, CfnRole)  # noqa: S101  # a Role has one
        given = Stack.of(role).resolve(role.managed_policy_arns) or []
        return self._shared[: max(0, POLICIES_PER_ROLE - len(given)) // 2]

    def _of_chains(self, resolved: Mapping[PipelinePermission, Any]) -> Iterator[PipelinePermission]:
        """Those whose pipeline depends on a custom resource of this kind.

        Every word of a template that is a logical id counts as a reference: one too many only means one inline policy
        more.
        """
        template = self._templates.template(Stack.of(self._scope))
        independent: set[str] = set()
        for member in self._members:
            seen: set[str] = set()
            ahead = _words(resolved[member][0])
            while ahead:
                name = ahead.pop()
                resource = template.resource(name)
                if name in independent or name in seen or not resource:
                    continue
                if resource["Type"] == "Custom::PipelineReprocessing":
                    yield member
                    break
                seen.add(name)
                ahead |= _words(resource) | self._waits_for(template, name)
            else:
                independent |= seen

    def _waits_for(self, template: Template, logical_id: str) -> set[str]:
        """The ids of what a resource has to wait for, which CDK adds to the template after it was rendered."""
        element = template.elements[logical_id]
        dependencies = element.obtain_dependencies() if isinstance(element, CfnResource) else []
        return {self._templates.id_of(each) for each in dependencies if isinstance(each, CfnResource)}

    def _problems(self, found: _Found) -> Iterator[str]:
        path = Stack.of(self._scope).node.path
        left = [
            member.place
            for member in self._members
            if member not in found.places and member not in found.apart
        ]
        if left:
            yield (
                f"the pipelines of the stack '{path}' must fit into {len(self._policies())} managed policies of "
                f"{POLICY_SIZE:,} characters, got {len(self._members)} constructs with up to "
                f"{sum(size_of(_document(found.resolved[member][0])) for member in self._members):,} characters; put "
                f"{len(left)} into another stack, such as '{left[0].removeprefix('/')}'"
            )
        size = sum(size_of(_document(found.resolved[member][0])) for member in found.apart)
        if size > INLINE_SIZE:
            yield (
                f"the pipelines of the stack '{path}' that depend on another PipelineReprocessing must fit into "
                f"{INLINE_SIZE:,} characters of inline policies, got {len(found.apart)} constructs with up to {size:,} "
                "characters; put some of them into another stack"
            )


class _Found:
    """Which statements are where.

    A member's first choice of a policy follows from its path alone, so another member moves it only where a policy is
    full.
    """

    def __init__(
        self,
        members: Iterable[PipelinePermission],
        resolved: dict[PipelinePermission, Any],
        policies: Sequence[_SharedPolicy],
    ) -> None:
        self.resolved = resolved
        self.places: dict[PipelinePermission, _SharedPolicy] = {}
        self.apart: set[PipelinePermission] = set()
        self.contents: dict[CfnResource, Content] = {}
        self.validated = False
        held: dict[int, list[Json]] = {index: [] for index in range(len(policies))}
        for member in sorted(members, key=lambda member: digest(member.place)):
            for index in sorted(held, key=lambda index, place=member.place: digest([place, index])):  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                more = [*held[index], *resolved[member][0]]
                if size_of(_document(more)) <= POLICY_SIZE:
                    held[index] = more
                    self.places[member] = policies[index]
                    break


class _SharedPolicy(CfnManagedPolicy):
    """A managed policy for several pipelines, another one for other statements."""

    def __init__(self, scope: Construct, id: str, permissions: Permissions, role: Role) -> None:  # noqa: A002  # CDK's name for it
        self._permissions = permissions
        document = lazy_value(lambda context: permissions.document(self, context))
        super().__init__(scope, id, policy_document=document, roles=[role.role_name])
        new_id_for_each(self, lambda: permissions.content(self))

    def _should_synthesize(self) -> bool:
        return self._permissions.exists(self)


class _InlinePolicy(CfnPolicy):
    """An inline policy for one pipeline, another one for another pipeline."""

    def __init__(self, scope: Construct, id: str, permissions: Permissions, role: Role) -> None:  # noqa: A002  # CDK's name for it
        self._permissions = permissions
        document = lazy_value(lambda context: permissions.document(self, context))
        # Two policies of one name in one role would be one.
        name = lazy_text(self._name)
        super().__init__(scope, id, policy_document=document, policy_name=name, roles=[role.role_name])
        new_id_for_each(self, lambda: permissions.content(self))

    def _should_synthesize(self) -> bool:
        return self._permissions.exists(self)

    def _name(self, context: IResolveContext) -> str:
        # While CDK only looks for references, the id is not known, and costs as much as all statements.
        name: str = "" if context.preparing else self.stack.resolve(self.logical_id)
        return name[-128:]


@jsii.implements(IValidation)
class _Validation:
    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions

    def validate(self) -> list[str]:
        return self._permissions.validate()


def size_of(document: Json) -> int:
    """The most characters that the resolved document can have when CloudFormation has put the values in."""
    return len(json.dumps(_longest(document), separators=(",", ":")))


def _document(statements: Iterable[Json]) -> Json:
    """The statements with the resources of equal ones together, in an order of their own."""
    merged: dict[str, dict[str, Any]] = {}
    for statement in statements:
        # A Sid is only a label, and must be unique in a policy.
        rest = {key: value for key, value in statement.items() if key not in {"Sid", "Resource"}}
        resources = merged.setdefault(json.dumps(rest, sort_keys=True), {})
        given = statement.get("Resource", [])
        for resource in given if isinstance(given, list) else [given]:
            resources[json.dumps(resource, sort_keys=True)] = resource
    return {
        "Version": "2012-10-17",
        "Statement": [
            json.loads(rest) | ({"Resource": _one_or_all(resources)} if resources else {})
            for rest, resources in sorted(merged.items())
        ],
    }


def _one_or_all(resources: Mapping[str, object]) -> object:
    values = [value for _, value in sorted(resources.items())]
    return values[0] if len(values) == 1 else values


def _longest(value: Any, unknown: int = _LONGEST_ARN) -> Any:
    """The value with the longest text in the place of each function of CloudFormation."""
    match value:
        case list():
            return [_longest(item) for item in value]
        case {"Fn::Join": [str(delimiter), [*items]]}:
            known = delimiter.join(item for item in items if isinstance(item, str))
            name = _LONGEST_MACHINE_NAME if ":states:" in known else _LONGEST_NAME
            return delimiter.join(item if isinstance(item, str) else _longest(item, name) for item in items)
        case {"Ref": str(name)}:
            return "x" * _LONGEST.get(name, unknown)
        case {"Fn::Select": [int(part), {"Fn::Split": [":", _]}]} if part in _PARTS_OF_ARN:
            return "x" * _LONGEST[_PARTS_OF_ARN[part]]
        case dict() if len(value) == 1 and str(*value).startswith("Fn::"):
            return "x" * unknown
        case dict():
            return {key: _longest(item) for key, item in value.items()}
    return value


def _words(value: object) -> set[str]:
    return set(re.findall(r"[A-Za-z0-9]+", json.dumps(value)))
