"""The table of a run, and the same as JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.bench_goals import Goal, best_peer
from scripts.bench_row import Row

SCHEMA = "ecfs.bench/1"


@dataclass
class Results:
    """What was measured: figures of each round by row and store, peaks of memory by store."""

    disk: bool = False
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)

    def add(self, row: str, store: str, figure: float) -> None:
        """One round's."""
        self.figures.setdefault(row, {}).setdefault(store, []).append(figure)

    def note_peak(self, store: str, peak: int | None) -> None:
        """The highest counts."""
        if peak is not None:
            self.peaks[store] = max(peak, self.peaks.get(store, 0))

    def medians(self, row: Row) -> dict[str, float]:
        """The median of each store; a store with a failure in this row has none."""
        return {
            store: statistics.median(values)
            for store, values in self.figures.get(row.name, {}).items()
            if store not in self.failures.get(row.name, {})
        }

    def goals(self, row: Row) -> tuple[Goal, ...]:
        """Those that count."""
        return row.goals.of(disk=self.disk)


def verdict(goals: Sequence[Goal], figures: dict[str, float]) -> str:
    """The goals and whether they are met, as text."""
    words = {None: "-", True: "yes", False: "NO"}
    return "; ".join(f"{goal}: {words[goal.is_met(figures)]}" for goal in goals)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _ratio(figures: dict[str, float], other: float | None) -> str:
    """ecfs over another figure."""
    if "ecfs" not in figures or not other:
        return "-"
    return f"{figures['ecfs'] / other:.2f}"


def _is_rate(row: Row) -> bool:
    return row.unit.endswith("/s")


def table(results: Results, rows: Sequence[Row], stores: Sequence[str],
          memory_goals: Sequence[Goal]) -> list[str]:
    """The lines of the table."""
    head = ["row", "unit", *stores, "/peer", "/plain", "goal"]
    cells = [head]
    for row in rows:
        figures = results.medians(row)
        peer = best_peer(figures, highest=_is_rate(row))
        cells.append([
            row.title, row.unit, *(_number(figures.get(store)) for store in stores),
            _ratio(figures, peer), _ratio(figures, figures.get("plain")),
            verdict(results.goals(row), figures),
        ])  # fmt: skip
    memory = {store: peak / 1e6 for store, peak in results.peaks.items()}
    cells.append(["most memory of a mount", "MB", *(_number(memory.get(name)) for name in stores),
                  "-", "-", verdict(memory_goals, memory)])  # fmt: skip
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return ["  ".join(_aligned(line, widths)).rstrip() for line in cells]


def _aligned(line: list[str], widths: list[int]) -> list[str]:
    """Words at the left, figures at the right."""
    return [
        cell.ljust(width) if column in (0, 1, len(line) - 1) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]


def document(results: Results, rows: Sequence[Row], header: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, `ecfs.bench/1`."""
    return {
        "schema": SCHEMA,
        **header,
        "rows": {row.name: _row_document(results, row) for row in rows},
        "memory_bytes": results.peaks,
    }


def _row_document(results: Results, row: Row) -> dict[str, Any]:
    """`goal` and `met` are those of ecfs itself; `goals` has all."""
    figures = results.medians(row)
    goals = results.goals(row)
    own = next((goal for goal in goals if goal.whose == "ecfs"), None)
    return {
        "title": row.title,
        "unit": row.unit,
        "figures": results.figures.get(row.name, {}),
        "medians": figures,
        "failures": results.failures.get(row.name, {}),
        "goal": str(own) if own else None,
        "met": own.is_met(figures) if own else None,
        "goals": [{"goal": str(goal), "met": goal.is_met(figures)} for goal in goals],
    }
