"""The same app gives the same bytes wherever it is synthesized, and so replays nothing by itself."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

INTERPRETERS = [
    sys.executable,
    *(found for minor in range(11, 20) if (found := shutil.which(f"python3.{minor}"))),
]
IGNORED = shutil.ignore_patterns("__pycache__")


def works(interpreter: str) -> bool:
    """Whether it is no mere stub of a version that is not installed, and another version than this one."""
    asked = subprocess.run(
        [interpreter, "-c", "import sys; print(sys.version_info[:2])"],
        check=False,
        capture_output=True,
        text=True,
    )
    return asked.returncode == 0 and asked.stdout.strip() != str(sys.version_info[:2])


def assembly(checkout: Path, place: Path, interpreter: str, seed: str) -> dict[str, bytes]:
    """The templates of the example app by name, and the names of the assets, made in that place."""
    for folder in ("constructs", "lambda", "examples"):
        shutil.copytree(checkout / folder, place / folder, ignore=IGNORED)
    shutil.copy(checkout / "app.py", place)
    packages = [str(place / root) for root in ("constructs", "lambda")] + site.getsitepackages()
    environment = os.environ | {
        "CDK_OUTDIR": str(place / "cdk.out"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": os.pathsep.join(packages),
    }
    subprocess.run([interpreter, "app.py"], cwd=place, env=environment, check=True, capture_output=True)
    return {
        path.name: path.read_bytes() if path.suffix == ".json" else b""
        for path in sorted((place / "cdk.out").iterdir())
        if path.name.endswith(".template.json") or path.name.startswith("asset.")
    }


@pytest.fixture(scope="module")
def here(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return assembly(checkout, tmp_path_factory.mktemp("here"), sys.executable, "1")


def test_another_hash_seed_and_path_give_the_same_bytes(
    here: dict[str, bytes], checkout: Path, tmp_path: Path
) -> None:
    place = tmp_path / "far" / "away"
    place.mkdir(parents=True)

    there = assembly(checkout, place, sys.executable, "4242")

    assert len(here) > 3
    assert there == here


def test_every_other_python_on_the_path_gives_the_same_bytes(
    here: dict[str, bytes], checkout: Path, tmp_path: Path
) -> None:
    for interpreter in filter(works, INTERPRETERS):
        place = tmp_path / Path(interpreter).name
        place.mkdir()

        assert assembly(checkout, place, interpreter, "7") == here, interpreter
