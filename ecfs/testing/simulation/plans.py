"""What a seed decides beforehand: the pool, the lives of it, and what goes wrong in each.

A plan is data: it can be printed, cut down piece by piece, and run again. What it leaves open (the
time that a job takes, which unsynced writes survive) is drawn while it runs, from sources of their
own, so that a smaller plan meets the same chances where it can.
"""

import random
from dataclasses import dataclass, field

from ecfs.erasure import Geometry, quorum_for
from ecfs.testing.simulation.determinism import source_of
from ecfs.testing.simulation.disks import DAMAGES
from ecfs.testing.simulation.lies import LIE_NAMES
from ecfs.testing.simulation.operations import MIXES, Op, draw_op, first_ops

TROUBLES = ("away", "read only", "full", "hang", "slow", "errors", "short writes", "failing syncs",
            "lost writes", "misdirected writes", "power lost")
ENDS = ("clean", "kill", "power", "power, torn")

GEOMETRIES = ((1, 1, 2), (1, 1, 3), (2, 1, 3), (2, 1, 4), (1, 2, 3), (1, 2, 5), (2, 2, 4),
              (2, 2, 5), (3, 1, 4), (3, 2, 5), (4, 2, 6), (4, 2, 7), (4, 2, 8), (3, 3, 7),
              (6, 2, 9), (8, 3, 12), (1, 0, 2), (2, 0, 3))
GEOMETRY_WEIGHTS = (5, 5, 10, 8, 5, 4, 8, 5, 5, 6, 14, 4, 2, 2, 1, 1, 1, 1)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that happens to a disk at a time of a life, and ends after a while."""

    disk: int
    what: str
    at_s: float
    for_s: float


@dataclass(frozen=True, slots=True)
class Wound:
    """Something done to a file of a disk before a life: the file is the one at `pick` (from 0 to
    1) of all that the disk holds."""

    disk: int
    kind: str
    pick: float


@dataclass(frozen=True, slots=True)
class Life:
    """A mount: programs, what befalls the disks meanwhile, and how it ends.

    `cut_at`: the call of a target at which the machine dies, else it dies (or unmounts) when the
    programs are done. `hosts`: which machine mounts.
    """

    programs: tuple[tuple[Op, ...], ...]
    end: str
    cut_at: int | None = None
    troubles: tuple[Trouble, ...] = ()
    wounds: tuple[Wound, ...] = ()
    host: int = 0
    wall_skew_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Chapter:
    """Lives between which nothing is healed. Only disks in `bad` come to harm. `lies` by disk."""

    bad: tuple[int, ...]
    lives: tuple[Life, ...]
    lies: tuple[tuple[int, str], ...] = ()
    absent: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole world. `delay_s`: mean time of a job of a target, 0: jobs are done at once."""

    seed: int
    data: int
    parity: int
    targets_count: int
    delay_s: float
    beyond: bool
    chapters: tuple[Chapter, ...]
    features: tuple[str, ...] = field(default=())

    @property
    def geometry(self) -> Geometry:
        """k and m."""
        return Geometry(self.data, self.parity)

    @property
    def ops_count(self) -> int:
        """Operations of all programs."""
        return sum(len(program) for chapter in self.chapters for life in chapter.lives
                   for program in life.programs)


@dataclass(frozen=True, slots=True)
class Contest:
    """A world of several writers. `kind`: "crowd", machines that disturb each other for
    `duration_s`; "restored", one that is set back while it is down; "cloned", one that is set back,
    memory and all, while the pool went on without it. `lies` by disk, within the quorum's f."""

    seed: int
    kind: str
    data: int
    parity: int
    targets_count: int
    delay_s: float
    machines_count: int
    duration_s: float
    lies: tuple[tuple[int, str], ...] = ()
    features: tuple[str, ...] = field(default=())

    @property
    def geometry(self) -> Geometry:
        """k and m."""
        return Geometry(self.data, self.parity)


def draw(seed: int) -> Plan | Contest:
    """The world of a seed: one in eight is a contest."""
    return draw_contest(seed) if seed % 8 == 7 else draw_plan(seed)


def draw_contest(seed: int) -> Contest:
    """The contest of a seed."""
    source = source_of("contest", seed)
    data, parity, count = source.choice(CONTEST_GEOMETRIES)
    kind = source.choice(("crowd", "crowd", "crowd", "restored", "cloned"))
    lies: list[tuple[int, str]] = []
    if kind != "cloned" and quorum_for(count, parity).liars and source.random() < 0.4:
        disk = source.randrange(count)
        lies = [(disk, lie) for lie in source.sample(LIE_NAMES, source.choice((1, 2)))]
    delay_s = source.choice((0.0, 0.01, 0.1)) if kind == "crowd" else 0.0
    machines_count = source.choice((2, 2, 3)) if kind == "crowd" else 1
    features = [f"contest {kind}", f"geometry {data}+{parity} on {count}",
                f"machines {machines_count}", *(f"lie {lie}" for _, lie in lies)]
    return Contest(seed, kind, data, parity, count, delay_s, machines_count,
                   source.choice((60.0, 120.0, 240.0)), tuple(lies), tuple(features))


CONTEST_GEOMETRIES = ((1, 1, 3), (2, 1, 3), (2, 1, 4), (2, 2, 5), (3, 2, 5), (4, 2, 6), (4, 2, 7))


def draw_plan(seed: int) -> Plan:
    """The world of a seed with one writer at a time."""
    source = source_of("plan", seed)
    data, parity, count = source.choices(GEOMETRIES, GEOMETRY_WEIGHTS)[0]
    beyond = source.random() < 0.08
    mix = source.choice(tuple(MIXES))
    big = source.random() < 0.04
    features = [f"geometry {data}+{parity} on {count}", f"mix {mix}"]
    features += ["big files"] * big + ["beyond the budget"] * beyond
    chapters = tuple(_draw_chapter(source, parity, count, mix, big=big, beyond=beyond,
                                   features=features)
                     for _ in range(1 if beyond else source.choice((1, 1, 1, 2))))
    delay_s = source.choice((0.0, 0.0, 0.001, 0.02))
    features.append(f"delay {delay_s:g}")
    return Plan(seed, data, parity, count, delay_s, beyond, chapters, tuple(features))


def _draw_chapter(source: random.Random, parity: int, count: int, mix: str, *, big: bool,
                  beyond: bool, features: list[str]) -> Chapter:
    bad_count = source.randint(parity + 1, count) if beyond else (
        source.choice((0, parity, parity, source.randint(0, parity))))
    bad = tuple(sorted(source.sample(range(count), bad_count)))
    liars_max = count if beyond else quorum_for(count, parity).liars
    lies: list[tuple[int, str]] = []
    kind = source.choice(("faults", "faults", "wounds", "lies", "all", "none"))
    if kind in ("lies", "all"):
        for disk in bad[:liars_max]:
            lies += [(disk, lie) for lie in source.sample(LIE_NAMES, source.choice((1, 1, 2)))]
    absent = tuple(disk for disk in bad if kind != "lies" and source.random() < 0.1)
    features += [f"lie {lie}" for _, lie in lies] + ["absent target"] * bool(absent)
    lives = []
    for number in range(source.choice((1, 2, 2, 3))):
        lives.append(_draw_life(source, bad, mix, big=big, faults=kind in ("faults", "all"),
                                wounds=kind in ("wounds", "all"), features=features,
                                first=number == 0))
    return Chapter(bad, tuple(lives), tuple(lies), absent)


def _draw_life(source: random.Random, bad: tuple[int, ...], mix: str, *, big: bool, faults: bool,
               wounds: bool, features: list[str], first: bool) -> Life:
    length = source.choice((4, 8, 12, 20, 40))
    programs_count = source.choice((1, 1, 2, 3))
    programs = tuple(
        tuple(draw_op(source, mix, number * 1000 + at, big=big)
              for at in range(max(1, length // programs_count)))
        for number in range(programs_count))
    if first:
        programs = (first_ops() + programs[0], *programs[1:])
    end = source.choice(ENDS)
    cut_at = None
    if end != "clean" and source.random() < 0.7:
        cut_at = int(source.expovariate(1 / 400))
    troubles: list[Trouble] = []
    hurt: list[Wound] = []
    if bad and faults:
        for _ in range(source.choice((1, 1, 2, 3))):
            troubles.append(Trouble(source.choice(bad), source.choice(TROUBLES),
                                    source.choice((0.0, 0.0, 0.01, 0.05, 1.0, 5.0)),
                                    source.choice((0.5, 8.0, 40.0))))
    if bad and wounds:
        hurt = [Wound(source.choice(bad), source.choice(DAMAGES), source.random())
                for _ in range(source.choice((1, 2, 4, 10)))]
    features += [f"trouble {trouble.what}" for trouble in troubles]
    features += [f"wound {wound.kind}" for wound in hurt]
    features.append(f"end {end}{' at a call' if cut_at is not None else ''}")
    skew_s = source.choice((0.0, 0.0, 0.0, -86_400.0, 3_600.0))
    return Life(programs, end, cut_at, tuple(troubles), tuple(hurt), wall_skew_s=skew_s)
