"""How this process uses the C library's heap, and buffers that nobody zeroes."""

import ctypes

from ecfs.base.units import MIB

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_M_MMAP_MAX = -4
_MMAP_COUNT_MAX = 65536
_MADV_HUGEPAGE = 14
_HUGE_PAGE_LEN = 2 * MIB
_KEPT_LEN = 128 * MIB
_ADVISED_LEN = 112 * MIB

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
    What is kept may lie in huge pages, where the machine has them for who asks: the kernel, which
    copies most of what passes here, finds its way in those sooner. Measured over 1 GiB read: 1,360
    -> 1,620 MB/s. Only glibc has these knobs; elsewhere nothing happens.
    """
    try:
        library = ctypes.CDLL(None)
        mallopt = library.mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 * MIB)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_LEN)
    # One heap for all threads: the interpreter's lock keeps them from meeting there anyhow.
    mallopt(_M_ARENA_MAX, 1)
    _advise_huge_pages(library)


def _advise_huge_pages(library: ctypes.CDLL) -> None:
    """Grow the heap by most of what is kept of it, untouched, and advise huge pages for that."""
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = (ctypes.c_size_t,)
    library.free.argtypes = (ctypes.c_void_p,)
    library.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    library.mallopt(_M_MMAP_MAX, 0)
    grown = library.malloc(_ADVISED_LEN)
    library.mallopt(_M_MMAP_MAX, _MMAP_COUNT_MAX)
    library.free(grown)
    if grown is not None:
        low = -(-grown // _HUGE_PAGE_LEN) * _HUGE_PAGE_LEN
        library.madvise(low, _ADVISED_LEN - _HUGE_PAGE_LEN, _MADV_HUGEPAGE)
