"""Runs the rows on the stores, interleaved, and prints one table; see scripts/bench."""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.bench_row import FULL, QUICK, Bench, Group, Row, Size, tell
from scripts.bench_rows import GROUPS, MEMORY_GOAL, QUICK_STORES, ROWS, STORES
from scripts.bench_stores import Store
from scripts.bench_table import Results, document, table

TMPFS_LEN_GIB = 20


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--quick", action="store_true", help="less work, each row once")
    parser.add_argument("--large", action="store_true", help="also the rows that take long")
    parser.add_argument("--rows", help="names of rows, joined by commas")
    parser.add_argument("--stores", help="names of stores, joined by commas")
    parser.add_argument("--rounds", type=int, help="how often each row is measured")
    parser.add_argument("--disk", type=Path, help="stores below this directory, not on a tmpfs")
    parser.add_argument("--json", type=Path, dest="json_path", help="write the figures there")
    parser.add_argument("--strict", action="store_true", help="fail if a goal is missed")
    return parser.parse_args()


def _names(given: str, known: list[str], what: str) -> set[str]:
    """The names in `given`; ends the program if one of them is not known."""
    names = set(given.split(","))
    unknown = names - set(known)
    if unknown:
        raise SystemExit(
            f"no such {what}: {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    return names


def chosen_rows(given: str | None, *, quick: bool, large: bool) -> list[Row]:
    """The rows with these names, in the order of the table."""
    if given is None:
        return [
            row
            for group in GROUPS
            if (large or not group.large) and (group.quick or not quick)
            for row in group.rows
        ]
    names = _names(given, [row.name for row in ROWS], "row")
    return [row for row in ROWS if row.name in names]


def chosen_stores(given: str | None, *, quick: bool) -> list[type[Store]]:
    """The stores with these names, in the order of the table."""
    if given is None:
        return [store for store in STORES if not quick or store.name in QUICK_STORES]
    names = _names(given, [store.name for store in STORES], "store")
    return [store for store in STORES if store.name in names]


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
    """One run over stores that are made and not mounted; a store is mounted in its turn only."""

    def __init__(self, stores: list[Store], bench: Bench, results: Results) -> None:
        self._stores = stores
        self._bench = bench
        self._results = results

    def measure(self, group: Group) -> None:
        """All rounds of a group, the stores in turn within each."""
        names = [row.name for row in group.rows if row.name in self._bench.wanted]
        if not names:
            return
        for number in range(1 if group.once else self._bench.size.rounds):
            for store in self._stores:
                if group.stores is None or store.name in group.stores:
                    tell(f"{' '.join(names)} on {store.name}, round {number + 1}")
                    self._measure_on(store, group, names)

    def _measure_on(self, store: Store, group: Group, names: list[str]) -> None:
        """A store that fails loses those rows that have no figure yet, and is made anew."""
        missing = set(names)
        if any(store.name in self._results.failures.get(name, {}) for name in names):
            return
        try:
            store.unmount()
            store.mount()
            with closing(group.measure(store, self._bench)) as figures:  # type: ignore[type-var]
                for name, figure in figures:
                    if name in missing:
                        self._results.add(name, store.name, figure)
                        missing.remove(name)
                    if not missing:
                        break
            store.unmount()
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            reason = str(_first(error))
            tell(f"{store.name} fails: {reason}")
            for name in missing:
                self._results.failures.setdefault(name, {})[store.name] = reason
            store.remove()
            store.make()


def _first(error: Exception) -> Exception:
    """The error that others followed, while files were taken away."""
    while isinstance(error.__context__, Exception):
        error = error.__context__
    return error


def machine(size: Size, place: str, stores: list[type[Store]]) -> dict[str, Any]:
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
        "memory_bytes_of_machine": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": f"Linux {os.uname().release}",
        "python": platform.python_version(),
        "place": place,
        "rounds": size.rounds,
        "versions": {store.name: store.version() for store in stores},
    }


def measure(options: argparse.Namespace, rows: list[Row], kinds: list[type[Store]],
            size: Size) -> Results:
    """The whole run; takes everything away that it made."""
    results = Results(disk=options.disk is not None)
    with place_of_stores(options.disk) as top, ExitStack() as stack:
        bench = Bench(size, top, frozenset(row.name for row in rows),
                      lambda store: results.note_peak(store.name, store.peak_memory_len()))
        stores = [kind(top / kind.name) for kind in kinds]
        for store in stores:
            stack.callback(store.remove)
            store.make()
        run = Run(stores, bench, results)
        for group in GROUPS:
            run.measure(group)
    return results


def main() -> int:
    """Measures, prints, writes."""
    # Stores are unmounted and taken away then as well.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    options = arguments()
    rows = chosen_rows(options.rows, quick=options.quick, large=options.large)
    kinds = chosen_stores(options.stores, quick=options.quick)
    size = QUICK if options.quick else FULL
    if options.rounds:
        size = replace(size, rounds=options.rounds)
    header = machine(size, "tmpfs" if options.disk is None else str(options.disk), kinds)
    results = measure(options, rows, kinds, size)
    print(", ".join(header["versions"].values()))
    print(f"{header['kernel']}, {header['cores']} cores of {header['processor']}, "
          f"{header['memory_bytes_of_machine'] / 1e9:.0f} GB, Python {header['python']}; "
          f"{header['place']}, {size.rounds} rounds; {header['time']}")
    print("\n".join(table(results, rows, [kind.name for kind in kinds], [MEMORY_GOAL])))
    result = document(results, rows, header)
    if options.json_path is not None:
        options.json_path.write_text(json.dumps(result, indent=1) + "\n")
    missed = [row for row in result["rows"].values()
              if any(goal["met"] is False for goal in row["goals"])]
    return 1 if options.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
