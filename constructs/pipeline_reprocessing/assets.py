"""Code for Lambda, copied at synth from the packages installed beside this one: no pip, no Docker, no network."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from aws_cdk import Stage
from constructs import Construct

_WITHOUT_STAGING = "aws:cdk:disable-asset-staging"
"""CDK's context key with which assets are taken from where they are, after synth has ended."""
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
    return _copied(Path(stage.asset_outdir if stage else "cdk.out", name), packages)


@cache
def _temporary(packages: tuple[str, ...]) -> Path:
    """The folder for CDK to copy from, once in a process."""
    folder = Path(tempfile.mkdtemp(prefix="pipeline-reprocessing-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return _copied(folder, packages)


def _copied(folder: Path, packages: tuple[str, ...]) -> Path:
    for package in packages:
        shutil.rmtree(folder / package, ignore_errors=True)
        shutil.copytree(_location(package), folder / package, ignore=_NOT_NEEDED, copy_function=_copy)
    return folder


def _copy(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    # Whatever the umask here: another user runs it in Lambda.
    Path(target).chmod(0o644)


def _location(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"'{package}' is not installed; run: pip install cdk-pipeline-reprocessing")
    return Path(spec.submodule_search_locations[0])
