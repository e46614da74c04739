"""Where the pinned environments are that `make setup` made."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

_PROJECT = Path(__file__).parents[2]


class NotSetUp(Exception):
    """A part of the tool chain is missing."""


@dataclass(frozen=True)
class Toolchain:
    """The programs that the embedded AWS is made of, each in an environment of its own.

    Args:
        emulator_python: Python that has ministack.
        runtime_python: Python that has awslambdaric, and boto3 as the functions see it.
        app_python: Python that has aws-cdk-lib and this project: it runs CDK apps and the IoT Analytics server.
        node: The Node.js program, for the CLI and for jsii.
        cdk: The CDK CLI's script.
        model: Folder with the botocore data that describes IoT Analytics.
        jsii_cache: Folder where jsii keeps unpacked libraries; made when it is not there.
    """

    emulator_python: Path
    runtime_python: Path
    app_python: Path
    node: Path
    cdk: Path
    model: Path
    jsii_cache: Path

    @classmethod
    def of_project(cls) -> "Toolchain":
        """The tool chain of this checkout, or of the folder that `LOCAL_AWS_TOOLS` names.

        Raises:
            NotSetUp: Something is missing.
        """
        tools = Path(os.environ.get("LOCAL_AWS_TOOLS") or _PROJECT / ".local")
        found = cls(
            emulator_python=tools / "emulator/bin/python",
            runtime_python=tools / "runtime/bin/python",
            app_python=Path(sys.executable),
            node=Path(sys.executable).parent / "node",
            cdk=tools / "cdk/node_modules/aws-cdk/bin/cdk",
            model=tools / "botocore-1.42.50/botocore/data",
            jsii_cache=tools / "jsii-cache",
        )
        found.jsii_cache.mkdir(parents=True, exist_ok=True)
        missing = [str(path) for path in vars(found).values() if not path.exists()]
        if missing:
            raise NotSetUp(f"the embedded AWS is not set up, missing: {', '.join(missing)}; run 'make setup'")
        return found
