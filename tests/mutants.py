"""Mutation tests: changes a package in small ways and tells which changes its tests do not notice (`make mutants`).

Each mutant is one change, in a temporary copy of the package that stands first on `sys.path`. The tests of its module
run first, then the others. The sample of mutants follows from the seed, for each module by itself.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
HELD = [
    "batches",
    "compression",
    "framing",
    "functions",
    "json_text",
    "json_values",
    "publishing",
    "storage",
    "transforms",
    "uploads",
]
"""Modules of the Lambda code in which too many survivors fail the run: data pass through them."""
LEAST = 90
"""Percentage of the mutants of such a module that must be killed."""
AT_ONCE = 2
_WRONG_COPY = 99
_SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitAnd: (ast.BitOr,),
    ast.Break: (ast.Continue,),
    ast.Continue: (ast.Break,),
}
_NOT_RUN = {"annotation", "returns", "decorator_list", "bases", "type_params"}


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    module: str
    """Its name in the package, whatever the folder: no two are called the same."""
    number: int
    line: int
    before: str
    """The statement that is changed, or the head of a compound one."""
    after: str

    @property
    def name(self) -> str:
        """What it is called in the list of equivalent mutants, where no line is named: lines move."""
        return f"{self.module}.py: {self.before} -> {self.after}"


@dataclass(frozen=True)
class _Place:
    """Where a module can be changed, and how."""

    statement: ast.stmt
    holder: ast.AST
    field: str
    index: int | None
    new: ast.AST

    @contextmanager
    def changed(self) -> Iterator[ast.AST]:
        """Changes the tree for a while; gives the statement as it is then."""
        old = getattr(self.holder, self.field)
        is_statement = (old if self.index is None else old[self.index]) is self.statement
        setattr(
            self.holder,
            self.field,
            self.new if self.index is None else [*old[: self.index], self.new, *old[self.index + 1 :]],
        )
        yield self.new if is_statement else self.statement
        setattr(self.holder, self.field, old)


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """All mutants of a module."""
    tree = ast.parse(source)
    for number, place in enumerate(_places(tree, tree.body[0])):
        before = _head(place.statement)
        with place.changed() as statement:
            yield Mutant(module, number, place.statement.lineno, *_apart(before, _head(statement)))


def mutated(source: str, number: int) -> str:
    """The module's source after the change with this number."""
    tree = ast.parse(source)
    with list(_places(tree, tree.body[0]))[number].changed():
        return ast.unparse(tree)


def _places(node: ast.AST, statement: ast.stmt) -> Iterator[_Place]:
    """What can be changed below a node, which belongs to the statement."""
    for name, value in ast.iter_fields(node):
        if name in _NOT_RUN:
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_no_code(child):
                continue
            inner = child if isinstance(child, ast.stmt) else statement
            for new in _instead_of(child, name):
                yield _Place(inner, node, name, index, new)
            yield from _places(child, inner)


def _is_no_code(node: ast.AST) -> bool:
    """Whether it is documentation or for tools alone, or cannot be reached."""
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Raise(exc=ast.Name(id="AssertionError")):
            return True
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
            return True
        case ast.Assign(value=ast.Subscript(value=ast.Name(id="Callable"))):
            return True
    return False


def _instead_of(node: ast.AST, field: str) -> Iterator[ast.AST]:
    for kind in _SWAPS.get(type(node), ()):
        yield kind()
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.Constant(value=str(value)):
            yield ast.Constant(f"{value}XX")
        case ast.Constant(value=bytes(value)):
            yield ast.Constant(value + b"XX")
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Expr() | ast.Raise():
            yield ast.Pass()
        case ast.Assign() | ast.AnnAssign() | ast.Return() if not _is_none(node.value):
            new = copy.copy(node)
            new.value = ast.Constant(None)
            yield new
        case ast.ExceptHandler(type=ast.Tuple(elts=kinds)):
            for left_out in kinds:
                new_handler = copy.copy(node)
                new_handler.type = ast.Tuple([each for each in kinds if each is not left_out], ast.Load())
                yield new_handler
        case ast.ExceptHandler(type=ast.expr()):
            new_handler = copy.copy(node)
            new_handler.type = ast.Tuple([], ast.Load())
            yield new_handler
    if field == "test" and isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.NamedExpr | ast.BoolOp):
        yield ast.UnaryOp(ast.Not(), node)


def _is_none(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def _head(node: ast.AST) -> str:
    """A statement on one line; of a compound one what stands above its body, and the `except` clauses of a `try`."""
    head: Any = copy.copy(node)
    for name in ("body", "orelse", "finalbody"):
        if getattr(head, name, None) and isinstance(node, ast.stmt):
            setattr(head, name, [ast.Expr(ast.Constant(...))] if name == "body" else [])
    if isinstance(node, ast.Try):
        head.handlers = [
            ast.ExceptHandler(each.type, each.name, [ast.Expr(ast.Constant(...))]) for each in node.handlers
        ]
    return " ".join(ast.unparse(head).split())


def _apart(before: str, after: str) -> list[str]:
    """Both texts around the place where they differ, if they are long."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))
    first = len(list(same)) - 40
    near = [f"…{text[first:]}" if first > 20 else text for text in (before, after)]
    return [f"{text[:110]}…" if len(text) > 110 else text for text in near]


def _run(
    package: Path, tests: Path, mutant: Mutant | None, folder: Path, seconds: int, more: list[str]
) -> None:
    """Runs the tests on a copy of the package, in a process of their own, which ends with pytest's exit code."""
    signal.alarm(seconds)  # ends the process, whatever it does
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    shutil.copytree(package, folder / package.name)
    first = tests
    if mutant:
        [changed] = (folder / package.name).rglob(f"{mutant.module}.py")
        source = changed.read_text()
        changed.write_text(
            source + "raise ImportError" if mutant.number < 0 else mutated(source, mutant.number)
        )
        for compiled in changed.parent.glob(f"__pycache__/{mutant.module}.*"):
            compiled.unlink()
        first = tests / f"test_{mutant.module}.py"
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    files = sorted(tests.glob("test_*.py"), key=lambda file: (file != first, file))
    options = ["-x", "-q", "--timeout=30", "--timeout-method=thread", f"-ocache_dir={folder / 'cache'}"]
    code = int(pytest.main([*options, *more, *map(str, files)]))
    if code == 0:
        names = [package.name]
        if mutant:
            names.append(".".join(changed.relative_to(folder).with_suffix("").parts))
        for name in names:
            if folder not in Path(getattr(sys.modules.get(name), "__file__", None) or "/").parents:
                code = _WRONG_COPY
    sys.stdout.flush()
    os._exit(code)  # threads may hang


def _outcomes(
    package: Path, tests: Path, mutants: Iterable[Mutant | None], seconds: int, more: list[str]
) -> Iterator[tuple[Mutant | None, int]]:
    """The mutants, each with the exit code of the tests: some at once, in the order in which they end."""
    running: dict[int, tuple[Mutant | None, Path]] = {}
    waiting = list(mutants)
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            mutant, folder = waiting.pop(0), Path(tempfile.mkdtemp(prefix="mutant-")).resolve()
            if not (pid := os.fork()):
                try:
                    _run(package, tests, mutant, folder, seconds, more)
                finally:
                    os._exit(_WRONG_COPY)
            running[pid] = mutant, folder
        pid, status = os.wait()
        mutant, folder = running.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        if code == _WRONG_COPY or (code and not mutant):
            told = (folder / "output").read_text()[-3000:]
            sys.exit(
                f"the tests cannot judge {mutant.name if mutant else 'the unchanged package'}: {code}\n{told}"
            )
        shutil.rmtree(folder)
        yield mutant, code


def drawn(mutants: list[Mutant], size: int, seed: str) -> list[Mutant]:
    """So many of a module's mutants; what is drawn does not hang on the other modules."""
    return Random(f"{seed} {mutants[0].module}").sample(mutants, min(size, len(mutants))) if mutants else []


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="all, if none is named")
    parser.add_argument(
        "--mutants", type=int, default=150, help="how many, in proportion to the modules' size"
    )
    parser.add_argument("--seed", default="1", help="another seed draws another sample")
    parser.add_argument("--package", type=Path, default=ROOT / "lambda/object_replay")
    parser.add_argument("--tests", type=Path, default=ROOT / "tests/replay")
    parser.add_argument("--equivalent", type=Path, default=ROOT / "tests/mutants.txt")
    parser.add_argument("--held", nargs="*", default=HELD)
    parser.add_argument("--without", nargs="*", default=["__init__", "settings"])
    return parser.parse_known_args()  # pytest takes the rest


def main() -> int:
    """Draws the sample, runs it and prints what came of it."""
    given, more = _arguments()
    equivalent = [line for line in given.equivalent.read_text().splitlines() if line and line[0] not in " #"]
    files = {
        path.stem: path for path in sorted(given.package.rglob("*.py")) if path.stem not in given.without
    }
    everything: dict[str, list[Mutant]] = {}
    for module in given.modules or files:
        everything[module] = list(mutants_of(module, files[module].read_text()))
        names = Counter(mutant.name for mutant in everything[module])
        if gone := [line for line in equivalent if line.startswith(f"{module}.py:") and names[line] != 1]:
            sys.exit(f"{given.equivalent} names mutants that do not exist, or several at once: {gone}")
    total = sum(map(len, everything.values()))
    sample: list[Mutant | None] = []
    for all_of_it in everything.values():
        some = drawn(all_of_it, max(5, round(given.mutants * len(all_of_it) / total)), given.seed)
        sample += [mutant for mutant in some if mutant.name not in equivalent]

    # Each fork finds imported what takes long: pytest's plugins and what the package needs, but nothing of the package.
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        pytest.main(["--version", "--version"])
    for name in ("botocore.session", "hypothesis"):
        importlib.import_module(name)
    began = time.monotonic()
    list(_outcomes(given.package, given.tests, [None], 600, more))
    seconds = 30 + 5 * int(time.monotonic() - began)
    controls = [Mutant(module, -1, 1, "control", "raise ImportError") for module in everything]
    for control, code in _outcomes(given.package, given.tests, controls, seconds, more):
        if control and not code:
            sys.exit(f"the tests do not import the copy of {control.module}.py: every mutant would survive")

    killed, survived = Counter[str](), Counter[str]()
    for mutant, code in _outcomes(given.package, given.tests, sample, seconds, more):
        if mutant and code:
            killed[mutant.module] += 1
        elif mutant:
            survived[mutant.module] += 1
            print(f"{mutant.module}.py:{mutant.line}: {mutant.before} -> {mutant.after}", flush=True)  # noqa: T201
    failed = False
    print(f"{'module':16}{'mutants':>8}{'killed':>8}{'survived':>9}{'rate':>7}")  # noqa: T201
    for module in everything:
        count = killed[module] + survived[module]
        rate = 100 * killed[module] / max(1, count)
        failed |= module in given.held and rate < LEAST
        print(f"{module:16}{count:8}{killed[module]:8}{survived[module]:9}{rate:6.0f}%")  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
