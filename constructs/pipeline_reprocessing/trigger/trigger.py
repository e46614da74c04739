"""The trigger: a SHA-256 over what decides the resulting data, and over nothing else.

It is made from the pipeline's definition, from the functions that this names, directly or by way of others, from
`rerun_on`, the selection and the user's `version` (see `relevant` for what counts of each). `templates` renders the
stacks, `references` says where references lead, `graph` follows them, and `warnings` tells what cannot be followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from aws_cdk import CfnResource, CustomResource, IResolvable, Stack, Token
from constructs import Construct, IConstruct

from pipeline_reprocessing.arguments import shown
from pipeline_reprocessing.lazy import LazyRoots, lazy_text, lazy_value
from pipeline_reprocessing.messages import MessageSelection
from pipeline_reprocessing.pipelines import PipelineBinding
from pipeline_reprocessing.trigger.graph import Graph, digest
from pipeline_reprocessing.trigger.relevant import deciding_parts, ours, running_parts
from pipeline_reprocessing.trigger.templates import Templates
from pipeline_reprocessing.trigger.warnings import warn_of_files, warn_of_unwatched, warn_of_versions
from pipeline_reprocessing.trigger.watch import Watch
from pipeline_reprocessing_handler.validation import Failure


@dataclass(frozen=True)
class _Made:
    """What synth says of a trigger."""

    text: str
    """The trigger itself."""
    values: Mapping[str, object] = field(default_factory=dict)
    """What CloudFormation has to look at in each deploy, by name."""
    because: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What counts, with a short digest each: by construct path and name."""


class Trigger:
    """Tells CloudFormation when to ask for a run, and what has to be there first.

    It is made when CDK asks for dependencies: once in each synth, after all Aspects.

    Args:
        scope: The `PipelineReprocessing`.
        binding: Its pipeline.
        messages: Its selection.
        rerun_on: What else it watches.
        version: The user's own text.
        watch: What it leaves out.
        hands_on_values: Whether CloudFormation looks at what only the deploy knows.

    Raises:
        ValueError: `rerun_on` has something that cannot be watched, or `version` is no text, or a token.
    """

    def __init__(
        self,
        scope: Construct,
        binding: PipelineBinding,
        *,
        messages: MessageSelection,
        rerun_on: Sequence[IConstruct] | None,
        version: str | None,
        watch: Watch,
        hands_on_values: bool,
    ) -> None:
        self._scope = scope
        self._binding = binding
        self._messages = messages
        self._rerun_on = _watchable(rerun_on, scope)
        self._watched = [*binding.watched, *self._rerun_on]
        self._version = _known_text(version)
        self._watch = watch
        self._hands_on_values = hands_on_values
        self._resource: CfnResource | None = None
        self._templates = Templates.of(scope)
        # What a template shows until the trigger is made, for that takes the templates.
        self._unmade = _Made("0" * 24 + sha256(scope.node.path.encode()).hexdigest()[:40])
        self._templates.triggers[self._unmade.text] = self
        self._made: _Made | None = None
        self._synth: int | None = None
        self._looking: Graph | None = None
        self._told_others: tuple[int, str] | None = None

    @property
    def text(self) -> str:
        """The trigger itself, as a token."""
        return lazy_text(lambda _: self.made().text)

    @property
    def values(self) -> IResolvable:
        """What only the deploy knows, by name, as a token; nothing where there is nothing to look at."""
        return lazy_value(lambda _: dict(self.made().values) or None)

    @property
    def because(self) -> IResolvable:
        """What counts, as a token."""
        return lazy_value(lambda _: self.made().because or None)

    @property
    def parts(self) -> tuple[object, Sequence[IConstruct]]:
        """What it is made from: a value, and constructs."""
        return self._told, self._watched

    @property
    def _told(self) -> dict[str, object]:
        pipeline = [self._binding.properties["Kind"], self._binding.fingerprint]
        version = {} if self._version is None else {"version": self._version}
        return {"messages": self._messages.properties, "pipeline": pipeline, **version}

    def starts(self, resource: CustomResource) -> None:
        """Lets that custom resource wait for all that a run needs; it is the one that has this trigger."""
        element = resource.node.default_child
        assert isinstance(element, CfnResource)  # noqa: S101  # CustomResource makes one
        self._resource = element
        resource.node.add_dependency(LazyRoots(self.needed))

    def made(self) -> _Made:
        """What synth says of it: as it was made for the synth, or, before any, as it would be made now."""
        if self._templates.is_rendering:
            return self._unmade
        if self._made:
            return self._made
        self._templates.forget()
        try:
            return self._make(self._look())
        finally:
            self._templates.forget()

    def needed(self) -> list[IConstruct]:
        """Makes it, warns of what it does not see, and gives what has to be there before a run starts."""
        if self._synth == self._templates.synth:  # CDK asks once in each
            self._templates.forget()
        self._synth = self._templates.synth
        graph = self._look()
        self._made = self._make(graph)
        if self._version is None and not self._rerun_on:
            warn_of_unwatched(self._scope, graph)
        warn_of_versions(self._scope, graph)
        warn_of_files(self._scope, graph)
        scopes = self._scope.node.scopes
        reached = [node.construct for node in graph.needed]
        return [
            part
            for construct in (*self._binding.prerequisites, *self._watched, *reached)
            for part in running_parts(construct)
            # What contains this construct cannot be waited for as a whole.
            if not (construct in scopes and ours(part))
        ]

    def for_others(self) -> str:
        """The trigger where it is in what another one is made from.

        Raises:
            ValueError: It is in what it is itself made from.
        """
        if self._looking:
            raise Failure(
                f"the trigger of '{self._scope.node.path}' must not be in what it is made from, got it in "
                f"'{self._looking.place}'; put a text of your own there, and into 'version'"
            )
        if self._told_others is None or self._told_others[0] != self._templates.synth:
            self._told_others = self._templates.synth, self._make(self._look()).text
        return self._told_others[1]

    def _look(self) -> Graph:
        """What a run reaches."""
        graph = self._looking = Graph(self._scope, self._templates, self._watch)
        try:
            for name, value in self._told.items():
                graph.settings(name, value, is_handed_on=name == "messages")
            for construct in self._watched:
                graph.construct(construct)
        finally:
            self._looking = None
        return graph

    def _make(self, graph: Graph) -> _Made:
        resource = self._resource and Stack.of(self._scope).resolve(self._resource.logical_id)
        digests = sorted({node.digest for node in graph.nodes.values()} - {""})  # the root has none
        text = digest([graph.template.identity, resource, graph.root.content, digests])
        return _Made(text, graph.values if self._hands_on_values else {}, graph.because)


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
