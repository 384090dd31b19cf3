"""fallocate(2), which the standard library offers only in a form that fills by writing zeros."""

import ctypes
import errno
import os

_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EINVAL})


class Allocator:
    """Reserves and gives back room of open files, as far as kernel and file system can."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._function = getattr(library, "fallocate64", None) or getattr(
            library, "fallocate", None)
        if self._function is not None:
            self._function.argtypes = [
                ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
            self._function.restype = ctypes.c_int

    def reserve(self, fd: int, offset: int, length: int) -> bool:
        """Reserve room and extend the file to offset + length. False where unsupported; raises
        OSError, ENOSPC among others."""
        return length > 0 and self._call(fd, 0, offset, length)

    def punch(self, fd: int, offset: int, length: int) -> bool:
        """Turn a range into a hole. False where unsupported; raises OSError."""
        return length > 0 and self._call(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length)

    def _call(self, fd: int, mode: int, offset: int, length: int) -> bool:
        if self._function is None:
            return False
        while self._function(fd, mode, offset, length) != 0:
            code = ctypes.get_errno()
            if code in _UNSUPPORTED:
                return False
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code))
        return True
