"""From a recorded run to the states that a crash may leave, each with its oracle and its name."""

import hashlib
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from blake3 import blake3

from ecfs.testing.crashes.media import Digests, Survivor, survivors
from ecfs.testing.crashes.pool import Images
from ecfs.testing.crashes.scenarios import Run

DIGEST_LEN = 16


@dataclass(frozen=True, slots=True)
class State:
    """What is left of all targets when the power goes during a batch. `picks`: which of the
    survivors of each target, in the order of the paths."""

    batch: int
    phase: str
    picks: tuple[int, ...]
    images: Images
    digest: bytes
    dropped_count: int
    story: tuple[str, ...]


@dataclass(slots=True)
class Counts:
    """How much was gone through."""

    crash_points: int = 0
    dropped_subsets: int = 0


class Enumerator:
    """Walks one run. `name` seeds what has to be sampled, so a state has the same picks always."""

    def __init__(self, run: Run, name: str) -> None:
        self.run = run
        self.name = name
        self.counts = Counts()
        self.known = Digests()

    def states(self, per_batch_max: int, turn: int = 0, *,
               skipped: frozenset[str] = frozenset()) -> Iterator[State]:
        """States of every batch, at most so many each; another `turn` samples others. Batches of
        phases that are `skipped` are only carried out."""
        for number, lists in self._batches(skipped):
            sizes = [len(found) for found in lists.values()]
            for picks in _picks(sizes, per_batch_max, f"{self.name}/{number}", turn):
                yield self._state(number, lists, picks)

    def state(self, batch: int, picks: tuple[int, ...]) -> State:
        """One state again."""
        for number, lists in self._batches(frozenset(), only=batch):
            return self._state(number, lists, picks)
        raise ValueError(f"the run has no batch {batch}")

    def _batches(self, skipped: frozenset[str], only: int | None = None,
                 ) -> Iterator[tuple[int, dict[str, list[Survivor]]]]:
        log = self.run.log
        media = log.media()
        for number, batch in enumerate(log.batches):
            if (only is None and batch.phase not in skipped) or number == only:
                lists: dict[str, list[Survivor]] = {}
                for path, medium in media.items():
                    entries = batch.entries.get(path, [])
                    found, _ = survivors(medium, entries, self.known,
                                         f"{self.name}/{number}/{path}")
                    lists[path] = list(found.found.values())
                    self.counts.dropped_subsets += found.dropped_subsets
                    self.counts.crash_points += len(entries)
                yield number, lists
            log.step(media, number, batch)

    def _state(self, number: int, lists: dict[str, list[Survivor]],
               picks: tuple[int, ...]) -> State:
        chosen = {path: found[pick] for (path, found), pick in
                  zip(lists.items(), picks, strict=True)}
        whole = blake3()
        for path in sorted(chosen):
            whole.update(path.encode() + b"\0" + chosen[path].image.digest(self.known))
        return State(number, self.run.log.batches[number].phase, picks,
                     {path: one.image for path, one in chosen.items()},
                     whole.digest(DIGEST_LEN), sum(one.dropped_count for one in chosen.values()),
                     tuple(f"{path}: {one.story}" for path, one in chosen.items()))


def _picks(sizes: list[int], most: int, seed: str, turn: int) -> Iterator[tuple[int, ...]]:
    """Choices of one survivor for each target: all of them, or first the corners, where each
    target lost everything or nothing, and then a sample."""
    if math.prod(sizes) <= most:
        if not turn:
            yield from itertools.product(*map(range, sizes))
        return
    source = random.Random(hashlib.sha256(f"{seed}/{turn}".encode()).digest())
    corners = list(itertools.product(*([0, size - 1] if size > 1 else [0] for size in sizes)))
    told: set[tuple[int, ...]] = set()
    wanted = source.sample(corners, min(len(corners), most // 2)) if len(corners) > 1 else []
    for pick in wanted:
        told.add(pick)
        yield pick
    for _ in range(2 * most):
        pick = tuple(source.randrange(size) for size in sizes)
        if len(told) < most and pick not in told:
            told.add(pick)
            yield pick
