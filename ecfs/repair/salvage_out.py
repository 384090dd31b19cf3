"""Where salvage puts what it finds: new files only, never through a link, never over anything."""

import errno
import os
from pathlib import Path

from ecfs.base.limits import NAME_LEN_MAX

_SUFFIX_LEN = 32
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
PERMISSIONS = 0o777
_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENODEV,
                          errno.ENXIO, errno.ENOTCONN, errno.ESTALE, errno.EMFILE, errno.ENFILE,
                          errno.ENOMEM})


def is_of_one(error: OSError) -> bool:
    """Whether a refusal is about one name or file, as of a path that is too long, or a link on a
    file system that has none; else nothing more can be saved there."""
    return error.errno not in _OF_THE_DISK


def safe_name(name: bytes) -> bytes:
    """The name, or one like it where it could not be a name of a file here."""
    plain = name.replace(b"/", b"_").replace(b"\0", b"_")[: NAME_LEN_MAX - _SUFFIX_LEN * (
        len(name) > NAME_LEN_MAX)]
    if not plain.strip(b"."):
        return b"_" + plain
    return plain


def free_path(folder: Path, name: bytes, mark: str) -> Path:
    """A path in `folder` at which nothing is: the name, or with a mark and a number after it."""
    wanted = safe_name(name)
    path = folder / os.fsdecode(wanted)
    number = 0
    while os.path.lexists(path):
        tail = f".{mark}" + (f".{number}" if number else "")
        path = folder / os.fsdecode(wanted[: NAME_LEN_MAX - _SUFFIX_LEN] + tail.encode())
        number += 1
    return path


class OutFile:
    """One file that is being filled. Holes stay holes. `is_short`: the file system takes no file
    so long, and something past what it takes was left out."""

    def __init__(self, path: Path, *, new: bool = True) -> None:
        self._fd = os.open(path, _CREATE if new else _OPEN, 0o600)
        self.path = path
        self.is_short = False

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes in their place."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._fd, view, offset)
                offset += written
                view = view[written:]
        except OSError as error:
            self._note_short(error)

    def cut(self, size: int) -> None:
        """Make the file `size` bytes long."""
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            self._note_short(error)

    def _note_short(self, error: OSError) -> None:
        # tmpfs and ext4 say EFBIG; ftruncate(2) may say EINVAL of a length that can never be.
        if error.errno not in (errno.EFBIG, errno.EINVAL):
            raise error
        self.is_short = True

    def has_hole(self, size: int) -> bool:
        """Whether nothing was ever written to some block before `size`, where that is known."""
        try:
            return size > 0 and os.lseek(self._fd, 0, os.SEEK_HOLE) < size
        except OSError:
            return False

    def finish(self, *, mode: int, atime_ns: int, mtime_ns: int) -> None:
        """Set permissions and times, as far as this file system takes them, and close."""
        try:
            os.fchmod(self._fd, mode & PERMISSIONS or 0o600)
            os.utime(self._fd, ns=(max(atime_ns, 0), max(mtime_ns, 0)))
        except (OSError, OverflowError):
            pass
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
