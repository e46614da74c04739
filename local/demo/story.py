"""The story: deploy, feed a year, change the pipeline, deploy again, and see what became of the data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo import temperatures
from demo.picture import draw
from demo.scenario import Scenario
from local_aws import LocalAws

_EVENT = re.compile(r"\|\s*(?P<status>[A-Z_]+_(?:COMPLETE|IN_PROGRESS|FAILED))\s*\|\s*(?P<what>[^|]+\|[^|]+)")
_REASON = re.compile(r"\|\s*(?:CREATE|UPDATE)_FAILED\s*\|[^|]+\|\s*(?P<id>\S+)\s*(?P<reason>.*)")


class WentWrong(Exception):
    """The story did not go as it must."""


class Story:
    """Tells one scenario from beginning to end.

    Args:
        aws: The embedded AWS, bootstrapped.
        scenario: The pipeline of the story.
        console: Where to tell it.
    """

    def __init__(self, aws: LocalAws, scenario: Scenario, console: Console) -> None:
        self._aws = aws
        self._scenario = scenario
        self._console = console
        self._readings = temperatures.readings()

    def tell(self, picture: Path) -> None:
        """Runs through all chapters.

        Raises:
            WentWrong: Something is not as it must be; the text says what.
        """
        scenario = self._scenario
        self._deploy("1. Deploy the pipeline that stores temperatures as they come, in °F", "fahrenheit")
        self._feed(f"2. Feed it a year of hourly temperatures: {len(self._readings):,} messages")
        before = temperatures.by_time(scenario.rows())
        self._compare("the data store holds °F", before, temperatures.fahrenheit(self._readings))

        runs = scenario.runs()
        self._deploy("3. Change the pipeline (to °C, without impossible values) and deploy again", "celsius")
        self._tell(f"the deploy has reprocessed the year: run {scenario.runs()[-1]}")
        after = temperatures.by_time(scenario.rows())
        self._compare("the data store holds °C", after, temperatures.celsius(self._readings))
        if len(scenario.runs()) != len(runs) + 1:
            raise WentWrong(f"one run must have been started, got {scenario.runs()[len(runs) :]}")

        runs = scenario.runs()
        self._deploy("4. Deploy once more, with nothing changed", "celsius")
        self._expect_no_run(runs, "nothing was reprocessed")

        self._deploy_broken("5. Deploy a broken pipeline")
        self._compare(
            "after the rollback the data store is as it was", temperatures.by_time(scenario.rows()), after
        )

        with self._step("6. Destroy the stack"):
            self._aws.cdk("destroy", scenario.stack).check()

        draw(before, after, picture)
        self._show(before, after, picture)

    def _deploy(self, title: str, stage: str) -> None:
        with self._step(title) as says:
            self._aws.cdk(*self._command(stage), on_output=lambda line: says(_event(line))).check()

    def _deploy_broken(self, title: str) -> None:
        with self._step(title) as says:
            result = self._aws.cdk(*self._command("broken"), on_output=lambda line: says(_event(line)))
        if result.succeeded:
            raise WentWrong("the deploy of the broken pipeline must fail, and it succeeded")
        reason = next((match for line in result.output.splitlines() if (match := _REASON.search(line))), None)
        if reason is None:
            raise WentWrong(f"the failed deploy must give a reason:\n{result.output[-2000:]}")
        self._tell(f"[red]refused:[/] {reason['reason'].strip()}")
        stacks = self._aws.client("cloudformation").describe_stacks(StackName=self._scenario.stack)["Stacks"]
        if stacks[0]["StackStatus"] != "UPDATE_ROLLBACK_COMPLETE":
            raise WentWrong(f"the stack must have rolled back, got {stacks[0]['StackStatus']}")
        self._tell("the stack has rolled back")

    def _command(self, stage: str) -> tuple[str, ...]:
        return ("deploy", self._scenario.stack, "--context", f"stage={stage}")

    def _feed(self, title: str) -> None:
        with self._progress(bar=True) as progress:
            task = progress.add_task(title, total=len(self._readings), detail="")
            self._scenario.feed(self._readings, lambda sent: progress.update(task, completed=sent))

    def _compare(self, what: str, actual: Mapping[str, float], expected: Mapping[str, float]) -> None:
        if wrong := temperatures.differences(actual, expected):
            at = wrong[0]
            raise WentWrong(
                f"{len(wrong)} of {len(expected)} values differ, the first at {at}: "
                f"got {actual.get(at)}, must be {expected.get(at)}"
            )
        self._tell(f"{what}: {len(actual):,} rows, each equal to the value computed apart from it")

    def _expect_no_run(self, before: list[str], what: str) -> None:
        if self._scenario.runs() != before:
            raise WentWrong(f"no run must have been started, got {self._scenario.runs()[len(before) :]}")
        self._tell(what)

    def _show(self, before: Mapping[str, float], after: Mapping[str, float], picture: Path) -> None:
        table = Table("", "rows", "lowest", "highest", "mean")
        for name, unit, values in (("before", "°F", before), ("after", "°C", after)):
            low, high, mean = min(values.values()), max(values.values()), sum(values.values()) / len(values)
            table.add_row(
                name, f"{len(values):,}", f"{low:,.1f} {unit}", f"{high:.1f} {unit}", f"{mean:.1f} {unit}"
            )
        self._console.print(table)
        self._console.print(f"picture: {picture}")

    def _tell(self, text: str) -> None:
        self._console.print(f"   [green]✓[/] {text}", highlight=False)

    def _progress(self, *, bar: bool = False) -> Progress:
        columns = [SpinnerColumn(), TextColumn("[bold]{task.description}"), TimeElapsedColumn()]
        columns += [BarColumn()] if bar else []
        return Progress(*columns, TextColumn("[dim]{task.fields[detail]}"), console=self._console)

    @contextmanager
    def _step(self, title: str) -> Iterator[Callable[[str], None]]:
        with self._progress() as progress:
            task = progress.add_task(title, total=None, detail="")
            started = monotonic()
            yield lambda detail: progress.update(task, detail=detail) if detail else None
            progress.update(task, detail=f"{monotonic() - started:.0f} s")


def _event(line: str) -> str:
    match = _EVENT.search(line)
    return f"{match['status']} {' '.join(match['what'].split())}" if match else ""
