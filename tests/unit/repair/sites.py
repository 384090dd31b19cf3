"""Pools in memory one of whose targets is replaced, at every stage of that."""

from pathlib import Path

import pytest

from ecfs.base.errors import Fault, ReadOnly, TargetError
from ecfs.erasure import Geometry
from ecfs.formats import CheckpointPointer
from ecfs.repair import replace_target
from ecfs.targets import Target
from ecfs.testing.pools import Opening
from ecfs.volume import Volume, membership
from ecfs.volume.labelling import Labeller
from tests.crash.world import MemoryDisks, memory_ground, some_bytes

FILES = {b"one": some_bytes(1, 300_000), b"two": b"2" * 3_000, b"three": some_bytes(3, 70_000)}
POOLS = [((2, 1), 3, 1), ((2, 1), 4, 1), ((4, 2), 6, 2)]


class Died(Exception):
    """The machine."""


class Site:
    """A pool with files on targets in memory; those of `lost` are not there, `new` is a place,
    `mates` hold the shards of all files, the `old` one too."""

    def __init__(self, base: Path, geometry: tuple[int, int], targets_count: int) -> None:
        self.disks = MemoryDisks()
        self.lost: set[str] = set()
        self.ground = memory_ground(base, self.disks, geometry=Geometry(*geometry),
                                    targets_count=targets_count, open_target=self._open)
        self.paths = self.ground.paths
        self.mates = [*self.paths]
        self.old = self.paths[0]
        self.new = str(base / "new")

    def _open(self, path: str) -> Target:
        if path in self.lost:
            raise TargetError(Fault.MISSING, f"{path} is not there")
        return self.disks.open(path)

    async def make(self, lost_count: int = 0) -> None:
        """mkfs, and files; then so many of the last targets are lost."""
        await self.ground.create()
        async with self.ground.open() as opening:
            for name, data in FILES.items():
                await opening.shell.write(name, data)
            await opening.volume.fsync(None)
            (entry,) = opening.volume.files.index.segments.values()
            self.mates = [opening.volume.fleet[one].path for one in entry.columns]
        self.old = self.mates[0]
        self.lose(lost_count)

    def lose(self, count: int) -> None:
        """So many targets that hold shards of the same stripes as the old one."""
        self.lost = set(self.mates[len(self.mates) - count:])

    async def give_up(self, monkeypatch: pytest.MonkeyPatch, lost_count: int) -> None:
        """As programs did that asked nothing: the machine dies once the columns of the old target
        are the new one's, and then the last targets are lost."""
        async def dies(*_: object) -> None:
            raise Died

        with monkeypatch.context() as patch:
            patch.setattr(membership, "_settle", dies)
            async with self.ground.open_and_crash() as opening:
                with pytest.raises(Died):
                    await replace_target(opening.volume, self.old, self.new)
                await opening.volume.commit()
        self.disks.crash()
        self.lose(lost_count)

    async def stop_before_the_columns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The machine dies once labels name the new target beside the old one."""
        async def dies(*_: object) -> bool:
            raise Died

        with monkeypatch.context() as patch:
            patch.setattr(membership, "_join", dies)
            async with self.ground.open_and_crash() as opening:
                with pytest.raises(Died):
                    await replace_target(opening.volume, self.old, self.new)
        self.disks.crash()

    async def stop_before_the_labels(self, monkeypatch: pytest.MonkeyPatch,
                                     lost_count: int) -> int:
        """The machine dies when the root that names the new target is acknowledged and no label
        says so. How many members that root has."""
        async def dies(labeller: Labeller, pointer: CheckpointPointer | None) -> set[bytes]:
            if pointer is not None and any(
                    entry.path == self.new for entry in labeller.label.targets):
                counts.append(len(labeller.label.targets))
                raise Died
            return await write(labeller, pointer)

        counts: list[int] = []
        write = Labeller.write
        with monkeypatch.context() as patch:
            patch.setattr(Labeller, "write", dies)
            async with self.ground.open_and_crash() as opening:
                with pytest.raises(Died):
                    await replace_target(opening.volume, self.old, self.new)
        self.disks.crash()
        self.lose(lost_count)
        return counts[0]

    async def begin(self, monkeypatch: pytest.MonkeyPatch, lost_count: int) -> None:
        """The new target is a member, and nothing was filled when the machine died."""
        async def dies(*_: object) -> int:
            raise Died

        with monkeypatch.context() as patch:
            patch.setattr("ecfs.repair.rebuilding.catch_up", dies)
            patch.setattr("ecfs.repair.mending.catch_up", dies)
            async with self.ground.open_and_crash() as opening:
                with pytest.raises(Died):
                    await replace_target(opening.volume, self.old, self.new)
        self.disks.crash()
        self.lose(lost_count)


async def holds_everything(opening: Opening) -> None:
    found = await opening.shell.contents()
    assert {name: found[name] for name in FILES} == FILES


async def fail_to_settle(volume: Volume, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns have moved, and then too few targets answer for a while."""
    async def refuses() -> None:
        raise ReadOnly("too few")

    async def settles(*arguments: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(volume, "checkpoint", refuses)
            await settle(*arguments)  # type: ignore[arg-type]

    settle = membership._settle
    with monkeypatch.context() as patch:
        patch.setattr(membership, "_settle", settles)
        with pytest.raises(ReadOnly):
            await replace_target(volume, site.old, site.new)
