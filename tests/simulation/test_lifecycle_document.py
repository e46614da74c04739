"""docs/lifecycle.md names tests and constants: they are there, and none of the stories is left out."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
DOCUMENT = (CHECKOUT / "docs" / "lifecycle.md").read_text()
NAMED = set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", DOCUMENT))
NO_STORIES = {"test_invariants_can_fail.py", Path(__file__).name}
STORIES = [path for path in sorted(Path(__file__).parent.glob("test_*.py")) if path.name not in NO_STORIES]


def defined_in(file: str) -> set[str]:
    path = CHECKOUT / file
    nodes = ast.parse(path.read_text()).body if path.is_file() else []
    names = (node.name for node in nodes if isinstance(node, ast.FunctionDef))
    return {f"{file}::{name}" for name in names if name.startswith("test_")}


def test_every_test_that_the_document_names_exists() -> None:
    there = {test for file in {name.partition("::")[0] for name in NAMED} for test in defined_in(file)}

    assert len(NAMED) > 60
    assert sorted(NAMED - there) == []


def test_every_row_names_its_test_in_full() -> None:
    # a name that is no full one would not be looked for above
    assert DOCUMENT.count("::test_") == len(re.findall(r"`tests/[\w/]+\.py::test_\w+` \|\n", DOCUMENT))


def test_the_document_names_every_story() -> None:
    stories = {story for path in STORIES for story in defined_in(str(path.relative_to(CHECKOUT)))}

    assert len(stories) > 50
    assert sorted(stories - NAMED) == []


def test_the_document_gives_every_constant_its_value() -> None:
    rows = re.findall(r"^\| `([\w.]+)\.(\w+)` \| (\d+) \|", DOCUMENT, re.MULTILINE)

    assert len(rows) >= 15
    for module, name, seconds in rows:
        constant = getattr(import_module(f"pipeline_reprocessing_handler.{module}"), name)
        assert constant.total_seconds() == int(seconds), name
