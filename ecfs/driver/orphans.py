"""Inodes without a name: each goes once nobody knows it any more."""

import logging
from collections.abc import Sequence

from ecfs.base.errors import EcfsError
from ecfs.base.ids import InodeId
from ecfs.driver.volume_protocol import Mounted

_log = logging.getLogger("ecfs.driver")

SWEEP_BATCH_COUNT = 256


def drop_orphans(mounted: Mounted, inodes: Sequence[InodeId]) -> int:
    """Delete inodes without a name, content first; how many. All at once, which costs a fraction of
    one by one, or those with which it works.

    What the volume does not take now (read-only, damaged) stays an orphan for the next sweep.
    """
    if not inodes:
        return 0
    try:
        mounted.admit(grows=False)
        # Before their content goes: one that lost its name in vain, if nothing else, still has it.
        mounted.tree.check_orphans(inodes)
        mounted.files.discard(inodes)
        mounted.tree.drop_orphans(inodes)
    except EcfsError as error:
        if len(inodes) > 1:
            return sum(drop_orphans(mounted, [inode]) for inode in inodes)
        _log.warning("inode %d without a name stays for the next mount: %s", inodes[0], error)
        return 0
    return len(inodes)


async def has_room(mounted: Mounted) -> bool:
    """Wait for room to drop an orphan; where there will be none it stays for the next mount."""
    try:
        await mounted.room()
    except EcfsError as error:
        _log.warning("inodes without a name stay for the next mount: %s", error)
        return False
    return True


async def sweep_orphans(mounted: Mounted) -> int:
    """Delete all inodes that were open without a name when the last mount ended; how many.

    Call before serving. Stops early at the first batch of which nothing could be deleted.
    """
    dropped_count = 0
    while orphans := mounted.tree.orphans(SWEEP_BATCH_COUNT):
        await mounted.room()
        batch_count = drop_orphans(mounted, orphans)
        dropped_count += batch_count
        if not batch_count:
            break
    return dropped_count
