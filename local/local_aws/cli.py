"""The real CDK CLI, run against the embedded AWS."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local_aws import processes
from local_aws.toolchain import Toolchain

_OPTIONS = {
    "deploy": ("--require-approval", "never", "--progress", "events"),
    "destroy": ("--force",),
}
"""What each command needs to ask nothing and to tell what happens."""


class CdkFailed(Exception):
    """The CLI ended with an error; the text ends with its last lines."""


@dataclass(frozen=True)
class CdkResult:
    """How a command of the CLI ended.

    Args:
        command: The command as it was given, without the options that are always added.
        exit_code: 0 for success.
        output: All that it printed, standard output and error in the order of printing.
    """

    command: tuple[str, ...]
    exit_code: int
    output: str

    @property
    def succeeded(self) -> bool:
        """Whether the CLI says so."""
        return self.exit_code == 0

    def check(self) -> "CdkResult":
        """Makes sure that the command succeeded, and gives itself.

        Raises:
            CdkFailed: The command did not succeed.
        """
        if not self.succeeded:
            last = "\n".join(self.output.splitlines()[-30:])
            raise CdkFailed(f"'cdk {' '.join(self.command)}' ended with {self.exit_code}:\n{last}")
        return self


def run(
    toolchain: Toolchain,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    output_directory: Path,
    app: str | None = None,
    on_output: Callable[[str], object] | None = None,
) -> CdkResult:
    """Runs one command of the CLI to its end; stops it, whole, when an exception comes in between.

    Args:
        toolchain: Where Node and the CLI are.
        command: Name of the command, then its arguments.
        environment: All of its environment variables.
        directory: Where it runs.
        output_directory: Where an app that is a command is synthesized to.
        app: The app: a command, or a folder with a synthesized one. Default: what `cdk.json` says.
        on_output: Called with each line as it comes, without its line end.
    """
    name, *arguments = command
    line = [str(toolchain.node), str(toolchain.cdk), name, *_OPTIONS.get(name, ()), *arguments]
    line += ["--no-notices", "--no-color", "--no-version-reporting"]
    if app is not None:
        line += ["--app", app]
    # The CLI refuses to write where it reads.
    if app is None or not (directory / app).is_dir():
        line += ["--output", str(output_directory)]
    process = subprocess.Popen(
        line,
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lines: list[str] = []
    with process:
        try:
            for raw in process.stdout or ():
                text = raw.rstrip("\n")
                lines.append(text)
                if on_output:
                    on_output(text)
            process.wait()
        finally:
            processes.stop(process)
    return CdkResult(tuple(command), process.returncode, "\n".join(lines))
