"""A clean environment with the built wheel in it."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement


def _run(*command: str | Path, cwd: Path) -> None:
    ran = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command} failed:\n{ran.stdout}{ran.stderr}"


def _needed(requirements: list[str] | None, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """What the requirements of a distribution amount to, down to the last one, taken from this environment."""
    for requirement in map(Requirement, requirements or []):
        if requirement.name not in found and (requirement.marker is None or requirement.marker.evaluate()):
            installed = distribution(requirement.name)
            assert installed.version in requirement.specifier, f"{installed.version} is not {requirement}"
            found[requirement.name] = installed
            _needed(installed.requires, found)
    return found


def _link(installed: Distribution, site_packages: Path) -> None:
    """Makes a distribution of this environment one of another, without copying its hundreds of megabytes."""
    for top_level in {file.parts[0] for file in installed.files or [] if file.parts[0] != ".."}:
        link = site_packages / top_level
        if not link.exists():
            link.symlink_to(Path(str(installed.locate_file(top_level))).resolve())


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as people get it: built from the source distribution, which is built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, checkout, cwd=folder)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The interpreter of an environment that holds the wheel, what the wheel says it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    _run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    [site_packages] = folder.glob("lib/python3.*/site-packages")
    [metadata] = site_packages.glob("cdk_pipeline_reprocessing-*.dist-info")
    for installed in _needed(Distribution.at(metadata).requires, {}).values():
        _link(installed, site_packages)
    _run(python, "-m", "pip", "check", cwd=folder)
    # The app in the other environment needs Node as well.
    (python.parent / "node").symlink_to(Path(shutil.which("node") or "node"))
    yield python
    # Sessions of pytest are kept, a Node of 100 MB and the links into this environment need not be.
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def clean_environment(clean_python: Path) -> dict[str, str]:
    """Nothing of this process that could help another interpreter to find the checkout; HOME has jsii's cache."""
    return {"HOME": os.environ["HOME"], "PATH": str(clean_python.parent), "LANG": "C.UTF-8"}
