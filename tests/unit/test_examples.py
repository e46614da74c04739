"""The examples in the docstrings run."""

import inspect
import re
import textwrap

import pytest

import pipeline_reprocessing

PUBLIC = [getattr(pipeline_reprocessing, name) for name in pipeline_reprocessing.__all__]
WITH_EXAMPLE = [thing for thing in PUBLIC if "Example:" in (thing.__doc__ or "")]


def test_every_class_that_people_make_has_an_example() -> None:
    assert {thing.__name__ for thing in WITH_EXAMPLE} >= {
        "MessageSelection",
        "PipelineReprocessing",
        "ReprocessablePipeline",
        "Wait",
    }


@pytest.mark.parametrize("thing", PUBLIC, ids=lambda thing: thing.__name__)
def test_every_public_name_is_documented(thing: type) -> None:
    assert inspect.getdoc(thing)
    undocumented = [
        name
        for name, member in vars(thing).items()
        if not name.startswith("_") and callable(getattr(thing, name)) and not inspect.getdoc(member)
    ]
    assert undocumented == []


@pytest.mark.parametrize("thing", WITH_EXAMPLE, ids=lambda thing: thing.__name__)
def test_the_example_runs(thing: type) -> None:
    documentation = inspect.getdoc(thing) or ""
    [example] = re.findall(r"^Example:\n((?:(?: .*)?\n?)+)", documentation, re.MULTILINE)

    names: dict[str, object] = {}
    exec(compile(textwrap.dedent(example), f"example of {thing.__name__}", "exec"), names)

    assert len(names) > 1
