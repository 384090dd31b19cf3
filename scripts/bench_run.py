"""Runs the rows on the stores, interleaved, and prints one table; see scripts/bench."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from scripts.bench_rows import FULL, MEMORY_GOAL, QUICK, ROWS, Bench, Goal, Row, Size
from scripts.bench_stores import STORES, Store
from scripts.bench_tree import write_tree

TMPFS_LEN_GIB = 20


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--quick", action="store_true", help="less work, each row once")
    parser.add_argument("--rows", help="names of rows, joined by commas")
    parser.add_argument("--rounds", type=int, help="how often each row is measured")
    parser.add_argument("--disk", type=Path, help="stores below this directory, not on a tmpfs")
    parser.add_argument("--json", type=Path, dest="json_path", help="write the figures there")
    parser.add_argument("--strict", action="store_true", help="fail if a goal is missed")
    return parser.parse_args()


@contextmanager
def place_of_stores(disk: Path | None) -> Iterator[Path]:
    """A directory for the stores: on a tmpfs of our own, or below `disk`."""
    if disk is not None:
        with tempfile.TemporaryDirectory(prefix="ecfs-bench.", dir=disk) as top:
            yield Path(top)
        return
    with tempfile.TemporaryDirectory(prefix="ecfs-bench.") as top:
        size = f"size={TMPFS_LEN_GIB}g"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "ecfs-bench", top], check=True)
        try:
            yield Path(top)
        finally:
            subprocess.run(["umount", top], check=True)


class Run:
    """One run: its stores and what was measured so far."""

    def __init__(self, stores: list[Store], bench_size: Size, archive: Path) -> None:
        self.stores = stores
        self.peaks: dict[str, int] = {}
        self.bench = Bench(bench_size, archive, self.note_memory)
        self.figures: dict[str, dict[str, list[float]]] = {}

    def note_memory(self, store: Store) -> None:
        """Remembers the most memory that a store's process ever had."""
        peak = store.peak_memory_len()
        if peak is not None:
            self.peaks[store.name] = max(peak, self.peaks.get(store.name, 0))

    def measure(self, row: Row) -> None:
        """All rounds of a row, the stores in turn within each."""
        rounds = 1 if row.once else self.bench.size.rounds
        for _ in range(rounds):
            for store in self.stores:
                if row.stores is None or store.name in row.stores:
                    tell(f"{row.name} on {store.name}")
                    figure = row.measure(store, self.bench)
                    self.figures.setdefault(row.name, {}).setdefault(store.name, []).append(figure)

    def median(self, row: Row) -> dict[str, float]:
        """The median of each store."""
        measured = self.figures.get(row.name, {})
        return {name: statistics.median(values) for name, values in measured.items()}


def tell(text: str) -> None:
    """One line of progress, on standard error."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def ratio(figures: dict[str, float], other: str) -> str:
    """ecfs over another store, as text."""
    if "ecfs" not in figures or not figures.get(other):
        return "-"
    return f"{figures['ecfs'] / figures[other]:.2f}"


def verdict(goal: Goal | None, figures: dict[str, float]) -> str:
    """The goal and whether it is met, as text."""
    if goal is None:
        return ""
    met = goal.is_met(figures)
    return f"{goal}  {'-' if met is None else 'yes' if met else 'NO'}"


def table(run: Run, rows: list[Row]) -> list[str]:
    """The lines of the table."""
    names = [store.name for store in STORES]
    others = [name for name in names if name != "ecfs"]
    head = ["row", "unit", *names, *(f"ecfs/{other}" for other in others), "goal"]
    cells = [head]
    for row in rows:
        figures = run.median(row)
        values = [f"{figures[name]:.4g}" if name in figures else "-" for name in names]
        ratios = [ratio(figures, other) for other in others]
        cells.append([row.title, row.unit, *values, *ratios, verdict(row.goal, figures)])
    memory = {name: peak / 1e6 for name, peak in run.peaks.items()}
    values = [f"{memory[name]:.4g}" if name in memory else "-" for name in names]
    dashes = ["-"] * len(others)
    cells.append(["most memory of a mount", "MB", *values, *dashes, verdict(MEMORY_GOAL, memory)])
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def document(run: Run, rows: list[Row], header: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, `ecfs.bench/1`."""
    return {
        "schema": "ecfs.bench/1",
        **header,
        "rows": {
            row.name: {
                "title": row.title,
                "unit": row.unit,
                "figures": run.figures.get(row.name, {}),
                "medians": run.median(row),
                "goal": str(row.goal) if row.goal else None,
                "met": row.goal.is_met(run.median(row)) if row.goal else None,
            }
            for row in rows
        },
        "memory_bytes": run.peaks,
    }


def machine(size: Size, place: str) -> dict[str, Any]:
    """Versions and the machine."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "processor": model,
        "place": place,
        "rounds": size.rounds,
        "versions": {store.name: store.version() for store in STORES},
    }


def chosen_rows(names: str | None) -> list[Row]:
    """The rows with these names, in the order of the table."""
    if names is None:
        return list(ROWS)
    wanted = set(names.split(","))
    unknown = wanted - {row.name for row in ROWS}
    if unknown:
        raise SystemExit(f"no such row: {', '.join(sorted(unknown))}")
    return [row for row in ROWS if row.name in wanted]


def main() -> int:
    """Measures, prints, writes."""
    options = arguments()
    rows = chosen_rows(options.rows)
    size: Size = QUICK if options.quick else FULL
    if options.rounds:
        size = Size(**{**vars(size), "rounds": options.rounds})
    header = machine(size, "tmpfs" if options.disk is None else str(options.disk))
    with place_of_stores(options.disk) as top, ExitStack() as stack:
        tell("making the archive of the tree")
        archive = top / "tree.tar"
        write_tree(archive, count=size.tree_count, total_len=size.tree_len)
        stores = [kind(top / kind.name) for kind in STORES]
        for store in stores:
            stack.callback(store.remove)
            store.make()
            store.mount()
        run = Run(stores, size, archive)
        for row in rows:
            run.measure(row)
    versions = ", ".join(header["versions"].values())
    print(f"{versions}; {header['cores']} cores of {header['processor']}; {header['place']}")
    print("\n".join(table(run, rows)))
    result = document(run, rows, header)
    if options.json_path is not None:
        options.json_path.write_text(json.dumps(result, indent=1) + "\n")
    missed = [name for name, row in result["rows"].items() if row["met"] is False]
    return 1 if options.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
