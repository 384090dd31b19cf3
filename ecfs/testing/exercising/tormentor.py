"""What happens to targets while a pool is in use: rot, pulled cables, old copies put back."""

import random
import shutil
import subprocess
import threading
from collections import Counter
from pathlib import Path

from ecfs.testing.killing import Damager

PAUSE_S = (0.2, 3.0)
AWAY_S = (0.5, 8.0)


class Tormentor:
    """Hurts `victims` until it is told to stop. A backup of each target is kept below `backups`.

    A copy that is put back is as old as the last backup, and authentic in every byte that was not
    damaged by then: nothing but the protocol can tell that it is stale.
    """

    def __init__(self, victims: list[Path], backups: Path, seed: int) -> None:
        self._source = random.Random(seed)
        self._victims = victims
        self._backups = backups
        self._damager = Damager(self._source)
        self._ended = threading.Event()
        self.counts: Counter[str] = Counter()
        self.failure: Exception | None = None

    def run(self) -> None:
        """In a thread of its own; a failure of its own is kept in `failure`."""
        try:
            while not self._ended.wait(self._source.uniform(*PAUSE_S)):
                self._act(self._source.choice(self._victims))
        except Exception as error:
            self.failure = error

    def stop(self) -> None:
        """Every target is in its place when `run` returns."""
        self._ended.set()

    def back_up(self, victim: Path) -> None:
        """In place of an earlier backup of it."""
        backup = self._backup_of(victim)
        shutil.rmtree(backup, ignore_errors=True)
        # Files that the mount gives back meanwhile are missing in it, as in any live backup.
        subprocess.run(["cp", "-a", victim, backup], check=False, capture_output=True)

    def put_back(self, victim: Path) -> None:
        """The backup in place of what is there."""
        backup = self._backup_of(victim)
        copy = victim.with_name(f"{victim.name}.copy")
        current = victim.with_name(f"{victim.name}.current")
        subprocess.run(["cp", "-a", backup, copy], check=True, capture_output=True)
        victim.rename(current)
        copy.rename(victim)
        shutil.rmtree(current, ignore_errors=True)
        self.counts["rolled back"] += 1

    def _act(self, victim: Path) -> None:
        kind = self._source.random()
        if kind < 0.6:
            self._damager.remember(victim)
            self.counts.update(word.split()[0] for word in self._damager.hurt(victim))
        elif kind < 0.72:
            self._take_away(victim)
        elif kind < 0.85 or not self._backup_of(victim).exists():
            self.back_up(victim)
        else:
            self.put_back(victim)

    def _take_away(self, victim: Path) -> None:
        elsewhere = victim.with_name(f"{victim.name}.away")
        victim.rename(elsewhere)
        self._ended.wait(self._source.uniform(*AWAY_S))
        elsewhere.rename(victim)
        self.counts["away"] += 1

    def _backup_of(self, victim: Path) -> Path:
        return self._backups / victim.name
