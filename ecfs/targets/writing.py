"""Writing: all of it, and begun to be on the device before a sync asks for it.

Source: sync_file_range(2) with SYNC_FILE_RANGE_WRITE alone, which begins and waits for nothing.
"""

import ctypes
import os
from collections.abc import Sequence

from ecfs.base.units import KIB
from ecfs.targets.protocol import Buffer

_BUFFERS_PER_CALL_MAX = 1024
WRITEBACK_LEN_MIN = 256 * KIB
"""What is shorter is not worth a request of its own to the device."""
_SYNC_FILE_RANGE_WRITE = 2


class Writeback:
    """Begins to write out what lies in the page cache. A hint: what fails, a sync tells."""

    def __init__(self) -> None:
        # Musl and other systems have none.
        self._function = getattr(ctypes.CDLL(None), "sync_file_range", None)

    def begin(self, fd: int, offset: int, length: int) -> bool:
        """Of the range, if it is long; whether it was begun. May wait for room in the device's
        queue, and so belongs to a target's own thread."""
        return self._function is not None and length >= WRITEBACK_LEN_MIN and not self._function(
            fd, ctypes.c_int64(offset), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)


def write_all(fd: int, offset: int, buffers: Sequence[Buffer]) -> int:
    """All of them, one after another; how many bytes."""
    start = offset
    left = [view for buffer in buffers if (view := memoryview(buffer).cast("B")).nbytes]
    while left:
        written = os.pwritev(fd, left[:_BUFFERS_PER_CALL_MAX], offset)
        if written == 0:
            raise OSError("the target took no bytes")
        offset += written
        done = 0
        while done < len(left) and written >= left[done].nbytes:
            written -= left[done].nbytes
            done += 1
        left = left[done:]
        if written:
            left[0] = left[0][written:]
    return offset - start
