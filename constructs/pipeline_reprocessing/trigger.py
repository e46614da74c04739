"""The trigger: a SHA-256 over what decides the resulting data, and over nothing else.

Data change with a pipeline's activities or a state machine's definition, with the code, layers, handler, runtime and
environment of the functions that these name, directly or by way of others, with the selection and with the user's
`version`. They do not change with tags, memory sizes, time-outs, log settings, roles, descriptions, paths, the
bootstrap bucket, or the version of this library, so none of these enter.

References are followed as CDK knows them, before they become CloudFormation's: a reference to a function stands for
what that function does, in whatever stack of the app it is. That keeps the trigger the same while CDK is still
turning references between stacks into exports and parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import jsii
from aws_cdk import (
    Aws,
    CfnElement,
    CfnParameter,
    CfnResource,
    DefaultTokenResolver,
    Fn,
    IFragmentConcatenator,
    IPostProcessor,
    IResolvable,
    IResolveContext,
    Reference,
    Stack,
    Stage,
    Tokenization,
)
from aws_cdk.aws_ecr_assets import DockerImageAsset
from aws_cdk.aws_s3_assets import Asset
from aws_cdk.lambda_layer_awscli import AwsCliLayer
from constructs import IConstruct

from pipeline_reprocessing.overrides import Rendered

_DECIDES = {
    "AWS::Batch::JobDefinition": ("containerProperties", "ecsProperties", "nodeProperties"),
    "AWS::ECS::TaskDefinition": ("containerDefinitions",),
    "AWS::Glue::Job": ("command", "defaultArguments", "glueVersion"),
    "AWS::IoTAnalytics::Pipeline": ("pipelineActivities",),
    "AWS::Lambda::Alias": ("functionName", "functionVersion", "routingConfig"),
    "AWS::Lambda::Function": ("code", "environment", "handler", "imageConfig", "layers", "runtime"),
    "AWS::Lambda::LayerVersion": ("content",),
    "AWS::Lambda::Version": ("functionName",),
    "AWS::StepFunctions::StateMachine": (
        "definition",
        "definitionS3Location",
        "definitionString",
        "definitionSubstitutions",
    ),
    "AWS::StepFunctions::StateMachineAlias": ("deploymentPreference", "routingConfiguration"),
    "AWS::StepFunctions::StateMachineVersion": ("stateMachineArn", "stateMachineRevisionId"),
}
"""What decides the data, by type."""

_CALLS = re.compile(r"AWS::Lambda::(EventInvokeConfig|EventSourceMapping|Permission|Url)")
"""Types that say who calls a function. They decide no data, and people make them wait for the reprocessed data."""

_FOLLOWED = {*_DECIDES, "Custom::PipelineReprocessing"}
"""Types a reference to which stands for what they do."""

_DECIDES_NOTHING = re.compile(
    r"AWS::(CDK::|CloudWatch::|IAM::|Logs::).*|AWS::S3::BucketPolicy"
    r"|Custom::(LogRetention|S3AutoDeleteObjects|S3BucketNotifications)"
    rf"|{_CALLS.pattern}"
)
"""Types that `rerun_on` passes over."""

_SETTINGS = {
    "description",
    "logConfiguration",
    "loggingConfig",
    "loggingConfiguration",
    "memory",
    "memorySize",
    "reservedConcurrentExecutions",
    "role",
    "roleArn",
    "serviceToken",
    "tags",
    "timeout",
    "tracingConfig",
    "tracingConfiguration",
}
"""Properties of other types in `rerun_on` that decide no data."""

_PHYSICAL_NAMES = {
    "AWS::IoTAnalytics::Pipeline": "pipelineName",
    "AWS::StepFunctions::StateMachine": "stateMachineName",
}
"""Properties of pipelines that may not change: another name is another pipeline, under the same logical id."""

_CONTAINERS = {"command", "containerDefinitions", "containerProperties", "ecsProperties", "nodeProperties"}
"""Properties that say what runs elsewhere than in Lambda, with how it runs there."""

_CONTAINER_SETTINGS = {
    "cpu",
    "executionRoleArn",
    "jobRoleArn",
    "logConfiguration",
    "memory",
    "memoryReservation",
    "resourceRequirements",
    "taskRoleArn",
    "vcpus",
}
"""What in these decides no data."""

_PROGRAMS = {"image", "scriptLocation"}
"""What in these says where an asset is."""

_ASSETS = {"code", "content", "definitionS3Location"}
"""Properties that say where an asset is. Its hash is in the key; bucket and account say nothing about the content."""

_NAMES_OTHERS = {"AWS::IoTAnalytics::Pipeline", "AWS::StepFunctions::StateMachine"}
"""Types whose text may name something by its own name instead of referring to it."""

_NAMES_OF = {
    "AWS::Batch::JobDefinition": ("jobDefinitionName", "JobDefinition"),
    "AWS::ECS::TaskDefinition": ("family", "TaskDefinition"),
    "AWS::Glue::Job": ("name", "JobName"),
    "AWS::Lambda::Function": ("functionName", "[lL]ambdaName|FunctionName"),
}
"""By type: the property with the name, and under what such a text has it. CDK's EcsRunTask always writes the family."""

_NAMED = {
    kind: re.compile(rf'(?:{keys})\\*":\s*\\*"(?!arn:|\d+:)([\w-]+)') for kind, (_, keys) in _NAMES_OF.items()
}

_ARN_PART = r'((?:\$\{[^}]*\}|[^:"\\$])*)'
_FUNCTION_ARN = re.compile(rf"(?::lambda:{_ARN_PART}:)?{_ARN_PART}:function:([\w-]+)")
"""A function's ARN, whole or in part, with its region, account and name."""

_NAME = re.compile(r"\$\{([^!{}][^{}]*)\}")
"""A name in `Fn::Sub`, or what we write in the same way; `${!this}` is none."""

_SECRET = re.compile("secret|password|apikey|privatekey", re.IGNORECASE)
"""Attributes whose values are nobody's business."""

_ASSET_HASH = re.compile(r"[0-9a-f]{64}(?![0-9a-f])")
"""The last 64 digits: a prefix before them may end in what could be more of them."""


class Opaque:
    """A construct of this library. Not its parts are watched, for another version of the library may have others."""

    def _stands_for(self) -> tuple[object, Sequence[IConstruct]]:
        """What decides data in its place: a value, JSON-able, tokens allowed; and constructs."""
        return None, ()


class Fingerprints:
    """What the constructs of one stack make of data, as JSON-able values and their digests.

    Args:
        stack: The stack; names in it go without its own.
        rendered: What tells of escape hatches. Default: they are not looked at.
    """

    def __init__(self, stack: Stack, rendered: Rendered | None = None) -> None:
        self._stack = stack
        self._rendered = rendered
        self._found: dict[str, IConstruct] = {}
        self._known: dict[str, str] = {}
        self._needs: dict[str, set[str]] = {}
        self._open = [""]
        self._elements: dict[str, dict[str, CfnElement]] = {}
        self._named: dict[str, object] = {}
        self._names: dict[str, set[str]] = {}

    @property
    def place(self) -> str:
        """The path of what is being looked at."""
        return self._open[-1]

    @property
    def needed(self) -> list[IConstruct]:
        """What was followed and has to be there before a run starts."""
        return [self._found[path] for path in sorted(self._reached - {""})]

    @property
    def values(self) -> dict[str, object]:
        """What only the deploy knows: the references of this stack that are named in what has to be there.

        Who hands them to the custom resource makes no circle of dependencies, for that waits for what names them.
        """
        names = set[str]().union(*(self._names.get(path, ()) for path in self._reached))
        return {name: self._named[name] for name in sorted(names)}

    @property
    def digests(self) -> set[str]:
        """The digests of all resources that were followed."""
        return set(self._known.values())

    def of_settings(self, value: object) -> list[object]:
        """The value without tokens, as something that a run needs, and what stands for the functions it names."""
        settings = self.of_value(value, self._stack)
        self._names[""] = self._names_in(settings)
        return [settings, sorted(self._of_named_resources(self._stack, json.dumps(settings)))]

    def sees(self, value: object, *, in_deploys: bool) -> bool:
        """Whether a change of what the value stands for is seen at synth, or also in deploys."""
        self.of_settings(value)
        return bool(self._known or (in_deploys and self.values))

    def of_value(self, value: object, stack: Stack) -> object:
        """The value without tokens: references to what decides data are followed, others are named.

        Args:
            value: JSON-able, tokens allowed.
            stack: In whose template it is, for logical ids that are written in it.
        """
        resolved = Tokenization.resolve(
            value, scope=self._stack, resolver=_Resolver(self.of_reference), preparing=False
        )
        return self._of_intrinsics(resolved, stack)

    def named(self, value: object) -> object:
        """The value without tokens: references are named, with the physical name that a pipeline was given."""
        return Tokenization.resolve(
            value, scope=self._stack, resolver=_Resolver(self._identity_of), preparing=False
        )

    def of_construct(self, construct: IConstruct) -> list[str]:
        """The digests of all in that construct that decides data."""
        return sorted({self._of_part(part) for part in deciding_parts(construct)})

    def _of_part(self, part: IConstruct) -> str:
        if isinstance(part, CfnResource):
            return self.of_resource(part)
        return self._of_opaque(part) if isinstance(part, Opaque) else digest(["asset", _asset_hash_of(part)])

    def of_resource(self, resource: CfnResource, *, needed: bool = True) -> str:
        """The digest of what decides data in that resource.

        Args:
            resource: Any one of this app.
            needed: Whether what names it cannot do without it. Default: so it is.
        """
        within = ours(resource)
        if within:
            return self._of_opaque(within)
        kind = resource.cfn_resource_type
        return self._followed(
            resource, owner(resource), lambda: [kind, *self._content(resource)], needed=needed
        )

    def _of_opaque(self, construct: IConstruct) -> str:
        assert isinstance(construct, Opaque)  # noqa: S101  # who calls knows

        def content() -> list[object]:
            told, constructs = construct._stands_for()
            value = self.of_value(told, Stack.of(construct))
            self._names[construct.node.path] = self._names_in(value)
            return [value, sorted({part for each in constructs for part in self.of_construct(each)})]

        return self._followed(construct, construct, content)

    def _followed(
        self,
        element: IConstruct,
        construct: IConstruct,
        content: Callable[[], list[object]],
        *,
        needed: bool = True,
    ) -> str:
        path = element.node.path
        if needed:
            self._needs.setdefault(self._open[-1], set()).add(path)
        if path in self._open:
            # A function that names itself, or a machine that starts itself: already being looked at.
            return "itself"
        if path not in self._known:
            self._found[path] = construct
            self._open.append(path)
            self._known[path] = digest(content())
            self._open.pop()
        return self._known[path]

    def of_reference(self, reference: Reference) -> str:
        """What stands for the reference."""
        return self._of_attribute(reference.target, reference.display_name, reference)

    def _of_attribute(self, target: IConstruct, attribute: str, token: object) -> str:
        if isinstance(target, CfnResource) and target.cfn_resource_type in _FOLLOWED:
            return f"${{{self.of_resource(target)}}}"
        name = self._name_of(target, attribute)
        if self._is_worth_a_look(target, attribute):
            self._named[name] = _where_it_exists(target, token)
        return f"${{{name}}}"

    def _of_intrinsics(self, value: Any, stack: Stack) -> Any:
        """The value with what stands for logical ids that were written by hand, as `Fn.ref` and raw templates do."""

        def of(value: Any) -> Any:
            return self._of_intrinsics(value, stack)

        match value:
            case {"Ref": str(name)} if len(value) == 1:
                return self._of_logical_id(stack, name, "Ref") or value
            case {"Fn::GetAtt": str(name)} if len(value) == 1:
                return of({"Fn::GetAtt": name.split(".", 1)})
            case {"Fn::GetAtt": [str(name), str(attribute)]} if len(value) == 1:
                return self._of_logical_id(stack, name, attribute) or value
            case {"Fn::Sub": str(text)} if len(value) == 1:
                return {"Fn::Sub": self._of_text(stack, text, ())}
            case {"Fn::Sub": [str(text), {**variables}]} if len(value) == 1:
                return {"Fn::Sub": [self._of_text(stack, text, variables), of(variables)]}
            case {"Fn::FindInMap": [str(name), *keys]} if len(value) == 1:
                return {"Fn::FindInMap": [self._of_entry("Mappings", stack, name), *map(of, keys)]}
            case {"Fn::If": [str(name), *values]} if len(value) == 1:
                return {"Fn::If": [of(self._of_entry("Conditions", stack, name)), *map(of, values)]}
            case {"Condition": str(name)} if len(value) == 1:
                return {"Condition": of(self._of_entry("Conditions", stack, name))}
            case dict():
                return {key: of(item) for key, item in value.items()}
            case list():
                return [*map(of, value)]
        return value

    def _of_text(self, stack: Stack, text: str, variables: Container[object]) -> str:
        def of(match: re.Match[str]) -> str:
            name, _, attribute = match[1].partition(".")
            if match[1] in variables:
                return match[0]
            return self._of_logical_id(stack, name, attribute or "Ref") or match[0]

        return _NAME.sub(of, text)

    def _of_logical_id(self, stack: Stack, logical_id: str, attribute: str) -> str | None:
        """What stands for an attribute of an element; None if there is no such element in the stack."""
        if "::" in logical_id:
            return None
        if stack.node.path not in self._elements:
            self._elements[stack.node.path] = _elements(stack)
        element = self._elements[stack.node.path].get(logical_id)
        if element is None:
            return None
        token = {"Ref": logical_id} if attribute == "Ref" else {"Fn::GetAtt": [logical_id, attribute]}
        return self._of_attribute(element, attribute, token)

    def _of_entry(self, section: str, stack: Stack, name: str) -> object:
        """The mapping or the condition of that name; the name itself while nobody can tell."""
        return self._rendered.entry(section, stack, name) if self._rendered else name

    def name_of(self, element: CfnElement) -> str:
        """The logical id, with its stack if that is another one."""
        stack = element.stack
        logical_id = str(stack.resolve(element.logical_id))
        return logical_id if stack.node.path == self._stack.node.path else f"{identity(stack)}/{logical_id}"

    def _name_of(self, target: IConstruct, attribute: str) -> str:
        return f"{self.name_of(target)}.{attribute}" if isinstance(target, CfnElement) else attribute

    def _identity_of(self, reference: Reference) -> str:
        given = _physical_name(reference.target)
        return f"${{{self._name_of(reference.target, reference.display_name)}}}" + (
            "" if given is None else digest(self.named(given))
        )

    def _content(self, resource: CfnResource) -> Iterator[object]:
        chosen = _DECIDES.get(resource.cfn_resource_type)

        def deciding(properties: Mapping[str, Any]) -> dict[str, Any]:
            named = _by_uncapitalized(properties)
            keys = named.keys() - _SETTINGS if chosen is None else named.keys() & set(chosen)
            return {key: named[key] for key in sorted(keys)}

        # A protected member, as jsii spells it.
        values = {
            key: _without_place(key, self.of_value(value, resource.stack))
            for key, value in deciding(resource._cfn_properties).items()
        }
        yield {key: value for key, value in values.items() if value is not None}
        if resource.cfn_resource_type in _NAMES_OTHERS:
            yield sorted(self._of_named_resources(resource.stack, json.dumps(values)))
        overrides = {}
        if self._rendered:
            overrides = {
                key: _without_place(key, self._of_intrinsics(value, resource.stack))
                for key, value in deciding(self._rendered.overrides(resource)).items()
            }
            yield overrides
        # What was overridden is not in the template any more.
        self._names[resource.node.path] = self._names_in(values | overrides)

    def _names_in(self, value: object) -> set[str]:
        return {name for name in _NAME.findall(json.dumps(value)) if name in self._named}

    @property
    def _reached(self) -> set[str]:
        """The paths of what has to be there before a run starts."""
        paths, reached = [""], {""}
        while paths:
            new = self._needs.get(paths.pop(), set()) - reached
            reached |= new
            paths += new
        return reached

    def _is_worth_a_look(self, target: IConstruct, attribute: str) -> bool:
        """Whether CloudFormation may hand on what that stands for: a value of this stack, and no secret."""
        return (
            isinstance(target, CfnElement)
            and not attribute.startswith("AWS::")
            and target.stack.node.path == self._stack.node.path
            and not (isinstance(target, CfnParameter) and target.no_echo)
            and not _SECRET.search(attribute)
            and not ours(target)
        )

    def _of_named_resources(self, stack: Stack, text: str) -> Iterator[str]:
        for resource in _named_resources(stack, text):
            # Nothing says that the one of another stack comes first: that stack may well need this one.
            yield self.of_resource(resource, needed=resource.stack.node.path == stack.node.path)


def deciding_parts(construct: IConstruct) -> list[IConstruct]:
    """What in a construct decides data: assets, resources and constructs of ours; a function, but not its role."""
    return [
        main
        for _, main in _units(construct, looks_into_ours=False)
        if not isinstance(main, CfnResource) or not _DECIDES_NOTHING.fullmatch(main.cfn_resource_type)
    ]


def running_parts(construct: IConstruct) -> list[CfnResource]:
    """The resources in a construct that have to be there before its code runs: the function, with its role.

    Not who calls the function, nor the versions that are made of it: those may have to wait for the run themselves.
    """
    units = [
        (unit, main)
        for unit, main in _units(construct, looks_into_ours=True)
        if isinstance(main, CfnResource)
    ]
    mains = [main for _, main in units if not _CALLS.fullmatch(main.cfn_resource_type)]
    beside = [part for unit, main in units if unit is not main for part in unit.node.find_all()]
    return [*mains, *(part for part in beside if isinstance(part, CfnResource) and _lets_it_run(part))]


def _lets_it_run(part: CfnResource) -> bool:
    """Whether a part of a function or state machine is its role or policy; or lets IoT Analytics call it in a run."""
    if part.cfn_resource_type == "AWS::Lambda::Permission":
        return bool(_by_uncapitalized(part._cfn_properties).get("principal") == "iotanalytics.amazonaws.com")
    return part.cfn_resource_type.startswith("AWS::IAM::")


def owner(resource: CfnResource) -> IConstruct:
    """The construct whose main part the resource is: a function has a role beside it."""
    scope = resource.node.scope
    if scope is None or Stack.is_stack(scope):
        return resource
    main = scope.node.default_child
    return scope if main and main.node.path == resource.node.path else resource


def _units(construct: IConstruct, *, looks_into_ours: bool) -> Iterator[tuple[IConstruct, IConstruct]]:
    """What is in a construct, with the main part of each: a function as one, and resources that stand alone."""
    if isinstance(construct, AwsCliLayer) or construct.node.id.startswith("Custom::"):
        # What CDK itself brings along, to copy files and the like: its next version may bring something else.
        return
    if isinstance(construct, Opaque) and not looks_into_ours:
        yield construct, construct
        return
    main = construct.node.default_child
    if isinstance(main, CfnResource) and main.cfn_resource_type in _DECIDES:
        yield construct, main
        return
    if isinstance(construct, Asset | CfnResource | DockerImageAsset):
        yield construct, construct
    for child in construct.node.children:
        yield from _units(child, looks_into_ours=looks_into_ours)


def ours(part: IConstruct) -> IConstruct | None:
    """The construct of this library in which the part is, if it is in one."""
    return next((scope for scope in reversed(part.node.scopes) if isinstance(scope, Opaque)), None)


def identity(stack: Stack) -> str:
    """What tells a stack from others: its name, and for a nested one the logical ids that lead to it."""
    resource = stack.nested_stack_resource
    parent = stack.nested_stack_parent
    if resource is None or parent is None:
        return stack.stack_name
    return f"{identity(parent)}/{parent.resolve(resource.logical_id)}"


def digest(value: object) -> str:
    """The SHA-256 of the value as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return sha256(text.encode()).hexdigest()


def _by_uncapitalized(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties under CDK's names; raw resources have CloudFormation's."""
    return {key[:1].lower() + key[1:]: value for key, value in properties.items()}


def _physical_name(target: IConstruct) -> object:
    """The name that a pipeline was given, if it is one and was given one."""
    if not isinstance(target, CfnResource) or target.cfn_resource_type not in _PHYSICAL_NAMES:
        return None
    return _by_uncapitalized(target._cfn_properties).get(_PHYSICAL_NAMES[target.cfn_resource_type])


def _without_place(key: str, value: object) -> object:
    """The hash of an asset in place of where it lies; what is no asset stays as it is."""
    if key in _CONTAINERS:
        return _program_of(value)
    if key not in _ASSETS or not isinstance(value, dict):
        return value
    location = _by_uncapitalized(value)
    hashes = _asset_hashes([location.get(name) for name in ("s3Key", "key", "imageUri")])
    return {"asset": hashes, "version": location.get("s3ObjectVersion")} if hashes else value


def _program_of(value: object) -> object:
    """What a container or job runs, without how and without where it is."""
    if isinstance(value, list):
        return [_program_of(item) for item in value]
    if not isinstance(value, dict):
        return value
    items = {key: item for key, item in _by_uncapitalized(value).items() if key not in _CONTAINER_SETTINGS}
    return {
        key: (key in _PROGRAMS and _asset_hashes(item)) or _program_of(item) for key, item in items.items()
    }


def _asset_hashes(place: object) -> list[str]:
    # Each once: the legacy synthesizer writes the parameter with the key twice.
    return list(dict.fromkeys(_ASSET_HASH.findall(json.dumps(place, sort_keys=True))))


def _asset_hash_of(asset: IConstruct) -> str:
    assert isinstance(asset, Asset | DockerImageAsset)  # noqa: S101  # deciding_parts finds no others
    return asset.asset_hash


def _where_it_exists(target: IConstruct, token: object) -> object:
    """The token, or nothing where its resource has a condition that does not hold."""
    condition = target.cfn_options.condition if isinstance(target, CfnResource) else None
    return Fn.condition_if(condition.logical_id, token, Aws.NO_VALUE) if condition else token


def _elements(stack: Stack) -> dict[str, CfnElement]:
    """What stands in the stack's template, by logical id."""
    return {
        str(stack.resolve(part.logical_id)): part
        for part in stack.node.find_all()
        # This library's own parts have ids that contain the trigger.
        if isinstance(part, CfnElement) and part.stack.node.path == stack.node.path and not ours(part)
    }


def _named_resources(stack: Stack, text: str) -> Iterator[CfnResource]:
    """The functions and jobs of this app that a text in that stack names by their own names, or by their ARNs.

    One of the same name in another account or region is another one. So is one in another stage of the app, for that
    is another deployment of it.
    """
    places: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for region, account, name in _FUNCTION_ARN.findall(text):
        places.setdefault(("AWS::Lambda::Function", name), []).append((region, account))
    for kind, pattern in _NAMED.items():
        for name in pattern.findall(text):
            places.setdefault((kind, name), []).append(("", ""))
    stage = Stage.of(stack) or stack
    for part in stage.node.find_all() if places else ():
        if not isinstance(part, CfnResource):
            continue
        named, there = places.get(_kind_and_name(part), ()), part.stack
        if (
            any(
                _may_be(region, there.region) and _may_be(account, there.account) for region, account in named
            )
            and _may_be(stack.region, there.region)
            and _may_be(stack.account, there.account)
            and (Stage.of(there) or there).node.path == stage.node.path
        ):
            yield part


def _kind_and_name(resource: CfnResource) -> tuple[str, str]:
    kind = resource.cfn_resource_type
    name, _ = _NAMES_OF.get(kind, ("", ""))
    given = _by_uncapitalized(resource._cfn_properties).get(name) if name else None
    return kind, str(resource.stack.resolve(given)) if given else ""


def _may_be(one: str, other: str) -> bool:
    """Whether the two are the same, as far as synth can tell: nothing, or a token, may be anything."""
    # CDK's Token.compare_strings() gives an object that Python cannot compare.
    return one == other or any(not text or "${" in text for text in (one, other))


@jsii.implements(IFragmentConcatenator)
class _Fragments:
    """Keeps the parts of a text in a list, because what a token in it resolves to may be more than a text."""

    def join(self, left: Any, right: Any) -> Any:
        if isinstance(left, str) and isinstance(right, str):
            return left + right
        return [*self._parts(left), *self._parts(right)]

    @staticmethod
    def _parts(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [] if value is None else [value]


class _Resolver(DefaultTokenResolver):
    """Resolves tokens as CDK does, but lets someone else say what a reference stands for."""

    def __init__(self, of_reference: Callable[[Reference], str]) -> None:
        super().__init__(_Fragments())
        self._of_reference = of_reference

    def resolve_token(
        self, token: IResolvable, context: IResolveContext, post_processor: IPostProcessor
    ) -> Any:
        if isinstance(token, Reference):
            return self._of_reference(token)
        return super().resolve_token(token, context, post_processor)
