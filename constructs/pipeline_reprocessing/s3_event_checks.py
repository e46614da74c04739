"""What synth says of a function that S3 calls: what a replay could not do, and what may go wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

import jsii
from aws_cdk import Annotations, Stack, Token
from aws_cdk.aws_lambda import IFunction
from aws_cdk.aws_s3 import IBucket
from constructs import Construct, IValidation

from pipeline_reprocessing.app_resources import AppResources, Resource, at, listed, mappings, path_in
from pipeline_reprocessing.archive import Archive
from pipeline_reprocessing.concurrency import definition_of
from pipeline_reprocessing.notification import Notification
from pipeline_reprocessing.reports import Reports
from pipeline_reprocessing.trigger.references import canonical
from pipeline_reprocessing_handler.validation import Failure

LONGEST_CALL = 780
"""Seconds of the function's time-out: a worker has 900, and needs some before and after."""
DEFAULT_TIMEOUT = 3
"""Seconds (API `CreateFunction`, `Timeout`)."""
_WRITTEN = ("manifest.jsonl", "errors.jsonl", "summary.json")
"""What the names of all that a run writes end like."""
_MAY_WRITE_ANYWHERE = ("AdministratorAccess", "AmazonS3FullAccess", "PowerUserAccess")
"""Policies of AWS."""

_TARGETS = ("LambdaFunctionArn", "Function", "QueueArn", "Queue", "TopicArn", "Topic")
"""Under what a notification has its target, in CDK's custom resource and in the bucket itself."""


def check_reports_apart(source: Archive, reports: Reports) -> None:
    """Raises if the function would be called for what a run writes."""
    same = source.bucket is reports.bucket or source.bucket.bucket_name == reports.bucket.bucket_name
    if not same or Token.is_unresolved(source.root) or Token.is_unresolved(reports.prefix):
        return
    if _takes(source.root, source.suffix, reports.prefix):
        raise Failure(
            f"'reports' must not be where S3 calls the function, got '{reports.prefix}*' in the bucket of "
            f"'{source.root}*{source.suffix}'; use another prefix, or another bucket"
        )


def _takes(prefix: str, suffix: str, folder: str) -> bool:
    """Whether a filter with this prefix and suffix takes what a run writes into the folder."""
    begins = folder.startswith(prefix) or prefix.startswith(folder)
    return begins and (Token.is_unresolved(suffix) or any(name.endswith(suffix) for name in _WRITTEN))


@jsii.implements(IValidation)
class EventChecks:
    """Looks at the function and at the notifications of the bucket when the app is complete.

    Args:
        scope: The pipeline.
        source: The objects.
        function: What is called for them.
        notification: How S3 calls it.
        reports: Where runs write.
        allow_skipped_destinations: See `S3EventPipeline`.
        allow_long_timeout: See `S3EventPipeline`.
    """

    def __init__(
        self,
        scope: Construct,
        source: Archive,
        function: IFunction,
        notification: Notification,
        reports: Reports,
        *,
        allow_skipped_destinations: bool,
        allow_long_timeout: bool,
    ) -> None:
        self._scope = scope
        self._source = source
        self._function = function
        self._notification = notification
        self._reports = reports
        self._allow_skipped_destinations = allow_skipped_destinations
        self._allow_long_timeout = allow_long_timeout
        self.timeout: int | None = None
        """The function's time-out in seconds, once it is known for sure: whatever has set it."""

    def validate(self) -> list[str]:
        """What must not be; adds warnings of what should not."""
        app = AppResources(self._scope)
        definition = definition_of(self._function.function_arn, Stack.of(self._function))
        function = app.defined(definition) if definition else None
        errors = list(self._notifications(app, function))
        if function:
            errors += self._destinations(app, function)
            errors += self._timeout(function)
            self._warn_of_loop(app, function)
        return errors

    def _destinations(self, app: AppResources, function: Resource) -> Iterator[str]:
        qualifiers = _qualifiers(self._function, app)
        names = function.names("FunctionName")
        configs = [
            each.properties
            for each in app.of("AWS::Lambda::EventInvokeConfig")
            if each.text("FunctionName") in names
            and _is_qualified(each.properties.get("Qualifier"), qualifiers)
        ]
        if _is_qualified(function.properties.get("AutoPublishAlias", "$LATEST"), qualifiers):
            configs.append(function.properties.get("EventInvokeConfig", {}))  # of SAM
        for config in configs:
            destination = at(config, "DestinationConfig", "OnSuccess", "Destination")
            if not destination:
                continue
            told = path_in(str(destination)) or destination
            if self._allow_skipped_destinations:
                self._warn(
                    "destinationSkipped",
                    f"'{function.path}' has the OnSuccess destination '{told}', which gets nothing from a replay",
                )
            else:
                yield (
                    f"'function' must not have an OnSuccess destination, got '{told}' of '{function.path}': a replay "
                    "calls the function synchronously, which the destination does not get; if that is fine, set "
                    "allow_skipped_destinations=True"
                )

    def _timeout(self, function: Resource) -> Iterator[str]:
        seconds = function.properties.get("Timeout", DEFAULT_TIMEOUT)
        if not isinstance(seconds, int):
            return
        self.timeout = seconds
        if seconds <= LONGEST_CALL:
            return
        if self._allow_long_timeout:
            self._warn(
                "longTimeout",
                f"'{function.path}' may run for {seconds} seconds: objects for which it takes more than "
                f"{LONGEST_CALL} count as failed, and what came of them is not known",
            )
        else:
            yield (
                f"'function' must have a time-out of at most {LONGEST_CALL} seconds, got {seconds} of "
                f"'{function.path}': a worker cannot wait longer; shorten it, or set allow_long_timeout=True"
            )

    def _warn_of_loop(self, app: AppResources, function: Resource) -> None:
        root, suffix = self._source.root, self._source.suffix
        if Token.is_unresolved(root) or Token.is_unresolved(suffix):
            return
        bucket = _names_of(self._source.bucket, app)
        for statement in _statements_of(function.text("Role"), app):
            if statement.get("Effect") != "Allow" or not any(map(_writes, listed(statement.get("Action")))):
                continue
            for resource in listed(statement.get("Resource")):
                pattern = _within(resource, bucket)
                if pattern is not None and _may_match(pattern, root, suffix):
                    self._warn(
                        "mayCallItself",
                        f"'{function.path}' may write '{pattern}' in its own bucket, where S3 calls it for "
                        f"'{root}*{suffix}': what it writes there calls it again; write elsewhere, or grant another "
                        "prefix only",
                    )
                    return

    def _notifications(self, app: AppResources, function: Resource | None) -> Iterator[str]:
        prefix, folder = self._source.root, self._reports.prefix
        bucket = _names_of(self._source.bucket, app)
        is_shared = not bucket.isdisjoint(_names_of(self._reports.bucket, app))
        targets = {
            app.text(arn, Stack.of(self._function))
            for arn in (self._function.function_arn, *self._notification.arns)
        }
        if function:
            targets |= function.names("FunctionName")
        filters = [*_filters(bucket, app)]
        for each in filters:
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
        for each in (*filters, *_rules(bucket, app)) if is_shared and not Token.is_unresolved(folder) else ():
            if each.target in targets and _takes(unquote(each.prefix), unquote(each.suffix), folder):
                yield (
                    f"'reports' must not be where S3 calls the function, got '{folder}*' in the bucket of the "
                    f"notification of '{each.prefix}*{each.suffix}'; use another prefix, or another bucket"
                )

    def _warn(self, id: str, text: str) -> None:  # noqa: A002  # CDK's name for it
        Annotations.of(self._scope).add_warning_v2(f"pipeline-reprocessing:{id}", text)


@dataclass(frozen=True)
class _Filter:
    """One notification of a bucket in the app."""

    target: str
    prefix: str
    suffix: str


def _qualifiers(function: IFunction, app: AppResources) -> Set[str]:
    """The alias or version that is called, by whatever name asynchronous calls are configured for it."""
    arn = app.text(function.function_arn, Stack.of(function))
    path = path_in(arn)
    for each in app.of("AWS::Lambda::Alias", "AWS::Lambda::Version"):
        if each.path == path:
            return {*each.names("Name"), f"${{{path}.Version}}"}
    _, _, qualifier = arn.partition(":function:")[2].partition(":")
    return {qualifier or "$LATEST"}


def _is_qualified(value: object, qualifiers: Set[str]) -> bool:
    """Whether a qualifier, which CDK cuts out of the ARN of an alias, is one of these."""
    return (
        value in qualifiers
        if isinstance(value, str)
        else any(name in canonical(value) for name in qualifiers)
    )


def _names_of(bucket: IBucket, app: AppResources) -> Set[str]:
    """What a bucket is called in templates."""
    stack = Stack.of(bucket)
    names = {app.text(bucket.bucket_name, stack), app.text(bucket.bucket_arn, stack)}
    for each in app.of("AWS::S3::Bucket"):
        if not names.isdisjoint(own := each.names("BucketName")):
            names |= own
    return names


def _filters(bucket: Set[str], app: AppResources) -> Iterator[_Filter]:
    """The notifications of a bucket, of CDK's custom resource and of the bucket itself."""
    for each in app.of("AWS::S3::Bucket", "Custom::S3BucketNotifications"):
        names = each.names("BucketName") if each.kind == "AWS::S3::Bucket" else {each.text("BucketName")}
        if names.isdisjoint(bucket):
            continue
        configuration = each.properties.get("NotificationConfiguration")
        for group in configuration.values() if isinstance(configuration, Mapping) else ():
            yield from map(_filter, mappings(group))


def _rules(bucket: Set[str], app: AppResources) -> Iterator[_Filter]:
    """The same of the rules of EventBridge; without those that look at keys in other ways."""
    for each in app.of("AWS::Events::Rule"):
        pattern = each.properties.get("EventPattern")
        names = listed(at(pattern, "detail", "bucket", "name"))
        kinds = listed(at(pattern, "detail-type"))
        if (
            "aws.s3" not in listed(at(pattern, "source"))
            or (kinds and "Object Created" not in kinds)
            or (names and bucket.isdisjoint(name for name in names if isinstance(name, str)))
        ):
            continue
        for key in listed(at(pattern, "detail", "object", "key")) or [{"prefix": ""}]:
            ends = [at(key, "prefix"), at(key, "suffix")]
            if any(isinstance(end, str) for end in ends):
                prefix, suffix = (end if isinstance(end, str) else "" for end in ends)
                for target in mappings(each.properties.get("Targets")):
                    yield _Filter(str(target.get("Arn")), prefix, suffix)


def _filter(values: Mapping[str, Any]) -> _Filter:
    rules = at(values, "Filter", "Key", "FilterRules") or at(values, "Filter", "S3Key", "Rules")
    by_name = {str(rule.get("Name")).lower(): str(rule.get("Value", "")) for rule in mappings(rules)}
    target = next((values[name] for name in _TARGETS if name in values), "")
    return _Filter(str(target), by_name.get("prefix", ""), by_name.get("suffix", ""))


def _statements_of(role: str, app: AppResources) -> Iterator[Mapping[str, Any]]:
    """What the policies of this app, and some of AWS, allow or deny to the role."""
    names = {role, f"${{{path_in(role)}.Ref}}", role.rpartition("/")[2]}
    managed = set[str]()
    documents = []
    for each in app.of("AWS::IAM::Role"):
        if not names.isdisjoint(each.names("RoleName")):
            documents += [
                policy.get("PolicyDocument") for policy in mappings(each.properties.get("Policies"))
            ]
            managed |= {
                arn for arn in listed(each.properties.get("ManagedPolicyArns")) if isinstance(arn, str)
            }
    for each in app.of("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy"):
        roles = [*listed(each.properties.get("Roles")), each.properties.get("RoleName")]
        if (
            not names.isdisjoint(role for role in roles if isinstance(role, str))
            or f"${{{each.path}.Ref}}" in managed
        ):
            documents.append(each.properties.get("PolicyDocument"))
    for document in documents:
        yield from mappings(at(document, "Statement"))
    if any(arn.endswith(f":aws:policy/{name}") for arn in managed for name in _MAY_WRITE_ANYWHERE):
        yield {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}


def _writes(action: object) -> bool:
    return isinstance(action, str) and fnmatchcase("s3:putobject", action.lower())


def _within(arn: object, bucket: Set[str]) -> str | None:
    """The keys of the bucket that an ARN of a policy names; None if it names others."""
    if not isinstance(arn, str):
        return None
    if arn == "*":
        return arn
    place = arn.split(":s3:::")[-1]
    for name in bucket:
        if place.startswith(f"{name}/"):
            return place.removeprefix(f"{name}/")
    pattern, _, keys = place.partition("/")
    if "*" in pattern and any(fnmatchcase(name, pattern) for name in bucket):
        return keys or "*"
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
