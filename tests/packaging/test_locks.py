"""Versions are locked: the same commands give the same environments, wherever the packages come from."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HASHED = ["requirements-dev.txt", "local/emulator.txt", "local/runtime.txt", "local/botocore-model.txt"]
LOCKS = ["requirements.txt", *HASHED]


def pins(lock: Path) -> dict[str, str]:
    """Name and version of all that a lock file names."""
    found = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;\\]+)", lock.read_text(), flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


@pytest.fixture
def project(checkout: Path) -> dict[str, list[str]]:
    """The requirements of the project and of its extras, by name of the extra."""
    table = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    return {"": table["dependencies"], **table["optional-dependencies"]}


@pytest.mark.parametrize("name", LOCKS)
def test_lock_names_no_place_to_fetch_from(checkout: Path, name: str) -> None:
    text = (checkout / name).read_text()

    assert not re.search(r"://|^--?(i|f|index|extra|find|trusted)", text, flags=re.MULTILINE)


def test_npm_lock_names_no_place_to_fetch_from(checkout: Path) -> None:
    packages = json.loads((checkout / "local/package-lock.json").read_text())["packages"]
    del packages[""]
    for package in packages.values():
        package.pop("funding", None)  # where to thank the authors

    assert [name for name, package in packages.items() if "integrity" not in package] == []
    assert "://" not in json.dumps(packages)


@pytest.mark.parametrize("name", HASHED)
def test_every_locked_version_has_its_hashes(checkout: Path, name: str) -> None:
    requirements = (checkout / name).read_text().replace("\\\n", " ").splitlines()

    assert requirements
    assert [line for line in requirements if "--hash=sha256:" not in line] == []


def test_environment_lock_satisfies_the_project(checkout: Path, project: dict[str, list[str]]) -> None:
    locked = pins(checkout / "requirements-dev.txt")

    for requirement in map(Requirement, [*project[""], *project["local"], *project["dev"]]):
        assert locked.get(canonicalize_name(requirement.name), "nothing") in requirement.specifier, (
            requirement
        )


def test_deploy_needs_a_part_of_the_same_versions(checkout: Path, project: dict[str, list[str]]) -> None:
    deploy = pins(checkout / "requirements.txt")

    assert {Requirement(requirement).name for requirement in project[""]} <= deploy.keys()
    assert deploy.items() <= pins(checkout / "requirements-dev.txt").items()


def test_build_backend_is_the_locked_one(checkout: Path) -> None:
    [backend] = tomllib.loads((checkout / "pyproject.toml").read_text())["build-system"]["requires"]

    assert backend == f"hatchling=={pins(checkout / 'requirements-dev.txt')['hatchling']}"


def test_source_roots_are_no_packages(checkout: Path) -> None:
    """`constructs/__init__.py` would shadow the package of that name on PyPI, and so end `import aws_cdk`."""
    roots = ["constructs", "lambda", "local", "tests/constructs"]

    assert [root for root in roots if (checkout / root / "__init__.py").exists()] == []
