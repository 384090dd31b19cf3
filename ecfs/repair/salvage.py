"""Salvage: files out of a pool that cannot be mounted any more, or not completely.

With metadata that can be read it is a copy that goes on past what cannot be. What the metadata does
not cover comes out of the log: every stripe carries a sealed directory of what it holds.
"""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from ecfs.base.errors import (
    Damage,
    Forked,
    NotAPool,
    Refusal,
    RolledBack,
    TargetInside,
    TooFewReachable,
    UsageRefusal,
)
from ecfs.base.paths import real_path
from ecfs.base.world import Clock
from ecfs.erasure import Geometry
from ecfs.repair.progress import Progress, ProgressTaker
from ecfs.repair.salvage_asking import Asked
from ecfs.repair.salvage_log import columns_of
from ecfs.repair.salvage_out import free_path
from ecfs.repair.salvage_records import RecordedWrites
from ecfs.repair.salvage_replay import LogReplay
from ecfs.repair.salvage_tree import Salvaged, TreeCopy
from ecfs.volume import (
    Environment,
    HostLock,
    Located,
    OpenOptions,
    PathMemory,
    Secret,
    box_keys,
    look_everywhere,
    look_for_rest,
    open_volume,
    unlock,
)

_NO_METADATA = (TooFewReachable, NotAPool, RolledBack, Forked, Damage)
_log = logging.getLogger("ecfs.repair")


@dataclass(frozen=True, slots=True)
class SalvageReport:
    """What was saved. `incomplete`: paths of files of which something is lost, or may be.

    `from_log`: files also came, or all of them, from the log; `lost_stripes_count` stripes there
    could not tell what they held.
    """

    files_count: int
    bytes_count: int
    incomplete: list[str]
    from_log: bool = False
    lost_stripes_count: int = 0

    def to_json(self) -> dict[str, Any]:
        """`ecfs.salvage/1`."""
        return {"schema": "ecfs.salvage/1", "files_count": self.files_count,
                "bytes_count": self.bytes_count, "incomplete": self.incomplete,
                "from_log": self.from_log, "lost_stripes": self.lost_stripes_count}


async def salvage(paths: Iterable[str], secret: Secret, environment: Environment, out_dir: Path, *,
                  progress: ProgressTaker = lambda progress: None) -> SalvageReport:
    """Save what can be read of a pool that is not mounted into the empty directory `out_dir`.

    Changes nothing on the targets. Raises UsageRefusal where `out_dir` holds something,
    TargetInside where it lies in a target, InUse for a mounted pool, Refusal when the disk of
    `out_dir` is full, and what keeps the key from being found.
    """
    given = tuple(paths)
    folder = _prepared(given, out_dir)
    salvaged = Salvaged()
    meter = _Meter(salvaged, progress)
    try:
        complete = await _copy_tree(given, secret, environment, folder, salvaged, meter)
        if complete:
            return SalvageReport(salvaged.files_count, salvaged.bytes_count, salvaged.incomplete)
        lost = await _replay_log(given, secret, environment, folder, salvaged, meter)
    except OSError as error:
        raise Refusal(f"{folder}: {error.strerror}; what was saved so far is there") from error
    incomplete = [os.path.relpath(folder / path, folder) for path in salvaged.incomplete]
    return SalvageReport(salvaged.files_count, salvaged.bytes_count, incomplete, True, lost)


class _Meter:
    """Turns lengths into progress."""

    def __init__(self, salvaged: Salvaged, progress: ProgressTaker) -> None:
        self._salvaged = salvaged
        self._progress = progress
        self._done_len = 0
        self.total_len = 0

    def say(self, length: int) -> None:
        """So many bytes more were looked at."""
        self._done_len += length
        self._progress(Progress(self._done_len, max(self.total_len, self._done_len), 0,
                                len(self._salvaged.incomplete)))

    def say_from_thread(self, length: int) -> None:
        """As `say`, from a thread of trio."""
        trio.from_thread.run_sync(self.say, length)


def _prepared(paths: tuple[str, ...], out_dir: Path) -> Path:
    real = Path(os.path.realpath(out_dir))
    for path in paths:
        target = Path(real_path(path))
        if real == target or target in real.parents or real in target.parents:
            raise TargetInside(f"{out_dir} and target {path} lie inside each other; salvage never "
                               "writes to a target")
    try:
        real.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.scandir(real) as entries:
            if next(entries, None) is not None:
                raise UsageRefusal(f"{out_dir} is not empty; salvage writes into an empty "
                                   "directory")
    except OSError as error:
        raise Refusal(f"{out_dir}: {error.strerror}; give an empty directory") from error
    return real


async def _copy_tree(paths: tuple[str, ...], secret: Secret, environment: Environment,
                     folder: Path, salvaged: Salvaged, meter: _Meter) -> bool:
    """Copy by the metadata; whether it could all be read."""
    try:
        async with open_volume(paths, secret, environment,
                               OpenOptions(read_only=True, copies_help=True)) as volume:
            volume.opened.lock.take()
            meter.total_len = sum(volume.files.tables.live_by_segment().values())
            copy = TreeCopy(volume, folder, salvaged, meter.say)
            await copy.run()
            return not copy.metadata_damaged
    except _NO_METADATA as error:
        _log.warning("the metadata cannot be used, files are taken from the log: %s", error)
        return False


async def _replay_log(paths: tuple[str, ...], secret: Secret, environment: Environment,
                      folder: Path, salvaged: Salvaged, meter: _Meter) -> int:
    """What the metadata did not cover, from the log; how many stripes were lost."""
    search = await look_everywhere(paths, environment)
    journal = environment.journal(reads_only=True)
    try:
        memory = PathMemory(environment.state_dir)
        located = await trio.to_thread.run_sync(partial(
            unlock, search.sightings, secret, memory.load(), journal, copies_help=True))
        located = await look_for_rest(located, search, environment, journal)
        lock = HostLock(environment.run_dir, located.pool_id)
        lock.take()
        try:
            return await trio.to_thread.run_sync(_replay, located, environment.clock, folder,
                                                 salvaged, meter)
        finally:
            lock.release()
    finally:
        journal.close()
        search.close()


def _replay(located: Located, clock: Clock, folder: Path, salvaged: Salvaged,
            meter: _Meter) -> int:
    """Runs in a thread of its own."""
    if salvaged.folders:
        folder = free_path(folder, b"lost+found", "log")
        folder.mkdir(mode=0o700)
    # What was replaced too: the target in its place may not have all of it.
    targets = [Asked(sighting.target, sighting.lane, clock) for sighting in located.kept()
               if sighting.target is not None and sighting.lane is not None]
    label = located.label
    records = RecordedWrites(targets, box_keys(located.master, located.pool_id, "commit"))
    columns = columns_of(targets, located.master, located.pool_id)
    replay = LogReplay(columns, records, located.master, located.pool_id,
                       Geometry(label.data, label.parity), folder, salvaged,
                       meter.say_from_thread)
    meter.total_len = replay.total_len
    replay.run()
    return replay.lost_stripes_count
