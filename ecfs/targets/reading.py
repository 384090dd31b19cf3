"""Reading what is in the page cache, or will be in a moment, in a thread that must not wait."""

import errno
import os

from ecfs.base.memory import unwritten
from ecfs.base.patience import Patience
from ecfs.base.units import KIB, NS_PER_US
from ecfs.targets.protocol import Buffer

READ_WINDOW_NS_MAX = 150 * NS_PER_US
"""A read of 16 KiB takes 80 to 130 us on a disk that has no head to move. One that is asked for in
a lane costs some 100 us more, in wake-ups."""
PATIENT_LEN_MAX = 64 * KIB
"""What is longer is not there in a moment."""
_NOT_OFFERED = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


class ReadingNow:
    """Reads of the files of one target, on whose file system they may be refused.

    A read that finds nothing in the page cache has begun to fetch it, and may find it when it asks
    again. For how long it does is up to `patience`, None for not at all.
    """

    def __init__(self, *, is_memory: bool, patience: Patience | None) -> None:
        self._flags = 0 if is_memory else os.RWF_NOWAIT
        self._patience = patience
        self._missed = (-1, -1)
        self.is_offered = True

    def read(self, fd: int, offset: int, length: int) -> Buffer | None:
        """All of the `length` bytes, else None."""
        data = unwritten(length)
        if self._read(fd, data, offset) is not None:
            return data
        if self._patience is None or not self.is_offered or length > PATIENT_LEN_MAX or (
                self._missed == (fd, offset)):
            return None
        found = self._patience.ask(lambda: self._read(fd, data, offset))
        # Who looks again, before he waits, need not be patient twice.
        self._missed = (-1, -1) if found is not None else (fd, offset)
        return found

    def waited(self, length: int) -> None:
        """A read of `length` bytes has ended in a thread that may wait."""
        if self._patience is not None and length <= PATIENT_LEN_MAX and (
                self._patience.since_asked_ns() < READ_WINDOW_NS_MAX):
            # It would have been there, had it been asked for a little longer.
            self._patience.woke()

    def _read(self, fd: int, data: bytearray, offset: int) -> bytearray | None:
        try:
            if os.preadv(fd, [data], offset, self._flags) == len(data):
                return data
        except BlockingIOError:
            pass
        except OSError as error:
            # File systems that cannot promise not to wait, such as NFS and FUSE, say so each time.
            self.is_offered = error.errno not in _NOT_OFFERED
        return None
