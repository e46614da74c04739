"""Apps on the embedded AWS: deployed by the real CLI, and removed after the test."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_aws import CdkResult, LocalAws


@dataclass(frozen=True)
class App:
    """A CDK app with one stack, in a folder of its own.

    What varies between two deploys the app reads from environment variables: ``app.deploy(CELSIUS="yes")``.
    """

    aws: LocalAws
    folder: Path
    stack: str

    def cdk(self, command: str, *arguments: str, **environment: str) -> CdkResult:
        """Run a command of the CLI on the stack."""
        return self.aws.cdk(
            command,
            self.stack,
            *arguments,
            app="python app.py",
            directory=self.folder,
            environment=environment,
        )

    def deploy(self, *arguments: str, **environment: str) -> CdkResult:
        """Deploy, whether it succeeds or not."""
        return self.cdk("deploy", *arguments, **environment)

    def destroy(self, **environment: str) -> CdkResult:
        """Destroy, whether it succeeds or not."""
        return self.cdk("destroy", **environment)

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs of the stack, by their keys."""
        (stack,) = self.aws.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    @property
    def status(self) -> str:
        """The status of the stack; ``GONE`` when there is none."""
        cloudformation = self.aws.client("cloudformation")
        try:
            (stack,) = cloudformation.describe_stacks(StackName=self.stack)["Stacks"]
        except cloudformation.exceptions.ClientError:
            return "GONE"
        status: str = stack["StackStatus"]
        return status

    def physical_id(self, logical_id: str) -> str:
        """The physical id of a resource of the stack."""
        described = self.aws.client("cloudformation").describe_stack_resource(
            StackName=self.stack, LogicalResourceId=logical_id
        )
        found: str = described["StackResourceDetail"]["PhysicalResourceId"]
        return found


@pytest.fixture
def app(local_aws: LocalAws, tmp_path: Path) -> Iterator[Callable[[str, str], App]]:
    """Makes an app of its Python source and its stack's name; the stack is deleted after the test."""
    made: list[App] = []

    def make(source: str, stack: str) -> App:
        (tmp_path / "app.py").write_text(source, encoding="utf-8")
        made.append(App(local_aws, tmp_path, stack))
        return made[-1]

    yield make
    for app in made:
        if app.status != "GONE":
            # Not by the CLI, which would synthesize once more.
            local_aws.client("cloudformation").delete_stack(StackName=app.stack)
