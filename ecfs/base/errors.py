"""What can go wrong, each with a stable id, an errno and an exit code.

Three families, never mixed: `Damage` (bytes from a target failed a check), `Refusal` (ecfs will not
do what was asked, and says what to do next) and `Bug` (we are wrong). `FsError` carries an errno to
the program that made a system call; `TargetError` says that a target did not do its part.
"""

import errno as _errno
from enum import StrEnum


class EcfsError(Exception):
    """Base of all errors that this program raises on purpose."""

    id = "E-FAILED"
    errno = _errno.EIO
    exit_code = 1

    def __str__(self) -> str:
        return self.args[0] if self.args else self.id


class Bug(EcfsError):
    """A programmer's mistake: an invariant that only our own code can break."""

    id = "E-BUG"
    exit_code = 70


class Damage(EcfsError):
    """Bytes that came from a target are not what was written there."""

    id = "E-DAMAGE"


class Unreadable(Damage):
    """More shards of a stripe are bad or missing than its parity can replace."""

    id = "E-UNREADABLE"


class FsError(EcfsError):
    """An ordinary answer of a file system call: `FsError(errno.ENOENT)`."""

    id = "E-FS"

    def __init__(self, errno: int, message: str = "") -> None:
        super().__init__(message or _errno.errorcode.get(errno, str(errno)))
        self.errno = errno


class Fault(StrEnum):
    """Why a target did not do what was asked."""

    IO = "io"
    MISSING = "missing"
    EXISTS = "exists"
    FULL = "full"
    READ_ONLY = "read_only"
    TIMEOUT = "timeout"
    UNSAFE = "unsafe"
    AWAY = "away"
    FENCED = "fenced"


class TargetError(EcfsError):
    """A target failed a call. `fault` says how, the message says on which file."""

    id = "E-TARGET"

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        if fault is Fault.FULL:
            self.errno = _errno.ENOSPC
        elif fault is Fault.READ_ONLY:
            self.errno = _errno.EROFS


class Refusal(EcfsError):
    """ecfs refuses a command. The message says what happened and what to do next."""


class UsageRefusal(Refusal):
    """The command line does not make sense."""

    id = "E-USAGE"
    exit_code = 2


class WrongPassphrase(Refusal):
    """No key slot opens with the passphrase or key file that was given."""

    id = "E-PASSPHRASE"
    exit_code = 10


class NotAPool(Refusal):
    """No label of a pool is where one was expected."""

    id = "E-NOT-A-POOL"
    exit_code = 11


class TooFewReachable(Refusal):
    """A pool, but too few of its targets can be reached to open it."""

    id = "E-TOO-FEW-REACHABLE"
    exit_code = 12


class ForeignTargets(Refusal):
    """Only targets of other pools are left."""

    id = "E-FOREIGN"
    exit_code = 13


class ClonedTargets(Refusal):
    """Only copies of one target are left."""

    id = "E-CLONES"
    exit_code = 14


class UnknownFormat(Refusal):
    """A format version or feature that this program does not know, or a weakened parameter."""

    id = "E-FORMAT"
    exit_code = 15


class InUse(Refusal):
    """Another writer holds the pool."""

    id = "E-IN-USE"
    exit_code = 16


class BadMountPoint(Refusal):
    """The mount point is not an empty directory."""

    id = "E-MOUNTPOINT"
    exit_code = 17


class PoolExists(Refusal):
    """A pool is already there."""

    id = "E-POOL-EXISTS"
    exit_code = 18


class TooFewTargets(Refusal):
    """The geometry needs more targets than were given."""

    id = "E-TOO-FEW-TARGETS"
    exit_code = 19


class SameTarget(Refusal):
    """One directory was given twice."""

    id = "E-SAME-TARGET"
    exit_code = 20


class TargetInside(Refusal):
    """A target lies inside the mount point, or the mount point inside a target."""

    id = "E-TARGET-INSIDE"
    exit_code = 21


class RolledBack(Refusal):
    """The pool is older than what this client has acknowledged."""

    id = "E-ROLLED-BACK"
    exit_code = 22


class Forked(Refusal):
    """The pool's history does not contain what this client has acknowledged."""

    id = "E-FORKED"
    exit_code = 23


class AnchorUnusable(Refusal):
    """What this client remembers, of the pool or of where pools are, cannot be read, is damaged, or
    is of another pool."""

    id = "E-ANCHOR"


class LogUnusable(Refusal):
    """The file that the log is to go to cannot be written."""

    id = "E-LOG"


class KeyUnreadable(Refusal):
    """The file with the passphrase or key cannot be read."""

    id = "E-KEY-FILE"


class MountFailed(Refusal):
    """The operating system does not mount it."""

    id = "E-MOUNT"


class RunDirectoryUnwritable(EcfsError):
    """The directory in which mounts and locks are noted cannot be written."""

    def __init__(self, directory: object, error: OSError) -> None:
        super().__init__(
            f"{directory}, where mounts and locks are noted, cannot be written: {error.strerror}; "
            "set XDG_RUNTIME_DIR to a directory that can")


class AnchorNotWritten(EcfsError):
    """The newest commit cannot be remembered on this client."""

    id = "E-ANCHOR-WRITE"

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message)
        self.errno = errno


class Fenced(EcfsError):
    """Another writer has claimed the pool; this one must not acknowledge anything more."""

    id = "E-FENCED"
    errno = _errno.EROFS


class ReadOnly(EcfsError):
    """The volume does not take writes now; the message says why."""

    id = "E-READ-ONLY"
    errno = _errno.EROFS


class AppendRefused(EcfsError):
    """Too few targets take new stripes."""

    id = "E-APPEND"


class NoSpace(EcfsError):
    """Nothing more can be placed without using the reserve."""

    id = "E-NO-SPACE"
    errno = _errno.ENOSPC
