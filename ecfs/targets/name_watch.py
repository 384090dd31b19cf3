"""Whether names came into a directory since somebody looked, told by the kernel: inotify.

Each commit has to know that no other client has claimed the pool, on every target: listing them
costs more than all else that a commit does there. The kernel queues an event within the very system
call that makes a name: who finds none queued would have listed nothing new. That holds where all
who make names go through this kernel; on shares of a network, and below what is stacked, it does
not.

Source: inotify(7); numbers of file systems from statfs(2) and linux/magic.h.
"""

import ctypes
import os
import struct
import threading
from weakref import WeakKeyDictionary

from ecfs.base.errors import TargetError
from ecfs.base.units import KIB
from ecfs.targets.directory import DirectoryTarget
from ecfs.targets.in_memory import TMPFS_TYPE, file_system_type
from ecfs.targets.protocol import Target

LOCAL_TYPES = frozenset({
    0xEF53,  # ext2, ext3, ext4
    0x58465342,  # XFS
    0x9123683E,  # btrfs
    0xF2F52010,  # F2FS
    0x2FC12FC1,  # ZFS
    TMPFS_TYPE,
})
READS_MAX = 16
"""Who floods a directory with names makes nobody read of them for ever."""

_MASK = 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
"""IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF."""
_ONLY_DIRECTORIES = 0x01000000
_IGNORED = 0x8000
_EVENT = struct.Struct("=iIII")
"""Watch (-1: events were lost), what happened, cookie, length of the name that follows."""
_NOWHERE = -1


class NameWatch:
    """Watches the top directories of targets. Any thread."""

    def __init__(self, fd: int, library: ctypes.CDLL) -> None:
        self._fd = fd
        self._library = library
        self._lock = threading.Lock()
        self._watches: WeakKeyDictionary[DirectoryTarget, int] = WeakKeyDictionary()
        self._versions: dict[int, int] = {}

    @classmethod
    def open(cls) -> "NameWatch | None":
        """None where the kernel offers none, or no more of them."""
        library = ctypes.CDLL(None, use_errno=True)
        try:
            fd = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except AttributeError:
            return None
        return None if fd < 0 else cls(fd, library)

    def version(self, target: Target) -> int | None:
        """Another number whenever a name came into a target's directory, or went, since the last
        call; None where nobody would tell, so that who wants to know has to list."""
        if not isinstance(target, DirectoryTarget):
            return None
        with self._lock:
            watch = self._watches.get(target)
        if watch is None:
            # It may hang, which is not to hold up other targets.
            watch = self._add(target)
        with self._lock:
            if watch == _NOWHERE or self._fd < 0 or not self._take_events():
                return None
            return self._versions.get(watch)

    def close(self) -> None:
        """Watch no more: `version` is None from now on."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1
            self._watches.clear()
            self._versions.clear()

    def _add(self, target: DirectoryTarget) -> int:
        try:
            watch = target.with_folder(self._watch)
        except TargetError:
            watch = _NOWHERE
        with self._lock:
            if self._fd < 0:
                return _NOWHERE
            self._watches[target] = watch
            if watch != _NOWHERE:
                self._versions.setdefault(watch, 0)
        return watch

    def _watch(self, folder_fd: int) -> int:
        if file_system_type(folder_fd) not in LOCAL_TYPES:
            return _NOWHERE
        path = f"/proc/self/fd/{folder_fd}".encode()
        watch: int = self._library.inotify_add_watch(
            self._fd, path, ctypes.c_uint32(_MASK | _ONLY_DIRECTORIES))
        return max(watch, _NOWHERE)

    def _take_events(self) -> bool:
        """Note what is queued; whether that is all."""
        for _ in range(READS_MAX):
            try:
                data = os.read(self._fd, 64 * KIB)
            except BlockingIOError:
                return True
            at = 0
            while at < len(data):
                watch, what, _, name_len = _EVENT.unpack_from(data, at)
                at += _EVENT.size + name_len
                if watch < 0:
                    self._versions = {one: version + 1 for one, version in self._versions.items()}
                elif what & _IGNORED:
                    # The directory is gone, or its file system: nothing will be told of it.
                    self._versions.pop(watch, None)
                elif watch in self._versions:
                    self._versions[watch] += 1
        return False
