"""Open files of one directory target: a bounded cache, safe against closing under a user's feet."""

import os
import threading
from collections import OrderedDict

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import TARGET_FILES_SUSPECT_MAX

CLOSE_PATIENCE_S = 0.25


class OpenFile:
    """A file descriptor with its number of users; closed once retired and unused."""

    __slots__ = ("dirty", "fd", "name", "retired", "user_count", "writable")

    def __init__(self, name: str, fd: int, *, writable: bool) -> None:
        self.name = name
        self.fd = fd
        self.writable = writable
        self.dirty = False
        self.retired = False
        self.user_count = 1


class OpenFiles:
    """Least recently used first out. One lock guards the books; no I/O happens under it, so that
    the event loop may take it (`take_now`, `give_back_now`) though a target hangs.

    A dirty file leaves the cache only after an fdatasync: the kernel reports an error of its
    write-back to descriptors that were open then, and a failed sync makes the file *suspect*, for
    which nothing is proven any more until it is forgotten.
    """

    def __init__(self, root_fd: int, path: str, *, files_max: int) -> None:
        self._path = path
        self._files_max = files_max
        self._lock = threading.Lock()
        self._root = OpenFile("", root_fd, writable=False)
        self._files: OrderedDict[str, OpenFile] = OrderedDict()
        self._suspect: set[str] = set()
        self._all_suspect = False
        self._closing: list[OpenFile] = []
        self.drop_count = 0

    def take_root(self) -> OpenFile:
        """The target's directory, to be given back. AWAY once closed."""
        with self._lock:
            self._check_open()
            self._root.user_count += 1
            return self._root

    def take(self, name: str, *, writing: bool) -> OpenFile | None:
        """The open file, to be given back, or None if it is not open, or not for writing."""
        with self._lock:
            self._check_open()
            file = self._files.get(name)
            if file is None or (writing and not file.writable):
                return None
            self._files.move_to_end(name)
            file.user_count += 1
            return file

    def take_now(self, name: str) -> OpenFile | None:
        """The open file, to be given back by `give_back_now`; None if it is not open."""
        with self._lock:
            file = self._files.get(name)
            if file is not None:
                self._files.move_to_end(name)
                file.user_count += 1
            return file

    def give_back_now(self, file: OpenFile) -> None:
        """End of a use, without a close(2), which may wait: the next call that may wait does it."""
        with self._lock:
            self._end_use(file)

    def add(self, name: str, fd: int, *, writable: bool, drops_seen: int) -> OpenFile:
        """Take charge of a descriptor; the file returned is to be given back. If anything was
        dropped since `drops_seen`, the descriptor may be of an older file: it serves just once."""
        with self._lock:
            file = OpenFile(name, fd, writable=writable)
            if self._root.retired or drops_seen != self.drop_count:
                file.retired = True
                return file
            present = self._files.pop(name, None)
            if present is not None:
                file.dirty = present.dirty
                self._retire(present)
            self._files[name] = file
            evicted = self._evict()
        self._close_unused()
        if evicted is not None:
            self._sync_evicted(evicted)
        return file

    def give_back(self, file: OpenFile) -> None:
        """End of a use."""
        with self._lock:
            self._end_use(file)
        self._close_unused()

    def drop(self, name: str) -> None:
        """Close the file, and forget that a sync of it failed."""
        with self._lock:
            self.drop_count += 1
            self._suspect.discard(name)
            file = self._files.pop(name, None)
            if file is not None:
                self._retire(file)
        self._close_unused()

    def drop_descriptor(self, name: str) -> None:
        """Close the file, but go on suspecting it if it was."""
        with self._lock:
            self.drop_count += 1
            file = self._files.pop(name, None)
            if file is not None:
                self._retire(file)
        self._close_unused()

    def sync_failed(self, file: OpenFile) -> None:
        """The file, in use by us, is suspect from now on, and the page cache is to show what the
        device has: the kernel keeps what it could not write as if it had, and whoever looked
        whether a shard or a record is there, this process or the next, would take it for durable.
        """
        self.suspect(file.name)
        try:
            os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError:
            # Best effort, as all advice.
            pass

    def suspect(self, name: str) -> None:
        """Remember that a sync failed. Past TARGET_FILES_SUSPECT_MAX of them all are suspect."""
        with self._lock:
            self._suspect.add(name)
            self._all_suspect |= len(self._suspect) > TARGET_FILES_SUSPECT_MAX

    def is_suspect(self, name: str) -> bool:
        """Whether a sync of the file has failed since it was opened or forgotten."""
        return self._all_suspect or name in self._suspect

    def close(self) -> None:
        """Close everything as soon as it is not in use. Also for the event loop: a close(2) that
        waits for a target, as NFS and FUSE may for ever, is left alone after CLOSE_PATIENCE_S."""
        with self._lock:
            for file in self._files.values():
                self._retire(file)
            self._files.clear()
            if not self._root.retired:
                self._root.retired = True
                self._end_use(self._root)
        closing = threading.Thread(target=self._close_unused, name="ecfs-close", daemon=True)
        closing.start()
        closing.join(CLOSE_PATIENCE_S)

    def _check_open(self) -> None:
        if self._root.retired:
            raise TargetError(Fault.AWAY, f"{self._path}: the target was closed")

    def _evict(self) -> OpenFile | None:
        """Make room; returns a dirty file, in use by us, to be synced before it is closed."""
        if len(self._files) <= self._files_max:
            return None
        newest = next(reversed(self._files))
        for name, file in self._files.items():
            if not file.dirty and name != newest:
                del self._files[name]
                self._retire(file)
                return None
        _, file = self._files.popitem(last=False)
        file.user_count += 1
        self._retire(file)
        return file

    def _sync_evicted(self, file: OpenFile) -> None:
        try:
            os.fdatasync(file.fd)
        except OSError:
            self.sync_failed(file)
        finally:
            self.give_back(file)

    def _retire(self, file: OpenFile) -> None:
        file.retired = True
        self._note_unused(file)

    def _end_use(self, file: OpenFile) -> None:
        file.user_count -= 1
        self._note_unused(file)

    def _note_unused(self, file: OpenFile) -> None:
        if file.retired and file.user_count == 0:
            self._closing.append(file)

    def _close_unused(self) -> None:
        """Close what is retired and unused. Waits as close(2) does.

        NFS and FUSE tell by close(2) what became of written bytes, and that they are gone. The
        first leaves a file suspect that is not yet synced; the second the next call says as well.
        """
        while self._closing:
            with self._lock:
                unused, self._closing = self._closing, []
            for file in unused:
                try:
                    os.close(file.fd)
                except OSError:
                    if file.dirty:
                        self.suspect(file.name)
