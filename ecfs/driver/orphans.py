"""Inodes without a name: each goes once nobody knows it any more."""

import logging

from ecfs.base.errors import EcfsError
from ecfs.base.ids import InodeId
from ecfs.driver.volume_protocol import Mounted

_log = logging.getLogger("ecfs.driver")

SWEEP_BATCH_COUNT = 256


def drop_orphan(mounted: Mounted, inode: InodeId) -> bool:
    """Delete an inode without a name, content first; whether it worked.

    What the volume does not take now (read-only, damaged) stays an orphan for the next sweep.
    """
    try:
        mounted.admit(grows=False)
        mounted.files.discard(inode)
        mounted.tree.drop_orphan(inode)
    except EcfsError as error:
        _log.warning("inode %d without a name stays for the next mount: %s", inode, error)
        return False
    return True


async def sweep_orphans(mounted: Mounted) -> int:
    """Delete all inodes that were open without a name when the last mount ended; how many.

    Call before serving. Stops early at the first batch of which nothing could be deleted.
    """
    dropped_count = 0
    while orphans := mounted.tree.orphans(SWEEP_BATCH_COUNT):
        batch_count = 0
        for inode in orphans:
            await mounted.room()
            batch_count += drop_orphan(mounted, inode)
        dropped_count += batch_count
        if not batch_count:
            break
    return dropped_count
