"""Campaigns on real mounts: one pool after another, by the next seed, while there is time."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

POOL_MINUTES = 6.0


class Tallied(Protocol):
    """Counts of what was done."""

    def to_json(self) -> dict[str, Any]:
        """For a summary."""


class Course(Protocol):
    """What is done to one pool."""

    @property
    def history(self) -> list[str]:
        """The last steps, to go with a finding."""

    @property
    def tally(self) -> Tallied:
        """What was done so far."""

    def run(self, *, minutes: float) -> None:
        """Raises what is wrong."""

    def clear(self) -> None:
        """Leave nothing mounted."""


def add_options(parser: argparse.ArgumentParser, name: str) -> None:
    """What `run_pools` is told."""
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1, help="of the first pool; the next has the "
                        "next one. Seeds that the summary has already are passed over")
    parser.add_argument("--out", type=Path, default=Path("campaign-results") / name)


def run_pools(name: str, options: argparse.Namespace, course_of: Callable[[Path, int], Course],
              told_of: Callable[[dict[str, Any]], str]) -> int:
    """Pools until the time is up or something is wrong; the exit status, 0 when nothing was.

    `course_of` makes the course of a pool below an empty directory, by a seed. `told_of` says in
    some words what the result of one pool, its tally and more, or the sum of them, counts.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "summary.json"
    summary: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {
        "campaign": name, "pools": []}
    pools: list[dict[str, Any]] = summary["pools"]
    seed = max([options.seed, *[pool["seed"] + 1 for pool in pools]])
    until = time.monotonic() + 60 * options.minutes
    failed = False
    while not failed and (left_s := until - time.monotonic()) > 0:
        result = _run(f"ecfs-{name}-", seed, min(POOL_MINUTES, left_s / 60), options.out, course_of)
        pools.append(result)
        path.write_text(json.dumps(summary, indent=1) + "\n")
        failed = bool(result["finding"])
        print(f"seed {seed}: {told_of(result)}, {result['seconds']:.0f} s"
              f"{', FAILED' if failed else ''}", flush=True)
        seed += 1
    findings_count = sum(bool(pool["finding"]) for pool in pools)
    minutes = sum(pool["seconds"] for pool in pools) / 60
    print(f"all: {len(pools)} pools, {told_of(_sum_of(pools))}, {minutes:.0f} minutes, "
          f"{findings_count} findings")
    return 1 if findings_count else 0


def _run(prefix: str, seed: int, minutes: float, out: Path,
         course_of: Callable[[Path, int], Course]) -> dict[str, Any]:
    """One pool; what is left of it stays in `out` when something is wrong."""
    base = Path(tempfile.mkdtemp(prefix=prefix, dir="/dev/shm"))
    began = time.monotonic()
    course = course_of(base, seed)
    finding = ""
    try:
        course.run(minutes=minutes)
    except Exception:
        finding = traceback.format_exc()
    finally:
        course.clear()
    if finding:
        kept = out / f"seed-{seed}"
        shutil.copytree(base, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run", "mnt"))
        (kept / "finding.txt").write_text("\n".join(course.history) + "\n" + finding)
        print(finding, file=sys.stderr)
    shutil.rmtree(base)
    return {"seed": seed, "commit": _commit(), "seconds": time.monotonic() - began,
            "finding": finding} | course.tally.to_json()


def _sum_of(pools: list[dict[str, Any]]) -> dict[str, Any]:
    """Numbers, and those in dictionaries, added up."""
    total: dict[str, Any] = {}
    for pool in pools:
        for key, value in pool.items():
            if isinstance(value, dict):
                known = total.setdefault(key, {})
                known |= {word: known.get(word, 0) + count for word, count in value.items()}
            elif isinstance(value, int | float):
                total[key] = total.get(key, 0) + value
    return total


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], check=False,
                          capture_output=True, text=True)
    return done.stdout.strip()
