"""From errors of the operating system to faults of a target."""

import errno

from ecfs.base.errors import Bug, Fault, TargetError
from ecfs.base.limits import TARGET_READ_LEN_MAX

_FAULTS = {
    errno.ENOENT: Fault.MISSING,
    errno.ESTALE: Fault.MISSING,
    errno.EEXIST: Fault.EXISTS,
    errno.ENOSPC: Fault.FULL,
    errno.EDQUOT: Fault.FULL,
    errno.EROFS: Fault.READ_ONLY,
    errno.EACCES: Fault.READ_ONLY,
    errno.EPERM: Fault.READ_ONLY,
    errno.ETIMEDOUT: Fault.TIMEOUT,
    # What a planted symbolic link, folder, socket or FIFO answers when it is opened as a file.
    errno.ELOOP: Fault.UNSAFE,
    errno.ENOTDIR: Fault.UNSAFE,
    errno.EISDIR: Fault.UNSAFE,
    errno.ENXIO: Fault.UNSAFE,
}


def target_error(error: OSError, path: str, name: str, *, writing: bool = False) -> TargetError:
    """The TargetError for an OSError. A refused permission means READ_ONLY to who wanted to write
    and IO to who wanted to read."""
    fault = _FAULTS.get(error.errno or 0, Fault.IO)
    if fault is Fault.READ_ONLY and not writing:
        fault = Fault.IO
    place = f"{path}/{name}" if name else path
    return TargetError(fault, f"{place}: {error.strerror or error}")


def missing(path: str, name: str) -> TargetError:
    """A file or folder that is not there."""
    return TargetError(Fault.MISSING, f"{path}/{name}: no such file")


def sync_in_doubt(path: str, name: str) -> TargetError:
    """A sync of a file of which an earlier sync failed."""
    return TargetError(Fault.IO, f"{path}/{name}: an earlier sync failed, so nothing is proven now")


def check_range(offset: int, length: int) -> None:
    """Raise Bug for negative numbers and for a read of more than TARGET_READ_LEN_MAX bytes."""
    if offset < 0 or not 0 <= length <= TARGET_READ_LEN_MAX:
        raise Bug(f"not a range of a file: offset {offset}, length {length}")


def check_offset(offset: int, length: int = 0) -> None:
    """Raise Bug for negative numbers."""
    if offset < 0 or length < 0:
        raise Bug(f"not a range of a file: offset {offset}, length {length}")
