"""A file of the state directory that several processes write: replaced as a whole, by one of them
at a time."""

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_TRIES_MAX = 500
LOCK_PAUSE_S = 0.02

_log = logging.getLogger("ecfs.volume")
_HELD = (errno.EWOULDBLOCK, errno.EACCES)


class StateFile:
    """What is at `path`, and how it is replaced. From one thread at a time.

    The lock is flock(2) on `lock`, a file of its own that is never removed: the file itself is
    another one after each rename. A state directory must not keep a pool from its user, so who
    cannot have the lock goes on without, and says so: where the file system has no locks, and where
    the holder was suspended with it, after LOCK_TRIES_MAX * LOCK_PAUSE_S seconds, once.
    """

    def __init__(self, path: Path, lock: Path, *,
                 pause: Callable[[float], None] = time.sleep) -> None:
        self.path = path
        self._lock = lock
        self._pause = pause
        self._tries_count = LOCK_TRIES_MAX
        self._without = ""
        self._was_told = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Look at the file and replace it, while no other process does."""
        fd = self._locked()
        try:
            yield
        finally:
            if fd is not None:
                os.close(fd)

    def read(self, length_max: int) -> bytes | None:
        """At most that much of it; None where there is none. OSError for a link that leads nowhere,
        which is no sign that there never was one, and for what is no file, which could hang."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            for place in (self.path, self.path.parent):
                if os.path.islink(place) and not os.path.exists(place):
                    raise OSError(errno.ENOENT, f"{place} is a link that leads nowhere") from None
            return None
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            return file.read(length_max)

    def replace(self, content: bytes, *, is_wanted: Callable[[], bool]) -> bool:
        """Put `content` in place of the file; after a power cut it is this or what was there. Not
        where `is_wanted`, asked last of all, says no: whoever is stalled between its look and the
        rename would put back what others have replaced meanwhile. Whether it was done."""
        # A name of its own: who is without the lock must not rename another's half-written file.
        temporary = self.path.with_name(f"{self.path.stem}.{os.urandom(8).hex()}.tmp")
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                # Before the rename: some file systems keep that and lose what was in the file.
                os.fsync(file.fileno())
            if not is_wanted():
                return False
            os.replace(temporary, self.path)
            if self._without and not self._was_told:
                self._was_told = True
                _log.warning("%s was written without the lock on %s: %s", self.path, self._lock,
                             self._without)
            return True
        finally:
            temporary.unlink(missing_ok=True)

    def _locked(self) -> int | None:
        """A descriptor that holds the lock; None where it cannot be had, and `_without` why."""
        tries_count, self._tries_count = self._tries_count, 1
        fd: int | None = None
        try:
            # For writing: over NFS, flock(2) asks for that.
            fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
            while not _is_taken(fd):
                tries_count -= 1
                if not tries_count:
                    raise OSError(errno.EBUSY, "another process has held it for too long")
                self._pause(LOCK_PAUSE_S)
        except OSError as error:
            self._without = error.strerror or str(error)
            if fd is not None:
                os.close(fd)
            return None
        self._tries_count, self._without = LOCK_TRIES_MAX, ""
        return fd


def _is_taken(fd: int) -> bool:
    """Whether the lock is ours now; False while another process has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True
