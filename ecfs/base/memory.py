"""How this process uses the C library's heap, and buffers that nobody zeroes."""

import ctypes

from ecfs.base.units import MIB

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

# With no bytes to begin with, CPython leaves the array as malloc gave it, as it documents of bytes.
_array_of_len = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
    ("PyByteArray_FromStringAndSize", ctypes.pythonapi))


def unwritten(length: int) -> bytearray:
    """A buffer with anything in it, for who writes all of it, or lets nobody see it.

    To zero a buffer takes as long as a third of what is done to its bytes after that.
    """
    buffer: bytearray = _array_of_len(None, length)
    return buffer


def keep_heap() -> None:
    """Keep freed buffers instead of giving them back: for a process that handles MiB after MiB.

    Without it each buffer of a stripe is mapped and faulted in anew. Measured over 512 MiB written
    on tmpfs: system time 0.75 -> 0.35 s, 310 -> 390 MB/s; the process stays some 40 MB larger.
    Only glibc has these knobs; elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 * MIB)
    mallopt(_M_TRIM_THRESHOLD, 128 * MIB)
    mallopt(_M_ARENA_MAX, 2)
