"""A year of real temperatures, what a correct pipeline makes of them, and how the two compare.

The data: the table `seattle-temps` of the PyPI package `vega_datasets`, hourly normals of Seattle in degrees
Fahrenheit, 8,759 rows for 2010. The station in the story also sends an impossible value at the start of each month.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import vega_datasets

YEAR_START = datetime(2010, 1, 1, tzinfo=UTC)
YEAR_END = datetime(2011, 1, 1, tzinfo=UTC)
IMPOSSIBLE = 185.0
"""What the station sends after its sensor lost power (85 °C, which such sensors start from), half past midnight on the first of each month."""


@dataclass(frozen=True)
class Reading:
    """One message of the station."""

    at: datetime
    fahrenheit: float

    @property
    def message(self) -> dict[str, Any]:
        """The message as the station sends it."""
        return {"time": _text(self.at), "temp": self.fahrenheit}


def readings() -> list[Reading]:
    """The year, in the order of time: the real rows, and twelve impossible ones."""
    table = Path(vega_datasets.__file__).parent / "_data/seattle-temps.csv"
    with table.open(newline="") as rows:
        real = [
            Reading(datetime.strptime(row["date"], "%Y/%m/%d %H:%M").replace(tzinfo=UTC), float(row["temp"]))
            for row in csv.DictReader(rows)
        ]
    broken = [Reading(datetime(2010, month, 1, 0, 30, tzinfo=UTC), IMPOSSIBLE) for month in range(1, 13)]
    return sorted(real + broken, key=lambda reading: reading.at)


def days(all_readings: Iterable[Reading]) -> Iterator[tuple[datetime, list[Reading]]]:
    """The readings by UTC day."""
    for day, group in groupby(all_readings, key=lambda reading: reading.at.date()):
        yield datetime(day.year, day.month, day.day, tzinfo=UTC), list(group)


def celsius(all_readings: Iterable[Reading]) -> dict[str, float]:
    """What the corrected pipeline must give, by time: computed here in exact fractions, apart from any pipeline."""
    return {
        _text(reading.at): float((Fraction(str(reading.fahrenheit)) - 32) * Fraction(5, 9))
        for reading in all_readings
        if reading.fahrenheit != IMPOSSIBLE
    }


def fahrenheit(all_readings: Iterable[Reading]) -> dict[str, float]:
    """What the first pipeline gives, by time: everything as it came."""
    return {_text(reading.at): reading.fahrenheit for reading in all_readings}


def by_time(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The rows of a data store, by time.

    Raises:
        ValueError: Two rows are of one time: something was processed twice.
    """
    values: dict[str, float] = {}
    for row in rows:
        if row["time"] in values:
            raise ValueError(f"the data store must have one row for {row['time']}, got two")
        values[row["time"]] = float(row["temp"])
    return values


def differences(actual: Mapping[str, float], expected: Mapping[str, float]) -> list[str]:
    """The times whose values differ by more than rounding, or that only one side has."""
    return [
        at
        for at in sorted({*actual, *expected})
        if at not in actual or at not in expected or not math.isclose(actual[at], expected[at], abs_tol=1e-9)
    ]


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
