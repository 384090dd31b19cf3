"""How to mount."""

from dataclasses import dataclass
from enum import StrEnum

from ecfs.base.limits import REQUESTS_AT_ONCE_MAX
from ecfs.base.units import MIB


class Transport(StrEnum):
    """Who speaks with the kernel: ecfs itself, or pyfuse3 (slower; an independent check)."""

    RAW = "raw"
    PYFUSE3 = "pyfuse3"


@dataclass(frozen=True, slots=True, kw_only=True)
class MountOptions:
    """How to mount. Timeouts in seconds: how long the kernel may answer from its caches.

    `writeback`: the kernel gathers small writes and owns size and times of open files; times are
    coarser then, and an error shows at fsync or close only. `relatime`: reads set access times,
    but seldom; without it only utimensat(2) does. `polls`: nobody sleeps between requests that come
    one after the other, neither idle cores nor, where the transport is raw, the server. `flags` go
    to mount(2): `noexec`, `dev`, `suid`, ...; without them nodev and nosuid hold.
    """

    allow_other: bool = False
    read_only: bool = False
    writeback: bool = False
    entry_timeout_s: float = 3600.0
    attribute_timeout_s: float = 3600.0
    read_ahead_len: int = 4 * MIB
    requests_at_once_max: int = REQUESTS_AT_ONCE_MAX
    flags: frozenset[str] = frozenset()
    relatime: bool = False
    polls: bool = True
    transport: Transport = Transport.RAW

    def mount_flags(self) -> list[str]:
        """`flags`, and `ro` for a read-only mount."""
        return sorted(self.flags | ({"ro"} if self.read_only else set()))
