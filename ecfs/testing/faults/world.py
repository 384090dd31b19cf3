"""One case's own world: disks, a state directory, a clock that jumps, choices that repeat."""

import gc
import os
import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import pytest
import trio
import trio.testing
from blake3 import blake3

from ecfs.base.units import KIB, NS_PER_S
from ecfs.formats import envelope
from ecfs.testing.faults.disk import Disks
from ecfs.testing.faults.lane import Hangs, PatientLane
from ecfs.testing.pools import Ground
from ecfs.testing.quick import remember_keys
from ecfs.volume import Environment, Host

T = TypeVar("T")
WALL_START_NS = 1_700_000_000 * NS_PER_S


class SeededEntropy:
    """Bytes that follow from a seed."""

    def __init__(self, seed: object) -> None:
        self._seed = repr(seed).encode()
        self._count = 0

    def token(self, length: int) -> bytes:
        """The next `length` bytes."""
        self._count += 1
        return blake3(self._seed + b"/%d" % self._count).digest(length)


class VirtualClock:
    """Trio's time, which a MockClock moves."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970."""
        return WALL_START_NS + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds of trio's time."""
        return int(trio.current_time() * NS_PER_S)


@contextmanager
def quick_keys() -> Iterator[None]:
    """Passphrases are stretched and labels coded once each, and record files reserve little room,
    for they are copied."""
    with pytest.MonkeyPatch.context() as patch:
        remember_keys(patch)
        patch.setattr("ecfs.formats.envelope._parity", lru_cache(1024)(envelope._parity))
        patch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 16 * KIB)
        yield


def run_repeatably(seed: object, function: Callable[[], Awaitable[T]]) -> T:
    """`trio.run` in virtual time, the scheduler's choices decided by the seed."""
    scheduler = vars(trio._core._run)
    before = scheduler["_ALLOW_DETERMINISTIC_SCHEDULING"], scheduler["_r"]
    scheduler["_ALLOW_DETERMINISTIC_SCHEDULING"] = True
    scheduler["_r"] = random.Random(blake3(repr(seed).encode()).digest(8))
    collecting = gc.isenabled()
    gc.disable()
    try:
        return trio.run(function, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        scheduler["_ALLOW_DETERMINISTIC_SCHEDULING"], scheduler["_r"] = before
        if collecting:
            gc.enable()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in memory, gone afterwards."""
    base = Path(tempfile.mkdtemp(prefix="ecfs-faults-", dir="/dev/shm"))
    try:
        yield base
    finally:
        shutil.rmtree(base, ignore_errors=True)


@dataclass(slots=True)
class FaultGround(Ground):
    """A Ground over disks that share their bytes. `entropy_seed`: of this opening. The targets'
    paths exist on these disks only, and are the same in every run."""

    name: str = "pool"
    disks: Disks = field(default_factory=lambda: Disks({}))
    hangs: Hangs = field(default_factory=Hangs)
    entropy_seed: object = 0

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the targets are."""
        return paths_of(self.name, self.targets_count)

    @property
    def environment(self) -> Environment:
        """The outside world of this pool."""
        return Environment(VirtualClock(), SeededEntropy(self.entropy_seed), self.state_dir,
                           self.run_dir, self.disks.open,
                           lambda name: PatientLane(name, self.hangs), Host("host", "boot", 1))


def paths_of(name: str, targets_count: int) -> tuple[str, ...]:
    """Paths of the targets of a pool."""
    return tuple(f"/ecfs-faults/{name}/t{number}" for number in range(targets_count))


@dataclass(frozen=True, slots=True)
class StateFiles:
    """The files of a state directory, by name relative to it."""

    files: dict[str, bytes]

    @classmethod
    def taken(cls, folder: Path) -> "StateFiles":
        """What lies there now."""
        return cls({str(path.relative_to(folder)): path.read_bytes()
                    for path in sorted(folder.rglob("*"))
                    if path.is_file() and path.suffix in (".json", ".jsonl")})

    def put(self, folder: Path) -> None:
        """Make the folder hold these."""
        for name, data in self.files.items():
            path = f"{folder}/{name}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
