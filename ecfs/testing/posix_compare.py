"""The same program in several worlds: where ours first differs, and the shortest program for it.

Kernel file systems differ among themselves. What one of the references does is right.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ecfs.base.errors import Bug
from ecfs.testing.posix_call import Call
from ecfs.testing.posix_world import TIMES_INDEX, Value, World

SURVEY_EVERY_COUNT = 8
SHRINK_RUNS_MAX = 400
SHOWN_LEN = 2000

Program = Sequence[Call]
Known = Callable[["Difference"], bool]


@dataclass(frozen=True, slots=True)
class Places:
    """Where programs run: ours, and kernel file systems of different kinds, at least two.

    The first of these counts for times: tmpfs stamps a directory with the coarse time of a child
    that goes, which may be the time that it had before.
    """

    ours: Path
    references: tuple[Path, ...]

    def pairs(self) -> Iterator[tuple[Path, Path]]:
        """Each reference with a place that is on another file system than it and ours."""
        for index, reference in enumerate(self.references):
            yield reference, self.references[index - 1]


@dataclass(frozen=True, slots=True)
class Difference:
    """After call number `index` the worlds differ."""

    index: int
    call: Call
    ours: Value
    reference: Value

    def kind(self) -> tuple[Value, ...]:
        """By what a shrunk program must differ to be the same finding."""
        if not isinstance(self.ours, dict) or not isinstance(self.reference, dict):
            return self.call.name, type(self.ours), type(self.reference)
        parts: set[Value] = set()
        for path, mine in self.ours.items():
            other = self.reference.get(path)
            if mine is None or other is None:
                parts.add("names")
            else:
                parts |= {index for index, pair in enumerate(
                    zip((*mine[0], *mine[1:]), (*other[0], *other[1:]), strict=True))
                    if pair[0] != pair[1]}
        return "survey", *sorted(map(str, parts))

    def __str__(self) -> str:
        ours, reference = repr(self.ours)[:SHOWN_LEN], repr(self.reference)[:SHOWN_LEN]
        return f"{self.call}\n  ours      {ours}\n  reference {reference}"


def reference_parents() -> tuple[Path, Path]:
    """A directory each on two kernel file systems, the one with exact times first."""
    precise = [Path(path) for path in (tempfile.gettempdir(), "/var/tmp", Path.cwd())]
    memory = Path("/dev/shm")
    for path in precise:
        if path.stat().st_dev != memory.stat().st_dev:
            return path, memory
    raise Bug("there is only one file system to compare with")


@contextmanager
def places_at(ours: Path, parents: Sequence[Path]) -> Iterator[Places]:
    """Fresh directories beneath ours and beneath the references' parents, for everybody to enter.
    """
    made = [Path(tempfile.mkdtemp(prefix="posix-", dir=parent)) for parent in (ours, *parents)]
    try:
        for path in made:
            path.chmod(0o755)
        yield Places(made[0], tuple(made[1:]))
    finally:
        for path in made:
            shutil.rmtree(path)


def compare(program: Program, places: Places) -> Difference | None:
    """The first difference from the first reference, or None where ours is as one of them."""
    found: Difference | None = None
    for reference, elsewhere in places.pairs():
        difference = _compare_two(program, places.ours, reference, elsewhere,
                                  times=reference == places.references[0])
        if difference is None:
            return None
        found = found or difference
    return found


def _compare_two(program: Program, ours: Path, reference: Path,
                 elsewhere: Path, *, times: bool) -> Difference | None:
    mask = os.umask(0o022)
    try:
        with _world(ours, elsewhere, times=times) as mine, (
                _world(reference, elsewhere, times=times)) as theirs:
            for index, call in enumerate(program):
                results = mine.run(call), theirs.run(call)
                if results[0] != results[1]:
                    return Difference(index, call, *results)
                if (index + 1) % SURVEY_EVERY_COUNT == 0 or index == len(program) - 1:
                    surveys = _compare_surveys(mine, theirs)
                    if surveys is not None:
                        return Difference(index, call, *surveys)
    finally:
        os.umask(mask)
    return None


def _compare_surveys(ours: World, reference: World) -> tuple[Value, Value] | None:
    mine, other = ours.survey(), reference.survey()
    if mine == other:
        return None
    for path in mine.keys() & other.keys():
        if mine[path][TIMES_INDEX] is None or other[path][TIMES_INDEX] is None:
            mine[path], other[path] = _timeless(mine[path]), _timeless(other[path])
    if mine == other:
        return None
    paths = sorted(path for path in mine.keys() | other.keys()
                   if mine.get(path) != other.get(path))
    return ({path: mine.get(path) for path in paths[:4]},
            {path: other.get(path) for path in paths[:4]})


def _timeless(told: tuple[Value, ...]) -> tuple[Value, ...]:
    return *told[:TIMES_INDEX], None, *told[TIMES_INDEX + 1:]


def shrink(program: Program, places: Places, found: Difference) -> tuple[list[Call], Difference]:
    """A program of few calls that still differs in the same way; each run is in fresh places."""
    calls = list(program[:found.index + 1])
    runs_count, size = 0, max(1, len(calls) // 2)
    while runs_count < SHRINK_RUNS_MAX:
        at, before_count = 0, len(calls)
        while at < len(calls) and runs_count < SHRINK_RUNS_MAX:
            shorter = calls[:at] + calls[at + size:]
            runs_count += 1
            difference = compare(shorter, places)
            if difference is not None and difference.kind() == found.kind():
                calls, found = shorter[:difference.index + 1], difference
            else:
                at += size
        if size == 1 and len(calls) == before_count:
            break
        size = max(1, size // 2)
    return calls, found


@contextmanager
def _world(parent: Path, elsewhere: Path, *, times: bool) -> Iterator[World]:
    base = Path(tempfile.mkdtemp(dir=parent))
    other = Path(tempfile.mkdtemp(dir=elsewhere))
    base.chmod(0o755)
    # Deep enough that no link of a program to `..` leads out of it.
    inner = base / "1" / "2" / "3"
    inner.mkdir(parents=True)
    world = World(inner, other, times=times)
    try:
        yield world
    finally:
        world.close()
        shutil.rmtree(base)
        shutil.rmtree(other)
