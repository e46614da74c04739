"""`python -m demo [--iot-analytics]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from demo.archive import Archive
from demo.iot_analytics import IotAnalytics
from demo.scenario import Scenario
from demo.story import Story, WentWrong
from local_aws import CdkFailed, LocalAws


def main() -> int:
    """Tells the story, and stops everything that it has started."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument(
        "--iot-analytics", action="store_true", help="on AWS IoT Analytics (default: on an archive in S3)"
    )
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="where the picture goes")
    options = parser.parse_args()
    console = Console()
    try:
        with console.status("starting an AWS on this machine"):
            aws = LocalAws.start()
        with aws:
            with console.status("bootstrapping it for CDK"):
                aws.bootstrap()
            scenario: Scenario = IotAnalytics(aws) if options.iot_analytics else Archive(aws)
            console.print(f"[bold]{scenario.title}[/]")
            Story(aws, scenario, console).tell(options.output / "before-after.png")
    except KeyboardInterrupt:
        console.print("stopped; nothing is left running")
        return 130
    except (WentWrong, CdkFailed) as problem:
        console.print(f"[red]{problem}[/]", highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
