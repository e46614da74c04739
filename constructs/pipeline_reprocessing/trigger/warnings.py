"""What a run reaches, and the app cannot tell when it changes: said at synth, not learned from old data."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aws_cdk import Annotations
from aws_cdk.aws_s3_assets import Asset
from constructs import IConstruct

from pipeline_reprocessing.trigger.definitions import called
from pipeline_reprocessing.trigger.graph import NEVER_CHANGES, Graph, Node
from pipeline_reprocessing.trigger.names import named_in, naming
from pipeline_reprocessing.trigger.references import FOLLOWED, canonical
from pipeline_reprocessing.trigger.templates import path_of

_ARN = re.compile(
    r"arn:[\w${}:-]*:(?:lambda|states):[\w${}:-]*?:(?:function|stateMachine):[\w-]+(?::[\w$-]+)?"
)
_LAMBDA_NAME = re.compile(r'"[lL]ambdaName":"([^"]*)"')
_PUBLISHED = {"AWS::Lambda::Alias", "AWS::Lambda::Version"}
_LEFT_BEHIND = {".DS_Store", "__pycache__"}


def warn_of_unwatched(scope: IConstruct, graph: Graph) -> None:
    """Warns of what runs where nothing in this app tells when it changes.

    Args:
        scope: Gets the warnings.
        graph: What a run reaches.
    """
    unseen = [f"'{construct.node.path}'" for construct in graph.unseen]
    for node in (node for node in graph.nodes.values() if node.kind.startswith("AWS::")):
        uses = f", which '{node.construct.node.path}' uses,"
        unseen += [what + uses for what in sorted({*_unseen_in(node, graph)})]
    for what in unseen:
        _warn(
            scope,
            "notWatched",
            f"nothing in this app tells when {what} changes, so that reprocesses nothing; put what changes with it "
            "into 'version'",
        )


def warn_of_versions(scope: IConstruct, graph: Graph) -> None:
    """Warns where another value at the deploy would replay with the old one.

    CDK publishes another version of a function when its code or settings change in the template, where a deploy-time
    value is a name and stays the same (aws-cdk#25997).
    """

    def names_resource(value: str) -> bool:
        """Whether it is the name or ARN of a resource, which only changes with the resource itself."""
        logical_id, _, attribute = value.partition(".")
        return attribute in {"Ref", "Arn"} and logical_id not in graph.template.section("Parameters")

    everything = graph.closure(lambda node: node.reaches)
    for key in sorted(everything - graph.closure(lambda node: node.reaches, not_through=_PUBLISHED)):
        node = graph.nodes[key]
        if late := [name for name in sorted(node.values) if not names_resource(name)]:
            _warn(
                scope,
                "publishedVersion",
                f"a run calls '{node.construct.node.path}' by a published version only, and another value of "
                f"{', '.join(late)} publishes none: it replays with the old value; call the function itself, or "
                "give the value at synth",
            )


def warn_of_files(scope: IConstruct, graph: Graph) -> None:
    """Warns of files in watched assets that change from machine to machine."""
    left_behind = graph.templates.left_behind  # many may watch one asset, and looking through it takes time
    for node in graph.nodes.values():
        for asset in node.construct.node.find_all() if node.kind else ():
            if not isinstance(asset, Asset):
                continue
            if asset.node.path not in left_behind:
                left_behind[asset.node.path] = _left_behind(asset)
            if found := left_behind[asset.node.path]:
                _warn(
                    scope,
                    "unwantedFiles",
                    f"the asset of '{node.construct.node.path}' holds '{found}', which changes from machine to machine "
                    "and then reprocesses; leave it out, as by exclude=['**/__pycache__', '*.pyc', '.DS_Store']",
                )


def _unseen_in(node: Node, graph: Graph) -> Iterator[str]:
    uses = [(f"the {call.what} ", call.name) for call in called(node.content.get("definition"))]
    activities = canonical(node.content.get("pipelineActivities"))
    uses += [("the function ", name) for name in _LAMBDA_NAME.findall(activities)]
    arns = {*_ARN.findall(canonical(node.content))}
    uses += [("", arn) for arn in arns if not any(name.startswith(arn) for _, name in uses)]
    for what, name in uses:
        is_known = FOLLOWED.search(name) or NEVER_CHANGES.search(name)
        if not is_known and not any(named_in(naming(name), node.place.template, graph.templates)):
            yield f"{what}'{name.replace('${', '').replace('}', '')}'"
    if node.content.get("fileSystemConfigs"):
        yield "the file system"


def _left_behind(asset: Asset) -> str | None:
    folder = path_of(asset)
    paths = folder.rglob("*") if folder.is_dir() else ()
    first = min((path for path in paths if path.name in _LEFT_BEHIND or path.suffix == ".pyc"), default=None)
    return str(first.relative_to(folder)) if first else None


def _warn(scope: IConstruct, name: str, text: str) -> None:
    Annotations.of(scope).add_warning_v2(f"pipeline-reprocessing:{name}", text)
