"""What decides the resulting data, and what does not: which parts of constructs, and which of their properties.

Data change with a pipeline's activities or a state machine's definition, and with the code, layers, handler, runtime
and environment of the functions that these name, or with what jobs and containers run. They do not change with tags,
memory sizes, time-outs, log settings, roles, descriptions, the bootstrap bucket, or the version of this library.
`docs/trigger.md` lists both for users.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aws_cdk import CfnResource, Stack
from aws_cdk.aws_ecr_assets import DockerImageAsset
from aws_cdk.aws_s3_assets import Asset
from aws_cdk.lambda_layer_awscli import AwsCliLayer
from constructs import IConstruct

from pipeline_reprocessing.trigger.machines import FORMS, SUBSTITUTIONS

_OF_BATCH = ("containerProperties", "ecsProperties", "eksProperties", "nodeProperties")
_OF_FUNCTIONS = (
    "code",
    "codeUri",
    "environment",
    "fileSystemConfigs",
    "handler",
    "imageConfig",
    "imageUri",
    "inlineCode",
    "layers",
    "runtime",
)
_OF_MACHINES = (*FORMS, SUBSTITUTIONS)
_DECIDES = {
    "AWS::Athena::NamedQuery": ("database", "queryString"),
    "AWS::Batch::JobDefinition": (*_OF_BATCH, "parameters"),
    "AWS::CodeBuild::Project": (
        "environment",
        "secondarySourceVersions",
        "secondarySources",
        "source",
        "sourceVersion",
    ),
    "AWS::ECS::TaskDefinition": ("containerDefinitions",),
    "AWS::Glue::Job": (
        "command",
        "connections",
        "defaultArguments",
        "glueVersion",
        "nonOverridableArguments",
    ),
    "AWS::IoTAnalytics::Pipeline": ("pipelineActivities",),
    "AWS::Lambda::Alias": ("functionName", "functionVersion", "routingConfig"),
    "AWS::Lambda::Function": _OF_FUNCTIONS,
    "AWS::Lambda::LayerVersion": ("content",),
    "AWS::Lambda::Version": ("functionName",),
    "AWS::Serverless::Function": _OF_FUNCTIONS,
    "AWS::Serverless::LayerVersion": ("contentUri",),
    "AWS::Serverless::StateMachine": _OF_MACHINES,
    "AWS::StepFunctions::StateMachine": _OF_MACHINES,
    "AWS::StepFunctions::StateMachineAlias": ("deploymentPreference", "routingConfiguration"),
    "AWS::StepFunctions::StateMachineVersion": ("stateMachineArn", "stateMachineRevisionId"),
}
"""What decides the data, by type."""

_CUSTOM = re.compile(r"AWS::CloudFormation::CustomResource|Custom::.*")

_CALLS = re.compile(r"AWS::Lambda::(EventInvokeConfig|EventSourceMapping|Permission|Url)")
"""Types that say who calls a function. They decide no data, and people make them wait for the reprocessed data."""

FOLLOWED_TYPES = {*_DECIDES, "Custom::PipelineReprocessing"}
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

_CONTAINERS = {*_OF_BATCH, "command", "containerDefinitions"}
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

_ASSETS = {"code", "codeUri", "content", "contentUri", "definitionS3Location", "definitionUri"}
"""Properties that say where an asset is. Its hash is in the key; bucket and account say nothing about the content."""

_ASSET_HASH = re.compile(r"[0-9a-f]{64}(?![0-9a-f/])")
"""The last 64 digits, and no folder: a prefix before them may end in what could be more of them."""


class Opaque:
    """A construct of this library. Not its parts are watched, for another version of the library may have others."""

    def _stands_for(self) -> tuple[object, Sequence[IConstruct]]:
        """What decides data in its place: a value, JSON-able, tokens allowed; and constructs."""
        return None, ()


def ours(part: IConstruct) -> IConstruct | None:
    """The construct of this library in which the part is, if it is in one."""
    return next((scope for scope in reversed(part.node.scopes) if isinstance(scope, Opaque)), None)


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
    units = [*_units(construct, looks_into_ours=True)]
    mains = [main for _, main in units if isinstance(main, CfnResource)]
    beside = [part for unit, main in units if unit is not main for part in unit.node.find_all()]
    return [
        *(main for main in mains if not _CALLS.fullmatch(main.cfn_resource_type)),
        *(part for part in beside if isinstance(part, CfnResource) and _lets_it_run(part)),
    ]


def _lets_it_run(part: CfnResource) -> bool:
    """Whether a part of a function or state machine is its role or policy; or lets IoT Analytics call it in a run."""
    if part.cfn_resource_type == "AWS::Lambda::Permission":
        return bool(property_of(part, "principal") == "iotanalytics.amazonaws.com")
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


def deciding_properties(kind: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the properties that decide data, in order.

    Args:
        kind: The resource's type.
        properties: As the template has them.
    """
    named = _by_uncapitalized(properties)
    if kind in _DECIDES:
        keys = named.keys() & {*_DECIDES[kind]}
    else:  # nothing is known of what a custom resource calls a setting
        keys = named.keys() - ({"serviceTimeout", "serviceToken"} if _CUSTOM.fullmatch(kind) else _SETTINGS)
    return {key: named[key] for key in sorted(keys)}


def without_locations(kind: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties, without references, with the hash of an asset in place of where it lies."""
    if kind not in _DECIDES:
        return dict(properties)
    return {key: _without_location(key, value) for key, value in properties.items()}


def property_of(resource: CfnResource, name: str) -> Any:
    """A property as it was given, tokens and all, whichever way its name was spelt."""
    # A protected member, as jsii spells it.
    return _by_uncapitalized(resource._cfn_properties).get(name)


def _without_location(key: str, value: object) -> object:
    if key in _CONTAINERS:
        return _program_of(value)
    if key not in _ASSETS or not isinstance(value, dict):
        return value
    location = _by_uncapitalized(value)
    hashes = _asset_hashes([location.get(name) for name in ("s3Key", "key", "imageUri")])
    version = location.get("s3ObjectVersion")
    return {"asset": hashes, **({"version": version} if version else {})} if hashes else value


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


def _by_uncapitalized(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties under CDK's names; raw resources have CloudFormation's."""
    return {key[:1].lower() + key[1:]: value for key, value in properties.items()}
