"""The trigger: a SHA-256 over what decides the resulting data, and over nothing else.

It is made from the pipeline's definition, from the functions that this names, directly or by way of others, from
`rerun_on`, the selection and the user's `version` (see `deciding` for what counts of each).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import jsii
from aws_cdk import (
    Annotations,
    CfnResource,
    CustomResource,
    IAnyProducer,
    IResolvable,
    IResolveContext,
    IStringProducer,
    Lazy,
    Stack,
    Token,
)
from constructs import Construct, Dependable, IConstruct, IDependable, IValidation

from pipeline_reprocessing.arguments import shown
from pipeline_reprocessing.deciding import deciding_parts, ours, running_parts
from pipeline_reprocessing.fingerprints import Fingerprints, digest, identity
from pipeline_reprocessing.messages import MessageSelection
from pipeline_reprocessing.overrides import Rendered
from pipeline_reprocessing.pipelines import PipelineBinding
from pipeline_reprocessing_handler.validation import Failure

_UNKNOWN = "0" * 64


class Trigger:
    """Tells CloudFormation when to ask for a run, and what has to be there first.

    What it is made from is looked at late, when CDK asks: until then everything may still change.

    Args:
        scope: The `PipelineReprocessing`.
        binding: Its pipeline.
        messages: Its selection.
        rerun_on: What else it watches.
        version: The user's own text.
        hands_on_values: Whether CloudFormation looks at what only the deploy knows.

    Raises:
        ValueError: `rerun_on` has something that nobody could watch, or `version` is no text, or a token.
    """

    def __init__(
        self,
        scope: Construct,
        binding: PipelineBinding,
        *,
        messages: MessageSelection,
        rerun_on: Sequence[IConstruct] | None,
        version: str | None,
        hands_on_values: bool,
    ) -> None:
        self._scope = scope
        self._binding = binding
        self._messages = messages
        self._rerun_on = _watchable(rerun_on, scope)
        self._version = _known_text(version)
        self._hands_on_values = hands_on_values
        self._resource: CfnResource | None = None
        self._looking: Fingerprints | None = None
        self._made: tuple[str, Mapping[str, object]] | None = None
        # Aspects may change the app until CDK asks for dependencies: what was made before is made again then.
        self._settled = False

    @property
    def text(self) -> str:
        """The trigger itself, as a token."""
        return Lazy.uncached_string(_Text(self))

    @property
    def values(self) -> IResolvable:
        """What only the deploy knows, by name, as a token; nothing where there is nothing to look at."""
        return Lazy.uncached_any(_Values(self))

    @property
    def parts(self) -> tuple[object, Sequence[IConstruct]]:
        """What it is made from: a value, and constructs."""
        binding = self._binding
        told = [binding.properties["Kind"], binding.fingerprint, self._messages.properties, self._version]
        return told, [*binding.watched, *self._rerun_on]

    def starts(self, resource: CustomResource) -> None:
        """Lets that custom resource wait for all that a run needs; it is the one that has this trigger."""
        element = resource.node.default_child
        assert isinstance(element, CfnResource)  # noqa: S101  # CustomResource makes one
        self._resource = element
        found = _WhatIsNeeded(self)
        Dependable.implement(found, found)
        resource.node.add_dependency(found)
        self._scope.node.add_validation(_Warning(self))

    def make(self) -> tuple[str, Mapping[str, object]]:
        """The trigger, and what CloudFormation has to look at in each deploy."""
        made = self._made
        if made is None:
            text, seen = self._look(Rendered())
            made = text, seen.values if self._hands_on_values else {}
        if self._settled:
            self._made = made
        return made

    def needed(self) -> list[IConstruct]:
        """What has to be there before a run starts. CDK asks once in each synth, after all Aspects."""
        self._settled, self._made = True, None
        binding = self._binding
        _, seen = self._look()
        return [
            part
            for construct in (*binding.prerequisites, *binding.watched, *self._rerun_on, *seen.needed)
            for part in running_parts(construct)
            # What contains this construct cannot be waited for as a whole.
            if not (construct in self._scope.node.scopes and ours(part))
        ]

    def warn(self) -> None:
        """Warns of what was said to decide the data where nothing in this app tells when it changes."""
        known = self._version is not None or self._rerun_on
        for construct in () if known else self._binding.watched:
            if not self._sees(construct):
                Annotations.of(self._scope).add_warning_v2(
                    "pipeline-reprocessing:notWatched",
                    f"nothing in this app tells when '{construct.node.path}' changes, so that reprocesses nothing; "
                    "put what changes with it into 'version'",
                )

    def _sees(self, construct: IConstruct) -> bool:
        if deciding_parts(construct):
            return True
        # An imported one has no parts, but its ARN may lead to a resource, or be a value that CloudFormation knows.
        arn = getattr(construct, "function_arn", None) or getattr(construct, "state_machine_arn", None)
        return Fingerprints(Stack.of(self._scope)).sees(arn, in_deploys=self._hands_on_values)

    def _look(self, rendered: Rendered | None = None) -> tuple[str, Fingerprints]:
        """The trigger, and what was found by following references."""
        if self._looking:
            raise Failure(
                f"the trigger of '{self._scope.node.path}' must not be in what it is made from, got it in "
                f"'{self._looking.place}'; put a text of your own there, and into 'version'"
            )
        seen = self._looking = Fingerprints(Stack.of(self._scope), rendered)
        try:
            return self._made_from(seen), seen
        finally:
            self._looking = None

    def _made_from(self, seen: Fingerprints) -> str:
        stack = Stack.of(self._scope)
        parts = [
            part
            for construct in (*self._binding.watched, *self._rerun_on)
            for part in seen.of_construct(construct)
        ]
        value = {
            "resource": [identity(stack), self._resource and stack.resolve(self._resource.logical_id)],
            "pipeline": [self._binding.properties["Kind"], seen.of_settings(self._binding.fingerprint)],
            "messages": seen.named(self._messages.properties),
            "version": self._version,
        }
        return digest([value, sorted({*parts, *seen.digests})])


def _watchable(rerun_on: object, scope: Construct) -> list[IConstruct]:
    if rerun_on is None:
        return []
    if isinstance(rerun_on, str) or not isinstance(rerun_on, Iterable):
        raise Failure(f"'rerun_on' must be a list of constructs, got {shown(rerun_on)}; write rerun_on=[...]")
    constructs = list(rerun_on)
    for index, construct in enumerate(constructs):
        argument = f"rerun_on[{index}]"
        if not hasattr(construct, "node"):
            raise Failure(f"'{argument}' must be a construct, got {shown(construct)}")
        path = construct.node.path
        if construct in scope.node.scopes:
            raise Failure(
                f"'{argument}' must not contain this construct, got '{path}'; name the parts that decide the data"
            )
        if not deciding_parts(construct):
            raise Failure(
                f"'{argument}' has nothing whose change this app could see, got '{path}'; put what changes into "
                "'version'"
            )
    return constructs


def _known_text(version: object) -> str | None:
    if version is None or (isinstance(version, str) and not Token.is_unresolved(version)):
        return version
    given = "a token" if Token.is_unresolved(version) else shown(version)
    raise Failure(f"'version' must be a text known at synth, got {given}; it is part of a hash made there")


@jsii.implements(IStringProducer)
class _Text:
    def __init__(self, trigger: Trigger) -> None:
        self._trigger = trigger

    def produce(self, context: IResolveContext) -> str:
        if context.preparing or Rendered.in_progress:
            # Only looked through for references, of which a trigger has none, or for another part of the template.
            return _UNKNOWN
        return self._trigger.make()[0]


@jsii.implements(IAnyProducer)
class _Values:
    def __init__(self, trigger: Trigger) -> None:
        self._trigger = trigger

    def produce(self, context: IResolveContext) -> object:
        if context.preparing or Rendered.in_progress:
            # As for the trigger: all references are within the stack, where CDK has nothing to prepare.
            return None
        return dict(self._trigger.make()[1]) or None


@jsii.implements(IDependable)
class _WhatIsNeeded(Dependable):
    """CDK asks for it late, and only then may it be looked for: some values are fixed when they are first seen."""

    def __init__(self, trigger: Trigger) -> None:
        super().__init__()
        self._trigger = trigger

    @property
    def dependency_roots(self) -> list[IConstruct]:
        return self._trigger.needed()


@jsii.implements(IValidation)
class _Warning:
    """Given when the app is complete: a function may be defined after whoever names it."""

    def __init__(self, trigger: Trigger) -> None:
        self._trigger = trigger

    def validate(self) -> list[str]:
        self._trigger.warn()
        return []
