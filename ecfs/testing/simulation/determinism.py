"""One run for each seed: trio's scheduler, its clock, entropy and keys, all decided by the seed."""

import gc
import itertools
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar
from unittest import mock

import trio
import trio.testing
from blake3 import blake3

from ecfs.base.units import KIB, NS_PER_S
from ecfs.keys import KdfParameters
from ecfs.metadata import PageStore, PageVfs

T = TypeVar("T")

WALL_START_NS = 1_700_000_000 * NS_PER_S
HASH_SEED = "0"
"""PYTHONHASHSEED of a process that wants to repeat a run: sets of bytes are walked in its order."""

_RECORD_ROOM_LEN = 64 * KIB
_SCHEDULER = "trio._core._run"


class SeededEntropy:
    """Bytes that follow from a seed. `position` is the whole state: who sets it back gets the same
    bytes again, as a machine does that was restored from a snapshot."""

    def __init__(self, seed: object) -> None:
        self._seed = repr(seed).encode()
        self.position = 0

    def token(self, length: int) -> bytes:
        """The next `length` bytes."""
        self.position += 1
        return blake3(self._seed + b"/%d" % self.position).digest(length)


class SimulatedClock:
    """Trio's time. `wall_skew_ns` moves what the clock on the wall shows, also backwards."""

    def __init__(self) -> None:
        self.wall_skew_ns = 0

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, as this host believes."""
        return WALL_START_NS + self.wall_skew_ns + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds of trio's time."""
        return int(trio.current_time() * NS_PER_S)


def source_of(*parts: object) -> random.Random:
    """A source of choices of its own for each purpose, so that one more choice here changes none
    there."""
    return random.Random(blake3(repr(parts).encode()).digest(8))


def reseed_scheduler(*parts: object) -> None:
    """Let the scheduler's next choices follow from `parts`, whatever it chose before."""
    scheduler: random.Random = trio._core._run._r
    scheduler.seed(blake3(repr(parts).encode()).digest(8))


def run_seeded(seed: object, function: Callable[[], Awaitable[T]]) -> T:
    """`trio.run` in virtual time, with everything that could differ decided by `seed`."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    collecting = gc.isenabled()
    with ExitStack() as stack:
        stack.enter_context(mock.patch(f"{_SCHEDULER}._ALLOW_DETERMINISTIC_SCHEDULING", True))
        stack.enter_context(mock.patch(f"{_SCHEDULER}._r", random.Random()))
        stack.enter_context(quick_world())
        reseed_scheduler(seed)
        # What a finaliser does must not depend on what ran in this process before.
        gc.disable()
        try:
            return trio.run(_named(function), clock=clock)
        finally:
            if collecting:
                gc.enable()


def _named(function: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    async def main() -> T:
        return await function()

    return main


@contextmanager
def quick_world() -> Iterator[None]:
    """What makes a world cheap, or possible, and changes no decision: a secret is stretched by one
    hash instead of Argon2id, record files are extended in smaller steps, and two clones of one
    machine have each a database driver of its own, though they are in one process."""
    numbers = itertools.count()

    def make_vfs(name: str, pages: PageStore) -> PageVfs:
        return PageVfs(f"{name}-{next(numbers)}", pages)

    with ExitStack() as stack:
        for name, value in (("volume.opening.PageVfs", make_vfs),
                            ("keys.slots._stretch", _stretched),
                            ("volume.appending.COMMIT_PREALLOCATE_LEN", _RECORD_ROOM_LEN)):
            stack.enter_context(mock.patch(f"ecfs.{name}", value))
        yield


def _stretched(secret: bytes, kdf: KdfParameters, salt: bytes) -> bytes:
    return blake3(repr((secret, kdf, salt)).encode()).digest()


def mock_clock() -> Any:
    """The clock of the run in progress; its `jump` moves the time while the loop is blocked."""
    return trio.lowlevel.current_clock()
