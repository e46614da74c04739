"""The before/after picture."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # no screen is needed

from matplotlib import pyplot as plt


def draw(before: Mapping[str, float], after: Mapping[str, float], path: Path) -> None:
    """Draws the data store as it was and as it is, one above the other, into a PNG file."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(10, 6), sharex=True, layout="constrained")
    for axes, values, title, unit, colour in (
        (above, before, "before: as the station sent it, broken sensor included", "°F", "tab:red"),
        (below, after, "after: reprocessed by the deploy that changed the pipeline", "°C", "tab:blue"),
    ):
        times = [datetime.fromisoformat(at) for at in sorted(values)]
        axes.plot(times, [values[at] for at in sorted(values)], linewidth=0.6, color=colour)
        axes.set_title(f"{title} ({len(values):,} rows)", loc="left", fontsize=10)
        axes.set_ylabel(unit)
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
