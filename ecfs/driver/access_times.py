"""Access times as Linux keeps them with `relatime`: seldom, so that reading seldom writes."""

import os

from ecfs.base.errors import EcfsError
from ecfs.base.ids import InodeId
from ecfs.base.units import NS_PER_S
from ecfs.driver.volume_protocol import Mounted

OLD_S = 24 * 3600


class AccessTimes:
    """Notes reads of one mount, where the last noted one is older than a change, or than a day."""

    def __init__(self, mounted: Mounted) -> None:
        self._mounted = mounted
        self._tree = mounted.tree

    def is_due(self, inode: InodeId) -> bool:
        """Whether a read now would be noted. The kernel is to ask then, and not its cache."""
        found = self._tree.attributes(inode)
        pending = self._mounted.files.pending(inode) if found.is_regular else None
        changed_ns = max(found.mtime_ns, found.ctime_ns, *(pending[1:] if pending else ()))
        return found.atime_ns <= changed_ns or (
            self._tree.now_ns() - found.atime_ns >= OLD_S * NS_PER_S)

    def note(self, inode: InodeId, flags: int = 0) -> bool:
        """Somebody reads, through a descriptor with these flags of open(2); whether that is noted.

        Not with O_NOATIME; the kernel has seen to it that only who may has set it. Nor where
        nothing can be written, which is no error.
        """
        if flags & os.O_NOATIME or not self.is_due(inode):
            return False
        try:
            self._mounted.admit(grows=False)
            self._tree.record_access(inode)
        except EcfsError:
            return False
        return True
