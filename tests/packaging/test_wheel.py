"""The wheel is what people install: it must hold what the checkout holds, and do what it does."""

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

APP = """
import sys

import aws_cdk as cdk
from aws_cdk.aws_lambda import Function
from aws_cdk.aws_s3 import Bucket
from pipeline_reprocessing import (
    Archive, ArchivePipeline, Destination, MessageSelection, PipelineReprocessing, Transform
)

app = cdk.App(outdir=sys.argv[1])
stack = cdk.Stack(app, "Telemetry")
bucket = Bucket.from_bucket_name(stack, "Bucket", "telemetry")
function = Function.from_function_name(stack, "Function", "transform")
pipeline = ArchivePipeline(
    stack,
    "Pipeline",
    source=Archive.firehose(bucket, prefix="raw/"),
    transform=Transform.firehose(function),
    destination=Destination(bucket, prefix="clean/"),
)
PipelineReprocessing(stack, "Backfill", pipeline=pipeline, messages=MessageSelection.all())
app.synth()
"""


def synthesize(python: Path, folder: Path, environment: dict[str, str]) -> Path:
    """The cloud assembly that the small app makes when it lives in a folder and is run by an interpreter."""
    (folder / "app.py").write_text(APP)
    command: list[str | Path] = [python, "-P", "app.py", "cdk.out"]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return folder / "cdk.out"


def template(cloud_assembly: Path) -> object:
    return json.loads((cloud_assembly / "Telemetry.template.json").read_text())


def file_assets(cloud_assembly: Path) -> set[str]:
    manifest = json.loads((cloud_assembly / "Telemetry.assets.json").read_text())
    return {digest for digest, file in manifest["files"].items() if file["source"]["packaging"] == "zip"}


@pytest.fixture(scope="session")
def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_wheel_holds_the_library_the_handler_and_the_replay_and_nothing_else(names: set[str]) -> None:
    packages = {name.split("/")[0] for name in names}

    assert packages == {"pipeline_reprocessing", "pipeline_reprocessing_handler", "object_replay"}


def test_every_package_of_the_wheel_is_typed(names: set[str]) -> None:
    packages = {name.split("/")[0] for name in names}

    assert {f"{package}/py.typed" for package in packages} <= names


def test_wheel_holds_every_file_that_git_knows_of_its_packages(checkout: Path, names: set[str]) -> None:
    roots = ["constructs", "lambda"]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *roots],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("this is not a checkout of git")

    expected = {Path(name).relative_to(Path(name).parts[0]).as_posix() for name in listed.stdout.splitlines()}

    assert names == expected
    assert any(name.startswith("pipeline_reprocessing_handler/service_models/") for name in names)


@pytest.fixture(scope="session")
def installed(
    clean_python: Path, clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The cloud assembly that the small app makes with the installed wheel."""
    return synthesize(clean_python, tmp_path_factory.mktemp("installed"), clean_environment)


def test_wheel_and_checkout_synthesize_the_same_template_and_assets(
    installed: Path, clean_environment: dict[str, str], tmp_path: Path
) -> None:
    checkout = synthesize(Path(sys.executable), tmp_path, clean_environment)

    assert template(installed) == template(checkout)
    assert "Custom::PipelineReprocessing" in json.dumps(template(installed))
    assert file_assets(installed) == file_assets(checkout)
    assert len(file_assets(installed)) == 2, "the handler's, and that of the replay"


def test_the_library_comes_from_the_wheel_and_constructs_from_pypi(
    clean_python: Path, clean_environment: dict[str, str], checkout: Path, tmp_path: Path
) -> None:
    show = "import constructs, pipeline_reprocessing as p; print(p.__file__); print(constructs.Construct.__jsii_type__)"

    ran = subprocess.run(
        [clean_python, "-P", "-c", show],
        cwd=tmp_path,
        env=clean_environment,
        capture_output=True,
        text=True,
        check=True,
    )

    library, construct = ran.stdout.splitlines()
    assert Path(library).is_relative_to(clean_python.parents[1])
    assert not Path(library).is_relative_to(checkout)
    assert construct == "constructs.Construct"


def test_asset_holds_no_compiled_files(installed: Path) -> None:
    """Pip compiles what it installs: the hash would differ between interpreters."""
    assets = installed.glob("asset.*")

    files = [file.relative_to(asset) for asset in assets for file in asset.rglob("*") if file.is_file()]

    assert Path("pipeline_reprocessing_handler/index.py") in files
    assert Path("object_replay/index.py") in files
    assert Path("crhelper/__init__.py") in files
    assert not [file for file in files if file.suffix == ".pyc" or "__pycache__" in file.parts]
