"""What requests about attributes carry, there and back."""

from typing import NamedTuple

from ecfs.namespace import Attributes


class Stat(NamedTuple):
    """Attributes as a program sees them, pending content included.

    `blocks` in 512-byte units. `settled`: nothing is pending, so the kernel may keep it for long.
    """

    attributes: Attributes
    blocks: int
    settled: bool


class Change(NamedTuple):
    """What a setattr request sets; None leaves a thing as it is. Times in nanoseconds.

    `atime_now`, `mtime_now`: our clock counts, not the coarser one of the kernel.
    `kill_privileges`: set-user-id and set-group-id go, unless a mode is given too.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    atime_now: bool = False
    mtime_now: bool = False
    kill_privileges: bool = False
