"""The handler's code: small, complete, and the same wherever it was made."""

import ast
import io
import json
import os
import shutil
import subprocess
import sys
import tokenize
import zipfile
from pathlib import Path

import pytest
from aws_cdk import App, Stack

import pipeline_reprocessing_handler
from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline
from pipeline_reprocessing.assets import without_comments

APP = """
import json, sys
from aws_cdk import App, Stack
from pipeline_reprocessing import MessageSelection, PipelineReprocessing, ReprocessablePipeline

app = App(outdir=sys.argv[1], context=json.loads(sys.argv[2]))
PipelineReprocessing(
    Stack(app, "Telemetry"), "Backfill",
    pipeline=ReprocessablePipeline.iot_analytics_named("telemetry"), messages=MessageSelection.all(),
)
app.synth()
"""


def assets(outdir: Path) -> dict[str, Path]:
    """Where the assets of the stack are, by hash; its template left out."""
    manifest = json.loads((outdir / "Telemetry.assets.json").read_text(encoding="utf-8"))
    return {
        name: outdir / entry["source"]["path"]
        for name, entry in manifest["files"].items()
        if entry["source"]["packaging"] == "zip"
    }


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outdir = tmp_path_factory.mktemp("assembly")
    app = App(outdir=str(outdir))
    PipelineReprocessing(
        Stack(app, "Telemetry"),
        "Backfill",
        pipeline=ReprocessablePipeline.iot_analytics_named("telemetry"),
        messages=MessageSelection.all(),
    )
    app.synth()
    [path] = assets(outdir).values()
    return path


def test_the_asset_has_two_packages_and_nothing_that_python_made(asset: Path) -> None:
    files = [path.relative_to(asset) for path in asset.rglob("*") if path.is_file()]

    assert {path.parts[0] for path in files} == {"pipeline_reprocessing_handler", "crhelper"}
    assert {path.suffix for path in files} <= {".py", ".json"}
    assert not any("__pycache__" in path.parts for path in files)


def test_the_asset_is_at_most_40_kilobytes_zipped(asset: Path, tmp_path: Path) -> None:
    archive = tmp_path / "asset.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in asset.rglob("*"):
            if path.is_file():
                zipped.write(path, path.relative_to(asset))

    assert archive.stat().st_size <= 40 * 1024


def test_everyone_may_read_the_files(asset: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in asset.rglob("*") if path.is_file()} == {0o644}


def test_the_handler_starts_with_nothing_but_the_asset_and_boto3(asset: Path) -> None:
    # -I: no PYTHONPATH and no folder of the checkout; boto3 is what the Lambda runtime brings along.
    program = (
        f"import sys; before = set(sys.modules); sys.path.insert(0, {str(asset)!r}); "
        "import pipeline_reprocessing_handler.index; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True, env=os.environ
    )

    ours = {"pipeline_reprocessing_handler", "crhelper"}
    of_the_runtime = {"boto3", "botocore", "certifi", "dateutil", "jmespath", "s3transfer", "six", "urllib3"}
    imported = set(done.stdout.split()) - {
        "__mp_main__"
    }  # another name of the program itself, by multiprocessing
    assert ours <= imported <= ours | of_the_runtime


def synthesized(place: Path, *, umask: int, context: dict[str, object]) -> dict[str, Path]:
    outdir = place / "cdk.out"
    subprocess.run(
        [sys.executable, "-c", APP, str(outdir), json.dumps(context)],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(place)},
        check=True,
        capture_output=True,
        umask=umask,
    )
    return assets(outdir)


def copied(checkout: Path, place: Path) -> Path:
    """A checkout of somebody who has run it before."""
    for package in ("constructs/pipeline_reprocessing", "lambda/pipeline_reprocessing_handler"):
        shutil.copytree(checkout / package, place / Path(package).name)
    made = place / "pipeline_reprocessing_handler" / "__pycache__"
    made.mkdir(exist_ok=True)
    (made / "index.cpython-399.pyc").write_bytes(os.urandom(16))
    return place


def test_another_checkout_umask_and_python_cache_make_the_same_hash(
    asset: Path, checkout: Path, tmp_path: Path
) -> None:
    [name] = synthesized(copied(checkout, tmp_path / "elsewhere"), umask=0o077, context={})

    assert asset.name == f"asset.{name}"


def test_without_staging_the_files_outlive_the_synth(asset: Path, checkout: Path, tmp_path: Path) -> None:
    place = copied(checkout, tmp_path / "elsewhere")

    [(name, path)] = synthesized(place, umask=0o022, context={"aws:cdk:disable-asset-staging": True}).items()

    assert asset.name == f"asset.{name}"
    assert (path / "pipeline_reprocessing_handler" / "index.py").is_file()


SOURCES = sorted(Path(pipeline_reprocessing_handler.__file__).parents[1].glob("*/**/*.py"))


def significant(code: str) -> list[str]:
    """Every node and where it begins, without texts that stand alone."""
    tree = ast.parse(code)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and is_text(node.value)}
    return [
        f"{type(node).__name__} {getattr(node, 'lineno', '')} {getattr(node, 'col_offset', '')} {said(node)}"
        for node in ast.walk(tree)
        if id(node) not in alone and not (isinstance(node, ast.Expr) and is_text(node.value))
    ]


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def said(node: ast.AST) -> list[object]:
    return [value for _, value in ast.iter_fields(node) if isinstance(value, str | int | bytes)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: "/".join(path.parts[-2:]))
def test_code_without_comments_is_the_same_code_on_the_same_lines(source: Path) -> None:
    code = source.read_text(encoding="utf-8")

    stripped = without_comments(code)

    assert significant(stripped) == significant(code)
    assert stripped.count("\n") == code.count("\n")
    tokens = tokenize.generate_tokens(io.StringIO(stripped).readline)
    assert tokenize.COMMENT not in {token.type for token in tokens}


def test_comments_and_docstrings_are_left_out_and_texts_are_not() -> None:
    code = (
        '"""What it is."""\n'
        "from __future__ import annotations\n"
        "text = 'a # b'  # why\n"
        "def say(word: str) -> str:\n"
        '    """Says\n'
        "\n"
        '    it."""\n'
        "    # and how\n"
        "    return f'{word} # {text}'\n"
        "def done() -> None:\n"
        "    'Does nothing.'\n"
        "class Nothing:\n"
        "    '''Is nothing.'''\n"
    )

    assert without_comments(code) == (
        "\n"
        "from __future__ import annotations\n"
        "text = 'a # b'\n"
        "def say(word: str) -> str:\n"
        "\n"
        "\n"
        "\n"
        "\n"
        "    return f'{word} # {text}'\n"
        "def done() -> None:\n"
        '    "-"\n'
        "class Nothing:\n"
        '    "-"\n'
    )
