"""Collects measurements by figure and peer, and prints medians, ratios and aims."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure must reach: `value of subject <= limit * value of reference`.

    With `reference` None, `limit` is in the figure's own unit. For figures where more is
    better (MB/s) the comparison turns round.
    """

    figure: str
    subject: str
    reference: str | None
    limit: float


class Figures:
    """All measurements of a run; `figure -> peer -> values`, one value a round."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._units: dict[str, str] = {}
        self._notes: list[str] = []

    def add(self, figure: str, peer: str, value: float, unit: str = "s") -> None:
        self._values[figure][peer].append(value)
        self._units[figure] = unit

    def note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    def median(self, figure: str, peer: str) -> float | None:
        values = self._values.get(figure, {}).get(peer)
        return statistics.median(values) if values else None

    def show(self, aims: list[Aim], console: Console) -> None:
        for figure, peers in self._values.items():
            table = Table(title=f"{figure} [{self._units[figure]}]", title_justify="left")
            for heading in ("", "median", "of the rounds", "times zarrfs"):
                table.add_column(heading, justify="left" if not heading else "right")
            ours = next((p for p in peers if p.startswith("zarrfs")), None)
            base = self.median(figure, ours) if ours else None
            for peer, values in peers.items():
                middle = statistics.median(values)
                times = f"{middle / base:.2f}" if base else ""
                shown = " ".join(f"{value:.3g}" for value in values)
                table.add_row(peer, f"{middle:.3g}", shown, times)
            console.print(table)
        for aim in aims:
            self._show_aim(aim, console)
        for text in self._notes:
            console.print(f"note: {text}", highlight=False)

    def _show_aim(self, aim: Aim, console: Console) -> None:
        value = self.median(aim.figure, aim.subject)
        base = 1.0 if aim.reference is None else self.median(aim.figure, aim.reference)
        if value is None or not base:
            return
        more_is_better = self._units[aim.figure].endswith("/s")
        reached = value >= aim.limit * base if more_is_better else value <= aim.limit * base
        sign = "at least" if more_is_better else "at most"
        than = f" x {aim.reference}" if aim.reference else f" {self._units[aim.figure]}"
        console.print(
            f"{'reached' if reached else 'MISSED '} {aim.figure}: {aim.subject} "
            f"{value / base:.2f} ({sign} {aim.limit:g}{than})",
            highlight=False,
        )

    def save(self, folder: Path) -> Path:
        """Keep the run as JSON, with the machine's kind and the date."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{time.strftime('%Y-%m-%d-%H%M')}.json"
        document = {
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine(),
            "units": self._units,
            "figures": self._values,
            "notes": self._notes,
        }
        path.write_text(json.dumps(document, indent=1) + "\n")
        return path


def machine() -> dict[str, str | int]:
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }
