"""Mount, change, kill, hurt, mount again: for as long as there is time."""

import random
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ecfs.testing.killing.damage import Damager
from ecfs.testing.killing.pool import RealPool
from ecfs.testing.killing.writer import Writer
from ecfs.testing.oracle import Oracle
from ecfs.testing.trees import snapshot_below

VICTIMS_MAX = 2
LIFE_S = (0.05, 2.0)
HANG_S = 60.0
CLEAN_EVERY = 6


@dataclass(slots=True)
class Tally:
    """What was done so far."""

    kills_count: int = 0
    acknowledged_count: int = 0
    scrubs_count: int = 0
    clean_count: int = 0
    replaced_count: int = 0
    damages: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """For a summary."""
        return asdict(self) | {"damages": dict(self.damages)}


class KillLoop:
    """The targets in `victims` may hold anything; the others are honest and must stay unaccused.

    Victims are chosen anew only after a scrub has put right what was wrong: m is one budget.
    """

    def __init__(self, base: Path, seed: int, *, damage: bool = True) -> None:
        self._pool = RealPool(base)
        self._source = random.Random(seed)
        self._seed = seed
        self._damager = Damager(self._source)
        self._damage = damage
        self._oracle = Oracle()
        self._victims: list[Path] = []
        self.tally = Tally()
        self.history: list[str] = []

    def run(self, *, loops: int | None = None, minutes: float | None = None) -> None:
        """So many lives, or for so long. AssertionError with the first thing that is wrong."""
        until = None if minutes is None else time.monotonic() + 60 * minutes
        while (loops is None or self.tally.kills_count < loops) and (
                until is None or time.monotonic() < until):
            self.live()
        self._finish()

    def live(self) -> None:
        """One life of the mount: it must show what was acknowledged, and is killed at work."""
        number = self.tally.kills_count
        self._mount()
        if self._victims and self._source.random() < 0.6:
            self._heal()
        if number % CLEAN_EVERY == CLEAN_EVERY - 1:
            self._restart()
        writer = Writer(self._pool.mountpoint, self._oracle, self._seed * 100_003 + number)
        thread = threading.Thread(target=writer.run, name="writer", daemon=True)
        thread.start()
        life_s = self._source.uniform(*LIFE_S)
        thread.join(life_s / 2)
        if self._damage and self._source.random() < 0.3:
            self._hurt()
        thread.join(life_s / 2)
        self._pool.kill()
        thread.join(HANG_S)
        assert not thread.is_alive(), "a call hung past the death of the mount"
        if writer.failure is not None:
            raise AssertionError(f"a call failed while the mount lived: {writer.failure!r}")
        self.tally.kills_count += 1
        self.tally.acknowledged_count += writer.acknowledged_count
        self._note(f"killed after {life_s:.2f} s, {writer.acknowledged_count} acknowledged")
        if self._damage and self._source.random() < 0.7:
            self._hurt()

    def clear(self) -> None:
        """Leave nothing mounted."""
        self._pool.clear()

    def _mount(self) -> None:
        self._pool.mount()
        found = snapshot_below(str(self._pool.mountpoint))
        self._oracle.check(found, torn=True)
        self._oracle.settle(found)
        self._pool.check_unaccused(self._victims)

    def _heal(self) -> None:
        for path in self._pool.heal(self._victims):
            self.tally.replaced_count += 1
            self._note(f"{path.name} replaced")
        self.tally.scrubs_count += 1
        self._note("scrubbed")
        self._victims = []

    def _hurt(self) -> None:
        if not self._victims:
            count = self._source.randint(1, VICTIMS_MAX)
            self._victims = self._source.sample(self._pool.targets, count)
        for target in self._victims:
            self._damager.remember(target)
            told = self._damager.hurt(target)
            self.tally.damages.update(word.split()[0] for word in told)
            self._note(f"{target.name}: {', '.join(told)}")

    def _restart(self) -> None:
        """Healed and unmounted cleanly: fsck finds nothing, and nothing has changed."""
        if self._victims:
            self._heal()
        found = snapshot_below(str(self._pool.mountpoint))
        self._pool.unmount()
        self._pool.fsck()
        self.tally.clean_count += 1
        self._note("clean")
        self._pool.mount()
        again = snapshot_below(str(self._pool.mountpoint))
        assert again == found, "a clean remount shows another tree"

    def _finish(self) -> None:
        self._mount()
        self._restart()
        self._pool.unmount()

    def _note(self, text: str) -> None:
        self.history.append(f"life {self.tally.kills_count}: {text}")
        del self.history[:-200]
