"""Access times as Linux keeps them with `relatime`: seldom, so that reading seldom writes."""

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

    def note(self, inode: InodeId) -> None:
        """Somebody reads. Where nothing can be written that is not noted, and no error."""
        if self.is_due(inode):
            try:
                self._mounted.admit(grows=False)
                self._tree.record_access(inode)
            except EcfsError:
                return
