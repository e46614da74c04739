"""The mutation tool does what it says: it changes programs, and tells killed mutants from survivors."""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MODULE = '''
"""A module."""

LIMIT = 10


def clipped(number: int) -> int:
    if number > LIMIT:
        return LIMIT
    return number


def untested(number: int) -> int:
    return number
'''
TESTS = """
from tiny.inner.clipping import LIMIT, clipped

def test_clipping():
    assert LIMIT == 10
    assert [clipped(number) for number in (9, 10, 11)] == [9, 10, 10]
"""
SURVIVORS = {
    # The limit itself is clipped to itself.
    "clipping.py:8: if number > LIMIT: ... -> if number >= LIMIT: ...",
    "clipping.py:14: return number -> return None",
}
NAMED = "clipping.py: if number > LIMIT: ... -> if number >= LIMIT: ..."


@pytest.fixture(scope="module")
def tool(checkout: Path) -> dict[str, Any]:
    return runpy.run_path(str(checkout / "tests/mutants.py"), run_name="mutants")


@pytest.fixture
def run(checkout: Path, tmp_path: Path) -> Any:
    """Runs the tool on a package with one module and one file of tests."""
    for name, text in {
        "source/tiny/__init__.py": "",
        "source/tiny/inner/__init__.py": "",
        "source/tiny/inner/clipping.py": MODULE,
        "tests/conftest.py": "import tiny.inner.clipping",
        "tests/test_clipping.py": TESTS,
        "equivalent.txt": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, checkout / "tests/mutants.py", "--held=clipping", "--mutants=1000"),
                *(f"--package={tmp_path / 'source/tiny'}", f"--tests={tmp_path / 'tests'}"),
                *(f"--equivalent={tmp_path / 'equivalent.txt'}", *arguments),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return tool


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a < b", {"a <= b", "a >= b", "None"}),
        ("a == b", {"a != b", "None"}),
        ("a and b", {"a or b", "None"}),
        ("not a", {"a", "None"}),
        ("True", {"False", "None"}),
        ("'a'", {"'aXX'", "None"}),
        ("b'a'", {"b'aXX'", "None"}),
        ("1.5", {"2.5", "0.5", "None"}),
        ("a + b", {"a - b", "None"}),
    ],
)
def test_expressions_are_changed(tool: dict[str, Any], before: str, after: set[str]) -> None:
    mutants = list(tool["mutants_of"]("module", f"x = {before}"))

    assert {mutant.after for mutant in mutants} == {f"x = {each}" for each in after}
    assert {tool["mutated"](f"x = {before}", mutant.number) for mutant in mutants} == {
        f"x = {each}" for each in after
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("f()", {"pass"}),
        ("raise f", {"pass"}),
        ("if a:\n    b", {"if not a:\n    b", "if a:\n    pass"}),
        ("while a:\n    break", {"while not a:\n    break", "while a:\n    continue"}),
        ("def f(a=1, *, b=False):\n    return a", None),
        ("try:\n    f\nexcept (A, B):\n    g", None),
        ("try:\n    f\nexcept A:\n    g", None),
    ],
)
def test_statements_are_changed(tool: dict[str, Any], before: str, after: set[str] | None) -> None:
    changed = {tool["mutated"](before, mutant.number) for mutant in tool["mutants_of"]("module", before)}

    if after:
        assert changed == after
    elif before.startswith("def"):
        heads = {"a=2, *, b=False", "a=0, *, b=False", "a=1, *, b=True"}
        assert changed == {f"def f({each}):\n    return a" for each in heads} | {
            before.replace("return a", "return None")
        }
    else:
        kinds = {"(B,)", "(A,)"} if "B" in before else {"()"}
        assert kinds == {line[7:-1] for text in changed for line in text.splitlines() if "except" in line} - {
            "(A, B)",
            "A",
        }


def test_every_mutant_of_the_lambda_code_is_another_program(tool: dict[str, Any], checkout: Path) -> None:
    source = (checkout / "lambda/object_replay/functions.py").read_text()

    changed = [tool["mutated"](source, mutant.number) for mutant in tool["mutants_of"]("functions", source)]

    assert len(changed) > 50
    assert ast.unparse(ast.parse(source)) not in changed
    assert len(set(changed)) == len(changed)


def test_what_tests_notice_is_killed_and_what_they_do_not_notice_is_named(run: Any) -> None:
    answer = run()

    *survivors, _, rates = answer.stdout.splitlines()
    assert answer.returncode == 1, answer.stderr
    assert set(survivors) == SURVIVORS
    assert rates.split() == ["clipping", "8", "6", "2", "75%"]


def test_the_sample_follows_from_the_seed(tool: dict[str, Any]) -> None:
    everything = list(tool["mutants_of"]("clipping", MODULE))

    drawn = [tool["drawn"](everything, 5, seed) for seed in ("1", "1", "2")]

    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(some) for some in drawn] == [5, 5, 5]


def test_a_mutant_that_is_named_as_equivalent_is_left_out(run: Any, tmp_path: Path) -> None:
    (tmp_path / "equivalent.txt").write_text(f"{NAMED}\n    A reason.\n")

    answer = run("--held=")

    *survivors, _, rates = answer.stdout.splitlines()
    assert answer.returncode == 0, answer.stderr
    assert set(survivors) == SURVIVORS - {NAMED.replace(".py:", ".py:8:")}
    assert rates.split() == ["clipping", "7", "6", "1", "86%"]


def test_a_name_of_no_mutant_in_the_list_of_equivalent_ones_is_refused(run: Any, tmp_path: Path) -> None:
    (tmp_path / "equivalent.txt").write_text("clipping.py: gone -> away\n    A reason.\n")

    assert (
        "names mutants that do not exist, or several at once: ['clipping.py: gone -> away']" in run().stderr
    )


def test_tests_that_fail_without_a_mutant_judge_none(run: Any, tmp_path: Path) -> None:
    (tmp_path / "tests/test_clipping.py").write_text(TESTS.replace("10, 10]", "10, 11]"))

    answer = run()

    assert answer.returncode == 1
    assert "the tests cannot judge the unchanged package" in answer.stderr
    assert answer.stdout == ""


def test_tests_of_another_copy_of_the_package_judge_none(run: Any, tmp_path: Path) -> None:
    other = f"import sys\nsys.path.insert(0, {str(tmp_path / 'source')!r})\n"
    (tmp_path / "tests/conftest.py").write_text(other + "import tiny.inner.clipping")

    answer = run()

    assert answer.returncode == 1
    assert "the tests cannot judge" in answer.stderr
