"""Many worlds: in several processes, for a time, resumable, with what they covered."""

import json
import multiprocessing
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from ecfs.testing.simulation.determinism import HASH_SEED
from ecfs.testing.simulation.plans import draw
from ecfs.testing.simulation.running import Outcome, run_plan
from ecfs.testing.simulation.scripts import to_json, to_text
from ecfs.testing.simulation.shrinking import kind_of, shrink

WORLD_DEADLINE_S = 180
SHRINK_S = 60.0
FAILURES_SHRUNK_MAX = 8
WORLDS_PER_TASK = 4


class Stuck(Exception):
    """A world takes longer than any should, in real time."""


@dataclass(slots=True)
class Summary:
    """What a swarm has come to so far. `failures` by seed."""

    commit: str
    seeds: list[int]
    worlds_count: int = 0
    calls_count: int = 0
    seals_count: int = 0
    cpu_s: float = 0.0
    virtual_s: float = 0.0
    features: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, record: dict[str, Any]) -> None:
        """One more world, as `record_of` tells of it."""
        self.worlds_count += 1
        self.calls_count += record["calls"]
        self.seals_count += record["seals"]
        self.cpu_s += record["cpu_s"]
        self.virtual_s += record["virtual_s"]
        self.features.update(record["features"])
        self.counts.update(record["counts"])
        if record["failure"]:
            self.failures[record["seed"]] = record["failure"]

    def to_json(self) -> dict[str, Any]:
        """What is written down."""
        return {
            "campaign": "simulation", "commit": self.commit, "seeds": self.seeds,
            "worlds": self.worlds_count, "calls_of_targets": self.calls_count,
            "seals": self.seals_count, "cpu_seconds": round(self.cpu_s, 1),
            "simulated_seconds": round(self.virtual_s), "features": dict(sorted(
                self.features.items())), "counts": dict(sorted(self.counts.items())),
            "findings": {str(seed): text for seed, text in sorted(self.failures.items())}}

    def table(self) -> str:
        """A short account."""
        mean_s = self.cpu_s / max(1, self.worlds_count)
        lines = [f"{self.worlds_count} worlds, {self.calls_count} calls of targets, "
                 f"{self.seals_count} seals, {self.virtual_s / 3600:.0f} simulated hours, "
                 f"{mean_s:.2f} s of CPU each"]
        for title, counts in (("drawn", self.features), ("met", self.counts)):
            lines.append(f"{title}:")
            lines += [f"  {count:>9} {name}" for name, count in sorted(counts.items())]
        lines += [f"FAILED seed {seed}: {text[:300]}"
                  for seed, text in sorted(self.failures.items())]
        kinds = Counter(map(kind_of, self.failures.values()))
        lines += [f"  {count:>9} times {kind}" for kind, count in kinds.most_common()]
        return "\n".join(lines)


def run_seed(seed: int, folder: Path, *, keep_lines: bool = False) -> Outcome:
    """The world of a seed."""
    return run_plan(draw(seed), folder, keep_lines=keep_lines)


def record_of(outcome: Outcome) -> dict[str, Any]:
    """A world in one line of the log of a swarm."""
    return {"seed": outcome.seed, "digest": outcome.digest, "failure": outcome.failure,
            "features": Counter(outcome.features), "counts": outcome.counts,
            "calls": outcome.calls_count, "seals": outcome.seals_count,
            "cpu_s": round(outcome.cpu_s, 4), "virtual_s": round(outcome.virtual_s, 1)}


def run_swarm(seeds: range, *, minutes: float, jobs: int, out: Path, folder: Path) -> Summary:
    """Run all worlds of these seeds that `out` has no result of, as far as the time goes."""
    out.mkdir(parents=True, exist_ok=True)
    commit = commit_now()
    log = out / f"worlds-{commit[:12]}.jsonl"
    summary = Summary(commit, [seeds.start, seeds.stop])
    done = set()
    for record in _records(log):
        if record["seed"] in seeds and record["seed"] not in done:
            done.add(record["seed"])
            summary.add(record)
    until_s = time.monotonic() + minutes * 60
    todo = [seed for seed in seeds if seed not in done]
    with log.open("a", encoding="utf-8") as file:
        for record in _run_all(todo, jobs, folder, until_s):
            file.write(json.dumps(record) + "\n")
            file.flush()
            summary.add(record)
            if record["failure"]:
                print(f"seed {record['seed']}: {record['failure'][:300]}", flush=True)
    _write_failures(summary, out, folder)
    (out / "summary.json").write_text(json.dumps(summary.to_json(), indent=1), encoding="utf-8")
    return summary


def _run_all(todo: list[int], jobs: int, folder: Path,
             until_s: float) -> Iterator[dict[str, Any]]:
    os.environ["PYTHONHASHSEED"] = HASH_SEED
    work = [(seed, str(folder)) for seed in todo]
    if jobs == 1:
        for item in work:
            if time.monotonic() > until_s:
                return
            yield _run_one(item)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=250) as pool:
        for record in pool.imap_unordered(_run_one, work, chunksize=WORLDS_PER_TASK):
            yield record
            if time.monotonic() > until_s:
                pool.terminate()
                return


def _run_one(item: tuple[int, str]) -> dict[str, Any]:
    seed, folder = item
    try:
        with _deadline():
            return record_of(run_seed(seed, Path(folder)))
    except Stuck:
        return {"seed": seed, "digest": "", "features": {}, "counts": {}, "calls": 0, "seals": 0,
                "cpu_s": WORLD_DEADLINE_S, "virtual_s": 0.0,
                "failure": f"Stuck: no end after {WORLD_DEADLINE_S} s of real time"}


@contextmanager
def _deadline() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Stuck

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(WORLD_DEADLINE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _write_failures(summary: Summary, out: Path, folder: Path) -> None:
    """A short script for each kind of failure, one of each."""
    shown: set[str] = set()
    for seed, failure in sorted(summary.failures.items()):
        kind = kind_of(failure)
        path = out / f"failure-{seed}.json"
        if kind in shown or path.exists() or len(shown) >= FAILURES_SHRUNK_MAX:
            continue
        shown.add(kind)
        write_failure(seed, failure, path, folder)


def write_failure(seed: int, failure: str, path: Path, folder: Path) -> None:
    """Shrink a failing seed; keep it as JSON and, beside it, as text."""
    plan = shrink(draw(seed), failure, lambda plan: run_plan(plan, folder).failure,
                  seconds=SHRINK_S)
    path.write_text(to_json(plan), encoding="utf-8")
    after = run_plan(plan, folder).failure
    path.with_suffix(".txt").write_text(f"{failure}\n\nshrunk: {after}\n{to_text(plan)}\n",
                                        encoding="utf-8")


def _records(log: Path) -> Iterable[dict[str, Any]]:
    if log.exists():
        with log.open(encoding="utf-8") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except ValueError:
                    # The last line of a run that was killed.
                    continue


def commit_now() -> str:
    """The commit of the tree, `-dirty` behind it where it was changed."""
    return subprocess.run(["git", "describe", "--always", "--abbrev=40", "--dirty"],
                          cwd=Path(__file__).parent, capture_output=True, text=True,
                          check=True).stdout.strip()
