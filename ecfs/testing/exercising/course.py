"""A pool in use while its targets are tormented, then healed, unmounted, checked, mounted again."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ecfs.testing.exercising.exerciser import Exerciser
from ecfs.testing.exercising.tormentor import Tormentor
from ecfs.testing.killing import RealPool

VICTIMS_MAX = 2
SIZES_MAX = (1_000_000, 8_000_000)
"""Of the files of the two exercisers: one with many small extents, one with whole stripes."""
ROUND_S = 30.0
HANG_S = 120.0


@dataclass(slots=True)
class Tally:
    """What was done so far."""

    calls: Counter[str] = field(default_factory=Counter)
    torments: Counter[str] = field(default_factory=Counter)
    rounds_count: int = 0
    replaced_count: int = 0

    def to_json(self) -> dict[str, Any]:
        """For a summary."""
        return asdict(self) | {"calls": dict(self.calls), "torments": dict(self.torments)}


class Course:
    """Rounds on one pool. In each some targets, at most as many as its parity, may hold anything.

    The others are honest and must stay unaccused. A scrub heals after each, and every byte is read.
    """

    def __init__(self, base: Path, seed: int, *, torment: bool = True) -> None:
        self._base = base
        self._pool = RealPool(base)
        self._source = random.Random(seed)
        self._seed = seed
        self._torment = torment
        self._exercisers: list[Exerciser] = []
        (base / "backups").mkdir()
        self.tally = Tally()

    @property
    def history(self) -> list[str]:
        """The last calls of each exerciser."""
        return [line for exerciser in self._exercisers for line in exerciser.history]

    def run(self, *, rounds: int | None = None, minutes: float = 0.0,
            round_s: float = ROUND_S) -> None:
        """So many rounds of `round_s` seconds, or as many as fit.

        AssertionError or OSError with the first thing that is wrong.
        """
        until = time.monotonic() + 60 * minutes
        self._pool.mount()
        self._exercisers = [
            Exerciser(self._pool.mountpoint, self._seed * 10 + number, size_max=size_max)
            for number, size_max in enumerate(SIZES_MAX)]
        while (self.tally.rounds_count < rounds if rounds is not None
               else time.monotonic() < until):
            self._round(round_s)
            self.tally.rounds_count += 1
        for exerciser in self._exercisers:
            exerciser.close()
        self._pool.unmount()

    def clear(self) -> None:
        """Leave nothing mounted."""
        self._pool.clear()

    def _round(self, round_s: float) -> None:
        victims = self._source.sample(self._pool.targets, self._source.randint(1, VICTIMS_MAX))
        with self._tormented(victims) if self._torment else nullcontext():
            self._exercise(round_s)
        victims = victims if self._torment else []
        self._pool.check_unaccused(victims)
        self.tally.replaced_count += len(self._pool.heal(victims))
        for exerciser in self._exercisers:
            exerciser.check()
            exerciser.close()
        self._pool.unmount()
        # Junk behind the end of a segment that still grows is no shard, and no scrub's business.
        # Whoever writes there next misses that target, and if it is the unmount, fsck has it.
        self._pool.repair()
        self._pool.fsck()
        self._pool.mount()
        for exerciser in self._exercisers:
            exerciser.reopen()
            exerciser.check()

    @contextmanager
    def _tormented(self, victims: list[Path]) -> Iterator[None]:
        tormentor = Tormentor(victims, self._base / "backups", self._source.getrandbits(32))
        thread = threading.Thread(target=tormentor.run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            tormentor.stop()
            thread.join(HANG_S)
            self.tally.torments.update(tormentor.counts)
        assert not thread.is_alive(), "the targets are still tormented"
        if tormentor.failure is not None:
            raise tormentor.failure

    def _exercise(self, round_s: float) -> None:
        failures: list[Exception] = []
        until = time.monotonic() + round_s

        def go_on(exerciser: Exerciser) -> None:
            try:
                while time.monotonic() < until and not failures:
                    exerciser.step()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=go_on, args=(exerciser,), daemon=True)
                   for exerciser in self._exercisers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(round_s + HANG_S)
        assert not any(thread.is_alive() for thread in threads), "a call hung"
        for exerciser in self._exercisers:
            self.tally.calls.update(exerciser.counts)
            exerciser.counts.clear()
        if failures:
            raise failures[0]

