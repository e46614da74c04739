"""What synth says of a function that S3 calls: what a replay could not do, and what may go wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

import jsii
from aws_cdk import Annotations, CfnResource, Reference, Stack, Token, Tokenization
from aws_cdk.aws_lambda import CfnAlias, IFunction
from constructs import Construct, IValidation

from pipeline_reprocessing.archive import Archive
from pipeline_reprocessing.concurrency import definition_of
from pipeline_reprocessing.reports import Reports
from pipeline_reprocessing.trigger.relevant import owner
from pipeline_reprocessing.trigger.templates import Template, Templates
from pipeline_reprocessing_handler.validation import Failure

LONGEST_CALL = 780
"""Seconds of the function's time-out: a worker has 900, and needs some before and after."""
_WRITTEN = ("manifest.jsonl", "errors.jsonl", "summary.json")
"""What the names of all that a run writes end like."""


def check_reports_apart(source: Archive, reports: Reports) -> None:
    """Raises if the function would be called for what a run writes."""
    same = source.bucket is reports.bucket or source.bucket.bucket_name == reports.bucket.bucket_name
    if not same or Token.is_unresolved(source.root) or Token.is_unresolved(reports.prefix):
        return
    if _takes(source.root, source.suffix, reports.prefix):
        raise Failure(
            f"'reports' must not be where S3 calls the function, got '{reports.prefix}' within '{source.root}'; use "
            "another prefix, or another bucket"
        )


def _takes(prefix: str, suffix: str, folder: str) -> bool:
    """Whether a filter with this prefix and suffix takes what a run writes into the folder."""
    begins = folder.startswith(prefix) or prefix.startswith(folder)
    return begins and (Token.is_unresolved(suffix) or any(name.endswith(suffix) for name in _WRITTEN))


@dataclass(frozen=True)
class _Filter:
    """One notification of a bucket in the app."""

    target: object
    prefix: str = ""
    suffix: str = ""


@jsii.implements(IValidation)
class EventChecks:
    """Looks at the function and at the notifications of the bucket when the app is complete.

    Args:
        scope: The pipeline.
        source: The objects.
        function: What is called for them.
        reports: Where runs write.
        allow_skipped_destinations: See `S3EventPipeline`.
        allow_long_timeout: See `S3EventPipeline`.
    """

    def __init__(
        self,
        scope: Construct,
        source: Archive,
        function: IFunction,
        reports: Reports,
        *,
        allow_skipped_destinations: bool,
        allow_long_timeout: bool,
    ) -> None:
        self._scope = scope
        self._source = source
        self._function = function
        self._reports = reports
        self._allow_skipped_destinations = allow_skipped_destinations
        self._allow_long_timeout = allow_long_timeout

    def validate(self) -> list[str]:
        """What must not be; adds warnings of what should not."""
        errors = list(self._notifications())
        definition = definition_of(self._function.function_arn, Stack.of(self._function))
        if definition is None:
            return errors
        template, logical_id = Templates.of(definition).place_of(definition)
        name = owner(definition).node.path
        errors += self._destinations(template, logical_id, name)
        errors += self._timeout(template.properties(logical_id), name)
        self._warn_of_loop(template, template.properties(logical_id), name)
        return errors

    def _destinations(self, template: Template, function: str, name: str) -> Iterator[str]:
        qualifier = _qualifier(self._function)
        for logical_id, resource in template.section("Resources").items():
            properties = resource.get("Properties", {})
            if (
                resource.get("Type") != "AWS::Lambda::EventInvokeConfig"
                or properties.get("FunctionName") != {"Ref": function}
                or properties.get("Qualifier") != qualifier
            ):
                continue
            destination = properties.get("DestinationConfig", {}).get("OnSuccess", {}).get("Destination")
            if not destination:
                continue
            told = _told(destination, template) or logical_id
            if self._allow_skipped_destinations:
                self._warn(
                    "destinationSkipped",
                    f"'{name}' has the OnSuccess destination '{told}', which gets nothing from a replay",
                )
            else:
                yield (
                    f"'function' must not have an OnSuccess destination, got '{told}' of '{name}': a replay calls the "
                    "function synchronously, which the destination does not get; if that is fine, set "
                    "allow_skipped_destinations=True"
                )

    def _timeout(self, properties: Mapping[str, Any], name: str) -> Iterator[str]:
        seconds = properties.get("Timeout")
        if not isinstance(seconds, int) or seconds <= LONGEST_CALL:
            return
        if self._allow_long_timeout:
            self._warn(
                "longTimeout",
                f"'{name}' may run for {seconds} seconds: objects for which it takes more than {LONGEST_CALL} count "
                "as failed, and what came of them is not known",
            )
        else:
            yield (
                f"'function' must have a time-out of at most {LONGEST_CALL} seconds, got {seconds} of '{name}': a "
                "worker cannot wait longer; shorten it, or set allow_long_timeout=True"
            )

    def _warn_of_loop(self, template: Template, properties: Mapping[str, Any], name: str) -> None:
        bucket = _resolved(self._source.bucket.bucket_arn, template.stack)
        root, suffix = self._source.root, self._source.suffix
        if Token.is_unresolved(root) or Token.is_unresolved(suffix):
            return
        for statement in _statements_of(properties.get("Role"), template):
            if statement.get("Effect") != "Allow" or not any(map(_writes, _listed(statement.get("Action")))):
                continue
            for resource in _listed(statement.get("Resource")):
                pattern = _within(resource, bucket)
                if pattern is not None and _may_match(pattern, root, suffix):
                    self._warn(
                        "mayCallItself",
                        f"'{name}' may write '{pattern}' in its own bucket, where S3 calls it for '{root}*{suffix}': "
                        "what it writes there calls it again; write elsewhere, or grant another prefix only",
                    )
                    return

    def _notifications(self) -> Iterator[str]:
        stack = Stack.of(self._source.bucket)
        templates = Templates.of(self._source.bucket)
        template = templates.template(stack)
        prefix = self._source.root
        ours = _resolved(self._source.bucket.bucket_name, stack)
        reports = _resolved(self._reports.bucket.bucket_name, stack)
        function = _resolved(self._function.function_arn, stack)
        for each in _filters(template, ours):
            if (
                not Token.is_unresolved(prefix)
                and each.prefix != prefix
                and unquote(each.prefix) == unquote(prefix)
            ):
                self._warn(
                    "encodedPrefix",
                    f"the bucket's notification has the prefix '{each.prefix}', and the pipeline '{prefix}': S3 takes "
                    "filters URL-encoded, and the pipeline takes prefixes as they are in keys; check that both mean "
                    f"the same, such as '{unquote(prefix)}' here",
                )
            if reports == ours and each.target == function:
                folder = self._reports.prefix
                if not Token.is_unresolved(folder) and _takes(
                    unquote(each.prefix), unquote(each.suffix), folder
                ):
                    yield (
                        f"'reports' must not be where S3 calls the function, got '{folder}' within the notification "
                        f"of '{each.prefix}*{each.suffix}'; use another prefix, or another bucket"
                    )

    def _warn(self, id: str, text: str) -> None:  # noqa: A002  # CDK's name for it
        Annotations.of(self._scope).add_warning_v2(f"pipeline-reprocessing:{id}", text)


def _resolved(value: str, stack: Stack) -> Any:
    return stack.resolve(value)


def _qualifier(function: IFunction) -> str:
    """Under which the function's asynchronous calls are configured."""
    for token in Tokenization.reverse_string(function.function_arn).tokens:
        target = token.target if isinstance(token, Reference) else None
        if isinstance(target, CfnAlias):
            return str(target.stack.resolve(target.name))
    return "$LATEST"


def _told(destination: object, template: Template) -> str:
    """The destination's construct where this stack has it, else its ARN."""
    match destination:
        case str():
            return destination
        case {"Fn::GetAtt": [str(logical_id), *_]} | {"Ref": str(logical_id)}:
            element = template.elements.get(logical_id)
            return owner(element).node.path if isinstance(element, CfnResource) else logical_id
    return ""


def _filters(template: Template, bucket: object) -> Iterator[_Filter]:
    """The notifications of a bucket, of CDK's custom resource and of the bucket itself."""
    for logical_id, resource in template.section("Resources").items():
        properties = resource.get("Properties", {})
        own = resource.get("Type") == "AWS::S3::Bucket" and bucket == {"Ref": logical_id}
        if own or (
            resource.get("Type") == "Custom::S3BucketNotifications" and properties.get("BucketName") == bucket
        ):
            for group in properties.get("NotificationConfiguration", {}).values():
                for each in group if isinstance(group, list) else ():
                    yield _filter(each)


def _filter(values: Mapping[str, Any]) -> _Filter:
    rules = values.get("Filter", {})
    rules = rules.get("Key", {}).get("FilterRules") or rules.get("S3Key", {}).get("Rules") or ()
    by_name = {str(rule.get("Name")).lower(): str(rule.get("Value", "")) for rule in rules}
    target = next((value for key, value in values.items() if key in {"LambdaFunctionArn", "Function"}), None)
    return _Filter(target, by_name.get("prefix", ""), by_name.get("suffix", ""))


def _statements_of(role: object, template: Template) -> Iterator[Mapping[str, Any]]:
    """What the policies in this template allow or deny to the role."""
    match role:
        case {"Fn::GetAtt": [str(logical_id), "Arn"]}:
            pass
        case _:
            return
    documents = [
        policy.get("PolicyDocument", {}) for policy in template.properties(logical_id).get("Policies", ())
    ]
    for resource in template.section("Resources").values():
        properties = resource.get("Properties", {})
        if resource.get("Type") in {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"} and {
            "Ref": logical_id
        } in properties.get("Roles", ()):
            documents.append(properties.get("PolicyDocument", {}))
    for document in documents:
        yield from _listed(document.get("Statement"))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _writes(action: object) -> bool:
    return isinstance(action, str) and fnmatchcase("s3:putobject", action.lower())


def _within(resource: Any, bucket: object) -> str | None:
    """The keys of the bucket that an ARN of a policy names; None if it names others."""
    match resource:
        case "*":
            return "*"
        case {"Fn::Join": ["", [first, str(rest)]]} if first == bucket and rest.startswith("/"):
            return rest.removeprefix("/")
        case str() if isinstance(bucket, str) and resource.startswith(f"{bucket}/"):
            return resource.removeprefix(f"{bucket}/")
    return None


def _may_match(pattern: str, prefix: str, suffix: str) -> bool:
    """Whether a key can match the pattern and have both the prefix and the suffix."""
    head, star, tail = pattern.partition("*")
    if not star:
        return pattern.startswith(prefix) and pattern.endswith(suffix)
    tail = tail.rpartition("*")[2]
    return (head.startswith(prefix) or prefix.startswith(head)) and (
        tail.endswith(suffix) or suffix.endswith(tail)
    )
