"""A small pool on targets in memory: fast to make, and to open again and again."""

import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from ecfs.base.errors import Fault, TargetError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.base.units import KIB, MIB
from ecfs.base.world import SystemClock, SystemEntropy
from ecfs.erasure import Geometry
from ecfs.formats import column_name
from ecfs.keys import KdfParameters
from ecfs.repair import FsckMode, FsckReport, check_pool
from ecfs.targets import InlineLane, MemoryTarget, Target
from ecfs.testing.quick import remember_keys
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
from tests.unit.repair.sites import Site

PASSPHRASE = Secret("passphrase", b"x")
TARGETS_COUNT = 6
KDF_MEMORY_KIB = 64
BIG = random.Random(1).randbytes(3 * MIB + 12_345)
SMALL = b"a few bytes of a small file\n" * 300


class SharedTarget(MemoryTarget):
    """A target that several mounts in turn, or a mount and a look beside it, have open."""

    def close(self) -> None:
        """It stays open for the others."""


class Pool:
    """A 4+2 pool. `targets` by path; what is taken out of there is missing."""

    def __init__(self, folder: Path) -> None:
        self.targets = {f"/memory/t{number}": SharedTarget(f"/memory/t{number}")
                        for number in range(TARGETS_COUNT)}
        self.paths = tuple(self.targets)
        self.host = Host("here", "boot", 1)
        self.environment = Environment(
            SystemClock(), SystemEntropy(), folder / "state", folder / "run", self._open,
            lambda name: InlineLane(name), self.host)

    def _open(self, path: str) -> Target:
        target = self.targets.get(path)
        if target is None:
            raise TargetError(Fault.MISSING, f"{path}: no such directory")
        return target

    async def make(self) -> None:
        """mkfs, and some files."""
        kdf = KdfParameters(memory_kib=KDF_MEMORY_KIB, passes=1)
        await create_pool(PoolOrder(self.paths, Geometry(4, 2), PASSPHRASE, kdf), self.environment)
        async with self.open() as volume:
            tree = volume.tree
            docs = tree.create(ROOT_INODE, b"docs", mode=0o040755, uid=0, gid=0).inode
            tree.create(docs, b"deep", mode=0o040755, uid=0, gid=0)
            await put(volume, docs, b"small", SMALL)
            await put(volume, ROOT_INODE, b"big", BIG)
            tree.create(ROOT_INODE, b"link", mode=0o120777, uid=0, gid=0, symlink=b"docs/small")
            tree.link(tree.lookup(docs, b"small").inode, ROOT_INODE, b"second")
            tree.set_xattr(tree.lookup(docs, b"small").inode, b"user.x", b"y")

    @asynccontextmanager
    async def open(self, options: OpenOptions | None = None) -> AsyncIterator[Volume]:
        """The pool, open."""
        async with open_volume(self.paths, PASSPHRASE, self.environment, options) as volume:
            yield volume

    async def check(self, mode: FsckMode = FsckMode.LOOK, *, force: bool = True) -> FsckReport:
        """fsck."""
        return await check_pool(self.paths, PASSPHRASE, self.environment, mode=mode, force=force)

    async def contents(self) -> dict[str, bytes]:
        """All files by path, read through a mount."""
        found: dict[str, bytes] = {}
        async with self.open(OpenOptions(read_only=True)) as volume:
            await _collect(volume, ROOT_INODE, "", found)
        return found

    def bytes_of(self) -> dict[str, dict[str, bytes]]:
        """Everything on all targets."""
        return {path: {name: bytes(file.live) for name, file in target._names.items()}
                for path, target in self.targets.items()}

    def edit(self, path: str, name: str, change: Callable[[bytearray], None]) -> None:
        """Damage a file of a target."""
        change(self.targets[path]._names[name].live)

    def columns(self, path: str) -> list[str]:
        """Names of the columns on a target."""
        return sorted(name for name in self.targets[path]._names if name.endswith(".col"))


async def _collect(volume: Volume, inode: InodeId, prefix: str, found: dict[str, bytes]) -> None:
    for name, child, mode in volume.tree.list_directory(inode):
        path = f"{prefix}/{name.decode(errors='surrogateescape')}"
        if mode & 0o170000 == 0o040000:
            await _collect(volume, child, path, found)
        elif mode & 0o170000 == 0o100000:
            size = volume.files.size(child)
            found[path] = bytes(await volume.files.read(child, 0, size))


async def put(volume: Volume, parent: InodeId, name: bytes, data: bytes) -> InodeId:
    """A new file with these bytes, durable."""
    inode = volume.tree.create(parent, name, mode=0o100640, uid=0, gid=0).inode
    for at in range(0, len(data), MIB):
        await volume.files.write(inode, at, data[at : at + MIB])
    await volume.fsync(inode)
    return inode


@pytest.fixture(autouse=True)
def cheap_keys() -> Iterator[None]:
    """Each test unlocks the pool several times; stretching the passphrase is not what it tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecfs.formats.slots.KDF_MEMORY_FLOOR_KIB", KDF_MEMORY_KIB)
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """One pool for all tests of the room, which each get a copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecfs.formats.slots.KDF_MEMORY_FLOOR_KIB", KDF_MEMORY_KIB)
        pool = Pool(tmp_path_factory.mktemp("made"))
        trio.run(pool.make)
        return pool


@pytest.fixture
def pool(made: Pool, tmp_path: Path) -> Pool:
    """A pool of one's own."""
    return snapshot(made, tmp_path)


def snapshot(pool: Pool, folder: Path) -> Pool:
    """The pool as it would be found after a crash at this moment."""
    copy = Pool(folder)
    for path, target in pool.targets.items():
        for name in target._names:
            copy.targets[path].create(name, bytes(target._names[name].live))
    shutil.copytree(pool.environment.state_dir, copy.environment.state_dir)
    return copy


async def metadata_columns(pool: Pool) -> list[str]:
    """Names of the columns of metadata segments."""
    async with pool.open(OpenOptions(read_only=True)) as volume:
        return [column_name(entry.epoch, entry.id)
                for entry in volume.opened.table.segments.values()]


def scramble(column: bytearray) -> None:
    """Nothing of it is left."""
    column[:] = random.Random(7).randbytes(len(column))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Site:
    """A pool one of whose targets is replaced: by (k, m), targets, and how many may be lost."""
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    geometry, targets_count, _ = request.param
    return Site(tmp_path / "pool", geometry, targets_count)
