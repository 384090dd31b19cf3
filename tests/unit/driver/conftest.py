"""Requests on a volume in memory, without a kernel."""

from collections.abc import Callable

import pytest

from ecfs.base.ids import InodeId
from ecfs.driver import Requests
from ecfs.testing.memory_volume import MemoryVolume


class TickingClock:
    """Each look at it is a nanosecond later."""

    def __init__(self) -> None:
        self.now_ns = 1_000

    def wall_ns(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


@pytest.fixture
def volume() -> MemoryVolume:
    return MemoryVolume(TickingClock())


@pytest.fixture
def stale() -> list[InodeId]:
    """Inodes that the kernel was told to ask for again."""
    return []


@pytest.fixture
def requests(volume: MemoryVolume, stale: list[InodeId]) -> Requests:
    tell: Callable[[InodeId], None] = stale.append
    return Requests(volume, stale=tell)
