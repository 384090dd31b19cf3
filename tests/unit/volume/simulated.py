"""Whole pools on targets in memory: made, mounted, crashed, rolled back, cloned."""

import copy
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ecfs.base.errors import EcfsError, Fault, TargetError
from ecfs.base.world import SystemEntropy
from ecfs.erasure import Geometry
from ecfs.keys import KdfParameters
from ecfs.targets import FaultyTarget, InlineLane, MemoryTarget, Outcome, Target
from ecfs.volume import (
    Environment,
    Host,
    OpenOptions,
    PoolOrder,
    Secret,
    Volume,
    create_pool,
    open_volume,
)
from tests.unit.stripes.simulated import TrioClock

SECRET = Secret("passphrase", b"correct horse")
KDF = KdfParameters(passes=1, lanes=1)
FOUR_AND_TWO = Geometry(4, 2)


class Handle(FaultyTarget):
    """A target as one mount has it open: closing it leaves the memory to other mounts."""

    def close(self) -> None:
        """Nothing."""


class Pool:
    """Targets by path. `fail[path]` says what becomes of its calls; `absent` paths are not there.
    """

    def __init__(self, folder: Path, targets_count: int = 6, place: str = "/pool") -> None:
        self.folder = folder
        self.place = place
        self.paths = tuple(f"{place}/t{number}" for number in range(targets_count))
        self.memories = {path: MemoryTarget(path, total_len=1 << 36) for path in self.paths}
        self.fail: dict[str, Outcome] = {}
        self.methods: dict[str, tuple[str, ...]] = {}
        self.folder_failing = ""
        self.absent: set[str] = set()

    def environment(self, host: str = "here", state: str = "state") -> Environment:
        return Environment(
            TrioClock(), SystemEntropy(), self.folder / state, self.folder / f"run-{host}",
            self._open_target, InlineLane, Host(host, "boot", 1))

    def _open_target(self, path: str) -> Target:
        memory = self.memories.get(path)
        if memory is None or path in self.absent:
            raise TargetError(Fault.MISSING, f"{path} is not there")
        return Handle(memory, lambda number, method, name, offset: self._plan(path, method, name))

    def _plan(self, path: str, method: str, name: str) -> Outcome:
        outcome, methods = self.fail.get(path), self.methods.get(path, ())
        failing = name.startswith(self.folder_failing) and (not methods or method in methods)
        return outcome if failing else None

    def fail_on(self, *numbers: int, methods: tuple[str, ...] = (), folder: str = "") -> None:
        """These targets (all, if none is named) fail these calls, or all calls, of one folder's
        files or of all."""
        self.folder_failing = folder
        for path in [self.paths[number] for number in numbers] or self.paths:
            self.fail[path], self.methods[path] = Fault.IO, methods

    def heal(self) -> None:
        self.fail, self.methods, self.folder_failing = {}, {}, ""

    async def make(self, geometry: Geometry = FOUR_AND_TWO) -> None:
        await create_pool(PoolOrder(self.paths, geometry, SECRET, KDF), self.environment())

    @asynccontextmanager
    async def mounted(self, options: OpenOptions | None = None, *, host: str = "here",
                      state: str = "state", paths: tuple[str, ...] = (),
                      ) -> AsyncIterator[Volume]:
        async with open_volume(paths or self.paths, SECRET, self.environment(host, state),
                               options) as volume:
            yield volume

    @asynccontextmanager
    async def crashing(self, options: OpenOptions | None = None, *, host: str = "here",
                       ) -> AsyncIterator[Volume]:
        """A mount whose machine dies at the end: what was not synced is gone."""
        died = False
        try:
            async with open_volume(self.paths, SECRET, self.environment(host), options) as volume:
                yield volume
                died = True
                self.fail_on()
        except (EcfsError, BaseExceptionGroup):
            if not died:
                raise
        self.heal()
        for memory in self.memories.values():
            memory.crash()

    def copied(self, folder: Path) -> "Pool":
        """The same pool once more, with its client's state, under another folder."""
        other = Pool(folder, len(self.paths), self.place)
        other.memories = self.snapshot()
        shutil.copytree(self.folder / "state", folder / "state")
        return other

    def snapshot(self) -> dict[str, MemoryTarget]:
        """Copies of all targets as they are on the medium."""
        copies = {}
        for path, memory in self.memories.items():
            lock, memory._lock = memory._lock, None  # type: ignore[assignment]
            copied = copy.deepcopy(memory)
            memory._lock = lock
            copied._lock = type(lock)()
            copied.crash(keep=lambda number: True)
            copies[path] = copied
        return copies


async def put(volume: Volume, name: bytes, data: bytes, *, sync: bool = True) -> int:
    """Make a file with content; its inode."""
    entry = volume.tree.create(1, name, mode=0o100644, uid=0, gid=0)  # type: ignore[arg-type]
    await volume.files.write(entry.inode, 0, data)
    if sync:
        await volume.fsync(entry.inode)
    return entry.inode


async def get(volume: Volume, name: bytes) -> bytes:
    """A file's content."""
    entry = volume.tree.lookup(1, name)  # type: ignore[arg-type]
    return bytes(await volume.files.read(entry.inode, 0, 1 << 30))
