"""Pools in-process, over directories or over memory, for tests that damage and crash them.

Jobs are done inline, so that a run is the same every time and a MockClock can move the time.
"""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from ecfs.base.limits import KDF_MEMORY_FLOOR_KIB, KDF_PASSES_FLOOR
from ecfs.base.world import Clock
from ecfs.erasure import Geometry
from ecfs.formats import COLUMN_PATTERN, SEGMENTS_FOLDER, column_name
from ecfs.keys import KdfParameters
from ecfs.repair import FsckMode, FsckReport, MendingQueue, check_pool
from ecfs.targets import DirectoryTarget, InlineLane, Target
from ecfs.testing.shell import Shell
from ecfs.volume import (
    Environment,
    Host,
    OpenOptions,
    PoolMade,
    PoolOrder,
    Secret,
    Volume,
    create_pool,
    open_volume,
)
from ecfs.volume.entry import begin
from ecfs.volume.opened import Opened
from ecfs.volume.opening import open_pool

SECRET = Secret("passphrase", b"correct horse")
QUICK_KDF = KdfParameters(KDF_MEMORY_FLOOR_KIB, KDF_PASSES_FLOOR, 1)

TargetOpener = Callable[[str], Target]


@dataclass(frozen=True, slots=True)
class Opening:
    """An open pool: the volume, files by path, and the queue that mends it."""

    volume: Volume
    shell: Shell
    mending: MendingQueue


@asynccontextmanager
async def until_cut_off(opened: Opened, options: OpenOptions) -> AsyncIterator[Opening]:
    """A volume over what was opened. On exit nothing more is written, as when the process is
    killed; who wants to unmount closes the volume within."""
    try:
        async with trio.open_nursery() as nursery:
            queue = MendingQueue()
            volume = Volume(opened, options, nursery, queue)
            try:
                await begin(volume)
                yield Opening(volume, Shell(volume), queue)
            finally:
                nursery.cancel_scope.cancel()
    finally:
        opened.close()


@dataclass(slots=True)
class Ground:
    """A folder with a pool's targets, state and run directories. `open_target` may be exchanged."""

    base: Path
    geometry: Geometry = field(default_factory=lambda: Geometry(4, 2))
    targets_count: int = 6
    secret: Secret = SECRET
    open_target: TargetOpener = DirectoryTarget
    clock: Clock | None = None
    host: Host | None = None
    state_dir: Path = field(init=False)
    run_dir: Path = field(init=False)

    def __post_init__(self) -> None:
        self.state_dir = self.base / "state"
        self.run_dir = self.base / "run"

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the targets are."""
        return tuple(str(self.base / f"t{number}") for number in range(self.targets_count))

    @property
    def environment(self) -> Environment:
        """The outside world of this pool."""
        real = Environment.system(self.state_dir, self.run_dir)
        return replace(real, open_lane=InlineLane, open_together=lambda: None,
                       open_target=lambda path: self.open_target(path),
                       clock=self.clock or real.clock, host=self.host or real.host)

    async def create(self) -> PoolMade:
        """An empty pool."""
        self.base.mkdir(parents=True, exist_ok=True)
        return await create_pool(
            PoolOrder(self.paths, self.geometry, self.secret, QUICK_KDF), self.environment)

    @asynccontextmanager
    async def open(self, options: OpenOptions | None = None,
                   paths: tuple[str, ...] | None = None) -> AsyncIterator[Opening]:
        """Open the pool; closed cleanly on exit."""
        queue = MendingQueue()
        async with open_volume(self.paths if paths is None else paths, self.secret,
                               self.environment, options, queue) as volume:
            yield Opening(volume, Shell(volume), queue)

    @asynccontextmanager
    async def open_and_crash(self, options: OpenOptions | None = None) -> AsyncIterator[Opening]:
        """Open the pool; on exit nothing more is written, as when the process is killed.

        The body is cancelled, and the context ends quietly, when somebody cancels the nursery of
        the volume: a target that plays a power cut does.
        """
        chosen = options or OpenOptions()
        opened = await open_pool(self.paths, self.secret, self.environment, chosen)
        async with until_cut_off(opened, chosen) as opening:
            yield opening

    async def fsck(self) -> FsckReport:
        """What `ecfs fsck -n -f` finds."""
        return await check_pool(self.paths, self.secret, self.environment, mode=FsckMode.LOOK,
                                force=True)

    def save(self, copy: Path) -> None:
        """Keep a copy of everything, to be put back by `load`."""
        copy_tree(self.base, copy)

    def load(self, copy: Path) -> None:
        """Everything as in a copy, at the same paths."""
        copy_tree(copy, self.base)


def copy_tree(source: Path, copy: Path) -> None:
    """A copy in place of what is there. Preallocated room is left out: it reads as zeros too."""
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-a", "--sparse=always", source, copy], check=True)


def columns_of(target: str) -> Iterator[str]:
    """Names of the column files of a target directory."""
    for folder in sorted(os.listdir(os.path.join(target, SEGMENTS_FOLDER))):
        for name in sorted(os.listdir(os.path.join(target, SEGMENTS_FOLDER, folder))):
            if COLUMN_PATTERN.fullmatch(name):
                yield f"{SEGMENTS_FOLDER}/{folder}/{name}"


def column_bytes(target: str) -> dict[str, bytes]:
    """The column files of a target directory, by name."""
    return {name: Path(target, name).read_bytes() for name in columns_of(target)}


def live_columns(volume: Volume) -> set[str]:
    """Names of the columns that the newest state of the database or the newest checkpoint need."""
    table = volume.opened.table
    return {column_name(entry.epoch, entry.id)
            for entry in [*table.segments.values(), *volume.files.index.segments.values()]}
