"""All that a campaign goes through, each unit with a name from which it can be made again."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from ecfs.erasure import Geometry
from ecfs.testing.crashes.enumerating import Enumerator
from ecfs.testing.crashes.grammar import sampled_workloads, workloads
from ecfs.testing.crashes.pool import CrashPool
from ecfs.testing.crashes.scenarios import (
    Run,
    Start,
    after_absence,
    damaged,
    killed_at,
    of_words,
    record,
    recovering,
    with_checkpoints,
    with_compaction,
    with_mending,
    with_resilver,
    with_return,
)

SIZES = {"p3": (Geometry(2, 1), 3), "p4": (Geometry(2, 1), 4), "p6": (Geometry(4, 2), 6)}
"""The least pool with parity; the least whose quorum withstands a liar; the usual one."""

OF_THREE_COUNT = 240
SPECIAL_COUNT = 24
LARGE_EVERY = 6
SPECIALS = ("checkpoint", "compaction", "mending", "resilver", "stale", "return", "away")


@dataclass(frozen=True, slots=True)
class Unit:
    """One workload on one pool within one scenario. `first`: for a recovery, the batch and picks
    of the crash that it recovers from."""

    size: str
    scenario: str
    words: tuple[str, ...]
    first: str = ""

    @property
    def name(self) -> str:
        """Says all of it."""
        return "|".join([self.size, self.scenario, ",".join(self.words), self.first])

    @classmethod
    def named(cls, name: str) -> "Unit":
        """The unit with a name."""
        size, scenario, words, first = name.split("|")
        return cls(size, scenario, tuple(words.split(",")) if words else (), first)


def units(seed: int) -> Iterator[Unit]:
    """Every workload of one and two operations on both small pools, a sample of them on the large
    one, a sample of three operations, and scenarios with something going on beside them; in an
    order that a seed decides, so that a part of it is a fair sample."""
    found: list[Unit] = []
    short = [*workloads(1), *workloads(2)]
    for number, words in enumerate(short):
        found += [Unit(size, "plain", words) for size in ("p3", "p4")]
        if number % LARGE_EVERY == 0:
            found.append(Unit("p6", "plain", words))
    for number, words in enumerate(itertools.islice(
            sampled_workloads(3, f"three/{seed}"), OF_THREE_COUNT)):
        found.append(Unit(("p3", "p4", "p3", "p4", "p6")[number % 5], "plain", words))
    for scenario in SPECIALS:
        for number, words in enumerate(itertools.islice(
                sampled_workloads(2, f"{scenario}/{seed}"), SPECIAL_COUNT)):
            found.append(Unit(("p3", "p4", "p3", "p4", "p6")[number % 5], scenario, words))
    random.Random(seed).shuffle(found)
    return iter(found)


class Recordings:
    """Records units; pools are built once."""

    def __init__(self) -> None:
        self._pools: dict[str, CrashPool] = {}

    async def pool(self, size: str) -> CrashPool:
        """The pool of a size."""
        if size not in self._pools:
            pool = CrashPool(size, *SIZES[size])
            await pool.build()
            self._pools[size] = pool
        return self._pools[size]

    async def run(self, unit: Unit) -> Run:
        """Record a unit."""
        pool = await self.pool(unit.size)
        start = Start(pool.begin, pool.anchor, pool.contents)
        source = random.Random(unit.name)
        path = source.choice(pool.paths)
        if unit.first:
            return await self._after_crash(pool, unit)
        if unit.scenario == "checkpoint":
            script = with_checkpoints(unit.words)
        elif unit.scenario == "compaction":
            script = with_compaction(unit.words)
        elif unit.scenario == "mending":
            start, script = damaged(pool, start, unit.name), with_mending(unit.words)
        elif unit.scenario in ("resilver", "stale"):
            start = await after_absence(pool, start, unit.words, path,
                                        rolled_back=unit.scenario == "stale")
            script = with_resilver(())
        elif unit.scenario == "return":
            start = Start(start.images, start.anchor, start.contents,
                          suspects=frozenset({path}), away=frozenset({path}))
            script = with_return(path, pool.begin[path], unit.words)
        elif unit.scenario == "away":
            start = Start(start.images, start.anchor, start.contents,
                          suspects=frozenset({path}), away=frozenset({path}))
            script = of_words(unit.words)
        else:
            script = of_words(unit.words)
        return await record(pool, unit.name, start, script)

    async def _after_crash(self, pool: CrashPool, unit: Unit) -> Run:
        """The mount after a crash of another unit, or after a kill in it."""
        parent, at, picks = unit.first.replace(";", "|").rsplit("@", 2)
        run, batch = await self.run(Unit.named(parent)), int(at)
        if unit.scenario == "killed":
            start = killed_at(run, batch, picks_of(picks))
        else:
            state = Enumerator(run, parent).state(batch, picks_of(picks))
            start = Start(state.images, run.anchors_at(batch)[0], run.start.contents,
                          run.told_at(batch), run.suspects_at(batch))
        return await record(pool, unit.name, start, recovering(unit.words),
                            entropy=f"after {parent.count(';')}")


def following(scenario: str, unit: Unit, batch: int, picks: tuple[int, ...]) -> Unit:
    """The unit that goes on after a crash of another ("recovery"), or after a kill ("killed":
    `picks` are then how many entries of the batch each target had done)."""
    where = f"{unit.name.replace('|', ';')}@{batch}@{'.'.join(map(str, picks))}"
    return Unit(unit.size, scenario, ("write n small", "fsync n"), where)


def picks_of(text: str) -> tuple[int, ...]:
    """Picks as numbers."""
    return tuple(int(number) for number in text.split("."))
