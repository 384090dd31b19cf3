"""Deleting what nothing needs any more, always below a root that a quorum holds."""

import logging
from collections.abc import Callable, Iterator
from itertools import islice

from ecfs.base.errors import TargetError
from ecfs.base.limits import TARGET_SYNC_DEADLINE_S
from ecfs.formats import (
    CLAIM_PATTERN,
    COLUMN_PATTERN,
    COMMITS_PATTERN,
    HEARTBEAT_PATTERN,
    SEGMENTS_FOLDER,
    claim_name,
    commits_name,
    epochs_among,
    folders_among,
    heartbeat_name,
)
from ecfs.stripes import Fleet
from ecfs.targets import Target
from ecfs.volume.everywhere import on_online

STRAYS_REMOVED_MAX = 10_000
"""From one target in one mount."""
_log = logging.getLogger("ecfs.volume")
_FILES_OF_EPOCH = ((COMMITS_PATTERN, commits_name), (HEARTBEAT_PATTERN, heartbeat_name),
                   (CLAIM_PATTERN, claim_name))


async def forget_epochs(fleet: Fleet, oldest: int) -> None:
    """Remove claims, heartbeats and records of epochs before `oldest`."""
    def remove(target: Target) -> None:
        names = target.list_names()
        for pattern, name_of in _FILES_OF_EPOCH:
            for epoch in epochs_among(names, pattern):
                if epoch < oldest:
                    target.remove(name_of(epoch))

    await _quietly(fleet, remove)


async def remove_columns(fleet: Fleet, names: list[str]) -> None:
    """Remove column files everywhere; a target that is away is cleaned when it returns."""
    if not names:
        return

    def remove(target: Target) -> None:
        for name in names:
            target.forget(name)
            target.remove(name)

    await _quietly(fleet, remove)


async def _quietly(fleet: Fleet, remove: Callable[[Target], None]) -> None:
    """Failing to delete loses nothing: it is tried again at the next mount."""
    for target_id, result in (await on_online(fleet, remove, TARGET_SYNC_DEADLINE_S)).items():
        if isinstance(result, TargetError):
            _log.warning("cleaning %s: %s", fleet[target_id].path, result)


def stray_columns(target: Target, known: set[tuple[int, int]], epoch: int) -> Iterator[str]:
    """Column files of epochs before `epoch` whose (epoch, segment) nothing names, one folder after
    the other: a target may show millions."""
    for folder in folders_among(target.list_names(SEGMENTS_FOLDER)):
        path = f"{SEGMENTS_FOLDER}/{folder}"
        for name in target.list_names(path):
            match = COLUMN_PATTERN.fullmatch(name)
            if match is None:
                continue
            key = (int(match[1], 16), int(match[2], 16))
            if key[0] < epoch and key not in known:
                yield f"{path}/{name}"


async def remove_strays(fleet: Fleet, known: set[tuple[int, int]], epoch: int) -> None:
    """Remove columns that no committed state names: what a crash left behind. The next mount goes
    on where there are more than a crash leaves."""
    def remove(target: Target) -> None:
        for name in islice(stray_columns(target, known, epoch), STRAYS_REMOVED_MAX):
            target.remove(name)

    await _quietly(fleet, remove)


