"""A small pool in memory, mounted in virtual time: the same in every run and every judgment.

Nothing here lies outside of memory: the client's anchor is kept in a `Client`, its audit log goes
nowhere, and no lock is taken, for no two mounts of one pool are ever at the same time here.
"""

import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PosixPath
from typing import Any, cast

import pytest
import trio

from ecfs.base.errors import Bug, Fault, TargetError
from ecfs.base.units import KIB
from ecfs.erasure import Geometry
from ecfs.observe import Journal
from ecfs.targets import AnyLane, FaultyTarget, InlineLane, MemoryTarget, Target
from ecfs.testing.crashes.media import Image
from ecfs.testing.pools import QUICK_KDF, SECRET, Opening, until_cut_off
from ecfs.testing.quick import remember_keys
from ecfs.testing.trees import Seen, snapshot_of
from ecfs.volume import Environment, Host, OpenOptions, PoolOrder, create_pool
from ecfs.volume.anchor import Anchor
from ecfs.volume.opening import open_pool

COMMITS_LEN = 32 * KIB
"""How much room a file of commit records reserves here; it is copied often."""

_HOST = Host("crash/0", "boot", 1)
_NOWHERE = PosixPath("/nonexistent/ecfs-crashes")
_QUIET = logging.getLogger("ecfs.testing.crashes.events")

Images = dict[str, Image]


class SeededEntropy:
    """Bytes that a seed decides."""

    def __init__(self, seed: str) -> None:
        self._source = random.Random(seed)

    def token(self, length: int) -> bytes:
        """The next bytes."""
        return self._source.randbytes(length)


class MountClock:
    """Trio's time, which a MockClock moves, from the moment when this was made: so that a run has
    the same bytes whatever ran before it."""

    def __init__(self) -> None:
        self._origin = trio.current_time()

    def wall_ns(self) -> int:
        """Counted from some day."""
        return 1_000_000_000_000_000_000 + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Since this was made, rounded so that no float shows."""
        return round((trio.current_time() - self._origin) * 1e6) * 1_000


def schedule_by(seed: int) -> None:
    """Let trio choose among tasks that can run as a seed decides."""
    scheduler: Any = trio._core._run
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduler._r.seed(seed)


@dataclass(slots=True)
class Client:
    """What a client remembers outside of the pool. `on_anchor` is told of each anchor."""

    anchor: Anchor | None = None
    on_anchor: Callable[[Anchor], None] = lambda anchor: None


@dataclass(frozen=True, slots=True)
class QuietEnvironment(Environment):
    """An environment whose events go nowhere."""

    def journal(self, *, reads_only: bool = False) -> Journal:
        """Kept in memory only."""
        return Journal(self.clock, logger=_QUIET)


@dataclass(slots=True)
class CrashPool:
    """One size of pool: `begin` is what its targets hold before every workload, `client` and
    `contents` what belongs to that."""

    name: str
    geometry: Geometry
    targets_count: int
    begin: Images = field(default_factory=dict)
    anchor: Anchor | None = None
    contents: dict[bytes, Seen] = field(default_factory=dict)

    @property
    def paths(self) -> tuple[str, ...]:
        """Where its targets are."""
        return tuple(f"/{self.name}/t{number}" for number in range(self.targets_count))

    def environment(self, seed: str, client: Client, open_target: Callable[[str], Target],
                    open_lane: Callable[[str], AnyLane] = InlineLane) -> Environment:
        """The outside world of one mount by a client."""
        state_dir = _StateDir(_NOWHERE)
        state_dir.client = client
        return QuietEnvironment(MountClock(), SeededEntropy(f"{self.name}/{seed}"), state_dir,
                                _NOWHERE, open_target, open_lane, _HOST)

    async def build(self) -> None:
        """Make the pool and what is in it before each workload."""
        targets = {path: MemoryTarget(path) for path in self.paths}
        client = Client()
        await create_pool(
            PoolOrder(self.paths, self.geometry, SECRET, QUICK_KDF),
            self.environment("mkfs", client, lambda path: _way_to(targets[path])))
        async with mounted(self.environment("begin", client, lambda path: _way_to(targets[path])),
                           self.paths) as opening:
            for path, length in ((b"a", 900), (b"b", 70_000), (b"c", 9_000)):
                await opening.shell.write(path, some_bytes(path, length))
            opening.shell.make_folder(b"d")
            await opening.volume.fsync(None)
            self.contents = await snapshot_of(opening.shell)
            await opening.volume.close()
        self.anchor = client.anchor
        self.begin = images_of(targets)


def images_of(targets: dict[str, MemoryTarget]) -> Images:
    """What media hold."""
    return {path: Image.of(target.files()) for path, target in targets.items()}


class Disks:
    """Targets that hold images; `away`: paths at which nothing is now. With `fails_after` the
    targets that are away are there at first, and fail from so many calls on."""

    def __init__(self, images: Images, away: frozenset[str] = frozenset(), *,
                 fails_after: int | None = None) -> None:
        self.targets = {path: MemoryTarget.holding(path, image.files())
                        for path, image in images.items()}
        self.away = away
        self.fails_after = fails_after

    def open(self, path: str) -> Target:
        """The target at a path."""
        last = self.fails_after
        if path in self.away and last is not None:
            return FaultyTarget(
                _way_to(self.targets[path]),
                lambda number, method, name, offset: Fault.IO if number >= last else None)
        if path in self.away or path not in self.targets:
            raise TargetError(Fault.MISSING, f"{path}: nothing there")
        return _way_to(self.targets[path])

    def crash(self) -> None:
        """What was not synced is lost."""
        for target in self.targets.values():
            target.crash()


class _Way:
    """A way to a target that outlives it."""

    def __init__(self, inner: MemoryTarget) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def close(self) -> None:
        """The target itself stays."""


def _way_to(target: MemoryTarget) -> Target:
    return cast(Target, _Way(target))


@asynccontextmanager
async def mounted(environment: Environment, paths: tuple[str, ...],
                  options: OpenOptions | None = None) -> AsyncIterator[Opening]:
    """An open pool; on exit nothing more is written, as when the power goes. Who wants to unmount
    closes the volume within."""
    schedule_by(0)
    chosen = options or OpenOptions(anchor_always=True)
    opened = await open_pool(paths, SECRET, environment, chosen)
    async with until_cut_off(opened, chosen) as opening:
        yield opening


def some_bytes(seed: object, length: int) -> bytes:
    """Bytes that tell where they come from."""
    return random.Random(repr(seed)).randbytes(length)


# -- what is exchanged for the whole of a campaign -----------------------------------------------

class _StateDir(PosixPath):
    """A state directory that is a client's memory."""

    client: Client


class _MemoryAnchor:
    """In place of `AnchorFile`."""

    advice = ()

    def __init__(self, state_dir: Path, pool_id: bytes, *, chosen: Path | None = None) -> None:
        if not isinstance(state_dir, _StateDir):
            raise Bug("an anchor of no client")
        self._client = state_dir.client

    def load(self) -> Anchor | None:
        return self._client.anchor

    def give_up(self, anchor: Anchor) -> None:
        pass

    def save(self, anchor: Anchor, *, durable: bool) -> None:
        self._client.anchor = anchor
        self._client.on_anchor(anchor)


class _NoMemory:
    """In place of `PathMemory`."""

    def __init__(self, state_dir: Path) -> None:
        pass

    def load(self) -> dict[str, str]:
        return {}

    def note(self, paths: list[str], pool_id: bytes, *, needed: bool = True) -> None:
        pass

    def forget(self, pool_id: bytes) -> None:
        pass


class _NoLock:
    """In place of `HostLock`."""

    def __init__(self, run_dir: Path, pool_id: bytes) -> None:
        pass

    def take(self) -> None:
        pass

    def release(self) -> None:
        pass


@contextmanager
def kept_in_memory() -> Iterator[None]:
    """Volumes touch nothing outside of memory, derive each key once, and log nothing."""
    logger = logging.getLogger("ecfs")
    level = logger.level
    with pytest.MonkeyPatch.context() as patch:
        remember_keys(patch)
        patch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", COMMITS_LEN)
        patch.setattr("ecfs.volume.opening.AnchorFile", _MemoryAnchor)
        for room in ("opening", "creating"):
            patch.setattr(f"ecfs.volume.{room}.PathMemory", _NoMemory)
            patch.setattr(f"ecfs.volume.{room}.HostLock", _NoLock)
        _QUIET.setLevel(logging.CRITICAL + 1)
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)
