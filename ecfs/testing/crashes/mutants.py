"""Steps of the protocol left out or swapped, one at a time: each must be caught by some state."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from ecfs.base.errors import TargetError
from ecfs.formats import KIND_METADATA, column_name, commits_name
from ecfs.stripes import StripeStore
from ecfs.targets import SyncSteps, Target
from ecfs.testing.shell import Shell
from ecfs.volume.appending import RecordWriter
from ecfs.volume.housekeeping import remove_columns
from ecfs.volume.logmending import LogMender
from ecfs.volume.reclaiming import Reclaimer
from ecfs.volume.tending import Tender
from ecfs.volume.volume import Volume

Patch = pytest.MonkeyPatch
T = TypeVar("T")


def no_content_sync(patch: Patch) -> None:
    """Stripes of content enter the database before they are synced."""
    _skip_syncs(patch, lambda kind: kind != KIND_METADATA)


def no_metadata_sync(patch: Patch) -> None:
    """A checkpoint names stripes that are not synced."""
    _skip_syncs(patch, lambda kind: kind == KIND_METADATA)


def _skip_syncs(patch: Patch, skipped: Callable[[int], bool]) -> None:
    plain = StripeStore._sync_files

    async def sync(self: Any) -> None:
        names = {column_name(stream.segment.epoch, stream.segment.id)
                 for stream in self._streams
                 if stream.segment is not None and skipped(stream.kind)}
        self._unsynced = {key for key in self._unsynced if key[1] not in names}
        await plain(self)

    patch.setattr(StripeStore, "_sync_files", sync)


def no_record_sync(patch: Patch) -> None:
    """A record counts before it is synced."""
    patch.setattr("ecfs.volume.appending.run_steps", run_unsynced)


def run_unsynced(target: Target, steps: SyncSteps[T]) -> T:
    """`run_steps` without its syncs."""
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        result: T = stop.value
        return result


def no_name_sync(patch: Patch) -> None:
    """The file of an epoch's records has a name that is not synced."""
    async def create_files(self: Any) -> None:
        name = commits_name(self._epoch)
        await self._on_members(lambda target: target.create(name, b"", sync=False))

    patch.setattr(RecordWriter, "create_files", create_files)


def no_secure(patch: Patch) -> None:
    """A new epoch rests on records that one member may have alone."""
    async def secure(self: Any, *arguments: object) -> None:
        pass

    patch.setattr(LogMender, "secure", secure)


def no_secure_sync(patch: Patch) -> None:
    """A new epoch rests on records that a killed writer did not sync."""
    async def sync(self: Any, members: tuple[bytes, ...], epochs: set[int]) -> set[bytes]:
        return set(members)

    patch.setattr(LogMender, "_sync", sync)


def columns_before_commit(patch: Patch) -> None:
    """Segments are deleted before the commit that no longer names them."""
    plain = Tender.reclaim

    async def reclaim(self: Any) -> None:
        volume = self._volume
        empty = volume.files.tables.empty_segments()
        entries = [volume.files.index.segments[segment_id] for segment_id in empty]
        await remove_columns(volume.fleet, [column_name(entry.epoch, entry.id)
                                            for entry in entries])
        await plain(self)

    patch.setattr(Tender, "reclaim", reclaim)


def holes_before_commit(patch: Patch) -> None:
    """What was moved away is given back before the commit that says where it is now."""
    plain = Reclaimer._punch_once

    async def punch_once(self: Any) -> None:
        async def none() -> None:
            pass

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self._volume, "commit", none)
            await plain(self)

    patch.setattr(Reclaimer, "_punch_once", punch_once)


def no_flush_at_rename(patch: Patch) -> None:
    """A rename over an existing name leaves the bytes of the file behind."""
    async def rename(self: Any, old: bytes, new: bytes) -> None:
        victim = self.volume.tree.rename(*self._split(old), *self._split(new), 0).victim
        if victim is not None:
            self._drop(victim)

    patch.setattr(Shell, "rename", rename)


def fsync_of_names_only(patch: Patch) -> None:
    """fsync commits, but does not flush the file."""
    async def fsync(self: Any, inode: object) -> None:
        await self.commit()

    patch.setattr(Volume, "fsync", fsync)


def acknowledged_by_one(patch: Patch) -> None:
    """A record is sent to one member only."""
    plain = RecordWriter._on_members

    async def on_members(self: Any, work: Any) -> Any:
        members = self._members
        self._members = members[:1]
        try:
            done = await plain(self, work)
        finally:
            self._members = members
        return dict.fromkeys(members, next(iter(done.values()), None))

    async def create_files(self: Any) -> None:
        name = commits_name(self._epoch)
        await plain(self, lambda target: target.create(name, b""))

    patch.setattr(RecordWriter, "create_files", create_files)
    patch.setattr(RecordWriter, "_on_members", on_members)


def mend_without_sync(patch: Patch) -> None:
    """What is put right on a target is not synced, neither at once nor before it has caught up."""
    def rewrite(target: Target, name: str, header: bytes, offset: int, record: bytes) -> None:
        try:
            target.write(name, offset, [record])
        except TargetError:
            target.create(name, header, sync=False)
            target.write(name, offset, [record])

    patch.setattr("ecfs.repair.mending.rewrite", rewrite)
    patch.setattr("ecfs.repair.mending._sync_or_drop", lambda target, name, length: None)


MUTANTS: dict[str, tuple[Callable[[Patch], None], str, str]] = {
    mutant.__name__: (mutant, unit, phase) for mutant, unit, phase in (
        (no_content_sync, "p3|plain|write n large,fsync n|", ""),
        (no_metadata_sync, "p3|checkpoint|write n large,fsync n|", ""),
        (no_record_sync, "p3|plain|write n small,fsync n|", ""),
        (no_name_sync, "p3|plain|write n small,fsync n|", ""),
        (no_secure, "p4|recovery|write n small,fsync n|p4;plain;write n small,fsync n;@3@1.0.0.0",
         "recovery"),
        (no_secure_sync, "p3|killed|write n small,fsync n|p3;plain;write n small,fsync n;@3@1.1.1",
         ""),
        (columns_before_commit, "p3|compaction|write a large,write b large|",
         "reclaiming"),
        (holes_before_commit, "p3|compaction|write a large,fsync a,write b large,write a large|",
         "giving back"),
        (no_flush_at_rename, "p3|plain|write n large,rename n a|", ""),
        (fsync_of_names_only, "p3|plain|write n small,fsync n|", ""),
        (acknowledged_by_one, "p3|plain|write n small,fsync n|", ""),
        (mend_without_sync, "p3|stale|write a large,write b large|", ""))}
"""By name: what is done to the product, a unit in which it shows, and the phase (if not any)."""
