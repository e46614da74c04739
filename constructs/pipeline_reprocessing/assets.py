"""Code for Lambda, copied at synth from the packages installed beside this one: no pip, no Docker, no network."""

from __future__ import annotations

import atexit
import io
import shutil
import tempfile
import tokenize
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from aws_cdk import Stage
from constructs import Construct

_WITHOUT_STAGING = "aws:cdk:disable-asset-staging"
"""CDK's context key with which assets are taken from where they are, after synth has ended."""
_STATEMENT_BEGINS = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
_NOT_NEEDED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.pyi", "py.typed", "tests")


def packaged(scope: Construct, name: str, packages: tuple[str, ...]) -> Path:
    """A folder with these packages: the same bytes wherever it is made.

    Args:
        scope: Who deploys it.
        name: What the folder is called where it must outlive the process.
        packages: Importable by these names.
    """
    if not scope.node.try_get_context(_WITHOUT_STAGING):
        return _temporary(packages)
    stage = Stage.of(scope)
    return copied(Path(stage.asset_outdir if stage else "cdk.out", name), packages)


@cache
def _temporary(packages: tuple[str, ...]) -> Path:
    """The folder for CDK to copy from, once in a process."""
    folder = Path(tempfile.mkdtemp(prefix="pipeline-reprocessing-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return copied(folder, packages)


def copied(folder: Path, packages: tuple[str, ...]) -> Path:
    """The folder, with these packages in it as Lambda gets them."""
    for package in packages:
        shutil.rmtree(folder / package, ignore_errors=True)
        shutil.copytree(_location(package), folder / package, ignore=_NOT_NEEDED, copy_function=_copy)
    return folder


def without_comments(source: str) -> str:
    """Python code without comments and docstrings, a third of what Lambda would load; every line keeps its number.

    A docstring becomes a short one where it is all that a function has, and in classes: without any, `dataclass` writes
    one at each cold start.
    """
    lines = source.splitlines(keepends=True)
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    edits = [(token.start, token.end, "") for token in tokens if token.type == tokenize.COMMENT]
    code = [token for token in tokens if token.type not in (tokenize.COMMENT, tokenize.NL)]
    before, opened_by = tokenize.NEWLINE, ""
    for token, after, following in zip(code, code[1:], code[2:], strict=False):
        begins = before in _STATEMENT_BEGINS
        if begins and token.type == tokenize.STRING and after.type == tokenize.NEWLINE:
            is_needed = opened_by == "class" or following.type == tokenize.DEDENT
            kept = '"-"' if before == tokenize.INDENT and is_needed else ""
            edits.append((token.start, token.end, kept + "\n" * (token.end[0] - token.start[0])))
        elif begins and token.type == tokenize.NAME:
            opened_by = token.string
        before = token.type
    for (first, begin), (last, end), text in sorted(edits, reverse=True):
        whole = lines[first - 1][:begin] + text + lines[last - 1][end:]
        lines[first - 1 : last] = [line.rstrip() + "\n" for line in whole.split("\n")[:-1]]
    return "".join(lines)


def _copy(source: str, target: str) -> None:
    if source.endswith(".py"):
        code = without_comments(Path(source).read_text(encoding="utf-8"))
        Path(target).write_text(code, encoding="utf-8", newline="\n")
    else:
        shutil.copyfile(source, target)
    # Whatever the umask here: another user runs it in Lambda.
    Path(target).chmod(0o644)


def _location(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"'{package}' is not installed; run: pip install cdk-pipeline-reprocessing")
    return Path(spec.submodule_search_locations[0])
