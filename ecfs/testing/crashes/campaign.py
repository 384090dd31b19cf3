"""A campaign of crash states: units in turn, each state judged once, counted, resumable."""

import json
import os
import random
import subprocess
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blake3 import blake3

from ecfs.testing.crashes.enumerating import DIGEST_LEN, Enumerator, State
from ecfs.testing.crashes.judging import Chosen, Judge, away_choices
from ecfs.testing.crashes.scenarios import Run
from ecfs.testing.crashes.units import Recordings, Unit, following, units

PER_BATCH = 7
RECOVERY_EVERY = 9
HEALED_OF = 14
KEPT_OF = 4
FINDINGS_MAX = 40


@dataclass(slots=True)
class Totals:
    """What a campaign did so far; what its summary says."""

    states: int = 0
    mounts_with_targets_away: int = 0
    targets_returned: int = 0
    kept_checks: int = 0
    healed_checks: int = 0
    repeated_states: int = 0
    workloads: int = 0
    crash_points: int = 0
    dropped_subsets: int = 0
    states_with_dropped_changes: int = 0
    seconds: float = 0.0
    by_phase: Counter[str] = field(default_factory=Counter)
    by_scenario: Counter[str] = field(default_factory=Counter)
    by_size: Counter[str] = field(default_factory=Counter)
    workloads_by_length: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, str]] = field(default_factory=list)


class Campaign:
    """One campaign over a folder that remembers it. `seed` decides the order and the samples,
    `per_batch` how many states a batch of calls gives in each turn."""

    def __init__(self, seed: int, folder: Path | None, *, per_batch: int = PER_BATCH) -> None:
        self.seed = seed
        self.per_batch = per_batch
        self.folder = folder
        self.totals = Totals()
        self.recordings = Recordings()
        self._seen: set[bytes] = set()
        self._judged: set[bytes] = set()
        self._fresh: list[bytes] = []
        self.turn = 0
        self.position = 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._resume(folder)

    async def run(self, seconds: float, *, units_max: int | None = None) -> None:
        """Go on until the time is over."""
        began = time.monotonic()
        spent = self.totals.seconds
        count = 0
        while time.monotonic() - began < seconds:
            todo = list(units(self.seed))
            while self.position < len(todo):
                unit = todo[self.position]
                await self.unit(unit)
                if self.position % RECOVERY_EVERY == self.turn % RECOVERY_EVERY:
                    await self._recovery_of(unit)
                self.position += 1
                count += 1
                self.totals.seconds = spent + time.monotonic() - began
                self._save()
                if (time.monotonic() - began >= seconds or count == units_max
                        or len(self.totals.findings) >= FINDINGS_MAX):
                    return
            self.turn, self.position = self.turn + 1, 0

    async def unit(self, unit: Unit, *, findings_max: int = FINDINGS_MAX) -> None:
        """All states of this turn of one unit, until too much is found."""
        run = await self.recordings.run(unit)
        enumerator = Enumerator(run, unit.name)
        judge = Judge(await self.recordings.pool(unit.size))
        # Until the operations begin, every plain run is the same.
        skipped = frozenset({"mount"}) if unit.scenario == "plain" and (
            self.position % 50) else frozenset[str]()
        for state in enumerator.states(self.per_batch, self.turn, skipped=skipped):
            key = blake3(state.digest + run.oracle_at(state.batch)[1]).digest(DIGEST_LEN)
            if key not in self._judged:
                self._judged.add(key)
                await self._judge(unit, run, judge, state)
                if len(self.totals.findings) >= findings_max:
                    return
        if self.turn == 0:
            self.totals.workloads += 1
            self.totals.workloads_by_length[str(len(unit.words))] += 1
        self.totals.crash_points += enumerator.counts.crash_points
        self.totals.dropped_subsets += enumerator.counts.dropped_subsets

    async def _recovery_of(self, unit: Unit) -> None:
        """Crash in the recovery from one of the unit's crashes."""
        run = await self.recordings.run(unit)
        enumerator = Enumerator(run, unit.name)
        found = [state for state in enumerator.states(2, self.turn, skipped=frozenset({"mount"}))]
        if not found:
            return
        source = random.Random(f"{unit.name}/{self.turn}")
        state = source.choice(found)
        await self.unit(following("recovery", unit, state.batch, state.picks))
        batch = source.choice(found).batch
        lens = [len(run.log.batches[batch].entries.get(path, ())) for path in run.log.begin]
        await self.unit(following(
            "killed", unit, batch, tuple(source.randint(0, length) for length in lens)))

    async def _judge(self, unit: Unit, run: Run, judge: Judge, state: State) -> None:
        totals = self.totals
        chosen, anchor = choices(await self.recordings.pool(unit.size), run, state)
        try:
            await judge.judge(state.images, run.oracle_at(state.batch)[0],
                              run.anchors_at(state.batch)[anchor], chosen)
        except Exception as group:
            error = single(group)
            totals.findings.append({
                "case": case_name(unit, state), "error": f"{type(error).__name__}: {error}",
                "phase": state.phase,
                "trace": "".join(traceback.format_exception(error))[-3000:]})
        if state.digest in self._seen:
            totals.repeated_states += 1
            return
        self._seen.add(state.digest)
        self._fresh.append(state.digest)
        totals.states += 1
        totals.mounts_with_targets_away += bool(chosen.away)
        totals.targets_returned += chosen.returns
        totals.kept_checks += chosen.keeps
        totals.healed_checks += chosen.heals
        totals.states_with_dropped_changes += state.dropped_count > 0
        totals.by_phase[state.phase] += 1
        totals.by_scenario[unit.scenario] += 1
        totals.by_size[unit.size] += 1

    # -- what is remembered ------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """For people and programs."""
        totals = self.totals
        return {
            "campaign": "crashes", "commit": commit(), "seed": self.seed, "turn": self.turn,
            "position": self.position, "states": totals.states, "workloads": totals.workloads,
            "workloads_by_length": dict(totals.workloads_by_length),
            "crash_points": totals.crash_points, "dropped_subsets": totals.dropped_subsets,
            "states_with_dropped_changes": totals.states_with_dropped_changes,
            "mounts_with_targets_away": totals.mounts_with_targets_away,
            "targets_returned": totals.targets_returned,
            "kept_checks": totals.kept_checks, "healed_checks": totals.healed_checks,
            "repeated_states": totals.repeated_states, "by_phase": dict(totals.by_phase),
            "by_scenario": dict(totals.by_scenario), "by_size": dict(totals.by_size),
            "seconds": round(totals.seconds, 1), "findings": totals.findings}

    def _save(self) -> None:
        if self.folder is None:
            return
        with open(self.folder / "digests", "ab") as file:
            file.write(b"".join(self._fresh))
        self._fresh.clear()
        temporary = self.folder / "summary.tmp"
        temporary.write_text(json.dumps(self.summary(), indent=1), encoding="utf-8")
        os.replace(temporary, self.folder / "summary.json")

    def _resume(self, folder: Path) -> None:
        path = folder / "summary.json"
        if not path.exists():
            return
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["seed"] != self.seed:
            raise ValueError(f"{folder} holds a campaign of seed {told['seed']}")
        self.turn, self.position = told["turn"], told["position"]
        for name in ("states", "workloads", "crash_points", "dropped_subsets", "kept_checks",
                     "targets_returned", "healed_checks", "repeated_states",
                     "states_with_dropped_changes",
                     "mounts_with_targets_away", "seconds", "findings"):
            setattr(self.totals, name, told[name])
        for name in ("by_phase", "by_scenario", "by_size", "workloads_by_length"):
            setattr(self.totals, name, Counter(told[name]))
        digests = (folder / "digests").read_bytes()
        self._seen = {digests[at : at + DIGEST_LEN] for at in range(0, len(digests), DIGEST_LEN)}


def choices(pool: Any, run: Run, state: State) -> tuple[Chosen, int]:
    """How a state is met, and which anchor the client has: its digest decides."""
    dice = iter(state.digest)
    suspects = run.suspects_at(state.batch)
    away = frozenset[str]()
    possible = away_choices(pool, suspects)
    if possible and next(dice) % 2:
        away = possible[next(dice) % len(possible)]
    keeps = next(dice) % KEPT_OF == 0
    away_then = frozenset[str]()
    returns = bool(away) and next(dice) % 4 == 0
    keeps = keeps or returns
    # Who has caught up lacks nothing any more.
    later = away_choices(pool, suspects if returns else suspects | away)
    if keeps and later and next(dice) % 2 == 0:
        away_then = later[next(dice) % len(later)]
    heals = next(dice) % HEALED_OF == 0
    anchors = len(run.anchors_at(state.batch))
    anchor = min(anchors - 1, (0, 0, 0, 1)[next(dice) % 4])
    return Chosen(away, returns, (2_000, 34_000)[next(dice) % 2], keeps, away_then, heals), anchor


def case_name(unit: Unit, state: State) -> str:
    """From which a state can be made again."""
    return f"{unit.name}#{state.batch}#{'.'.join(map(str, state.picks))}"


def single(error: BaseException) -> BaseException:
    """What is wrong, out of the groups that nurseries wrap it in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def commit() -> str:
    """The commit of this tree, as git tells it."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True,
                          text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"


def table(summary: dict[str, Any]) -> Iterator[str]:
    """A summary in lines."""
    for name in ("states", "workloads", "crash_points", "dropped_subsets",
                 "mounts_with_targets_away", "targets_returned", "kept_checks", "healed_checks",
                 "seconds"):
        yield f"{name.replace('_', ' '):28} {summary[name]}"
    for name, count in sorted(summary["by_phase"].items()):
        yield f"  {name:26} {count}"
    yield f"{'findings':28} {len(summary['findings'])}"
