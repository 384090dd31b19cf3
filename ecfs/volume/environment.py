"""What a volume needs from outside, and what its callers choose."""

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from ecfs.base.limits import BLOCK_CACHE_LEN_MAX, WRITE_BACK_LEN_MAX
from ecfs.base.patience import Patience
from ecfs.base.processes import is_running
from ecfs.base.world import Clock, Entropy, SystemClock, SystemEntropy, SystemThreads
from ecfs.erasure import Geometry
from ecfs.keys import KdfParameters, SlotKind
from ecfs.observe import (
    AUDIT_LOG_NAME,
    AuditError,
    AuditLog,
    Event,
    EventKind,
    Journal,
    UnwritableAuditLog,
)
from ecfs.targets import (
    READ_WINDOW_NS_MAX,
    AnyLane,
    DirectoryTarget,
    Lane,
    NameWatch,
    Target,
    Together,
    files_open_max,
)

_WAY_OUT = ("What is done to a pool is noted there: make room or mend its permissions, or set "
            "XDG_STATE_HOME to a copy of the state directory that can be written")


@dataclass(frozen=True, slots=True)
class Secret:
    """What opens a key slot; never shown."""

    kind: Literal["passphrase", "key_file", "recovery"]
    value: bytes = field(repr=False)

    @property
    def slot_kind(self) -> SlotKind:
        """The kind of slot that it opens."""
        return {"passphrase": SlotKind.PASSPHRASE, "key_file": SlotKind.KEY_FILE,
                "recovery": SlotKind.RECOVERY}[self.kind]


@dataclass(frozen=True, slots=True)
class Host:
    """Which machine and which boot of it this is: tells whether a claim's holder can be alive.

    `is_running` tells whether a process id is one of a process there.
    """

    name: str
    boot_id: str
    pid: int
    is_running: Callable[[int], bool] = field(default=lambda pid: False, compare=False, repr=False)

    @classmethod
    def this(cls) -> "Host":
        """The machine that we run on; its name includes the machine id, as names repeat."""
        machine = _first_line("/etc/machine-id")[:12]
        return cls(f"{socket.gethostname()}/{machine}",
                   _first_line("/proc/sys/kernel/random/boot_id"), os.getpid(), is_running)


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return "unknown"


@dataclass(frozen=True, slots=True)
class Environment:
    """The outside world of a volume. `open_target` raises TargetError where nothing is.
    `open_together`: a thread for what is short and done on all targets, where that is worth it.
    `open_watch`: who tells whether names came into targets, where somebody does. `warn` tells the
    person at the command line."""

    clock: Clock
    entropy: Entropy
    state_dir: Path
    run_dir: Path
    open_target: Callable[[str], Target]
    open_lane: Callable[[str], AnyLane]
    host: Host
    open_together: Callable[[], Together | None] = lambda: None
    open_watch: Callable[[], NameWatch | None] = lambda: None
    warn: Callable[[str], None] = lambda text: None

    @classmethod
    def system(cls, state_dir: Path, run_dir: Path, *, polls: bool = True,
               warn: Callable[[str], None] = lambda text: None) -> "Environment":
        """The real world. `polls`: what is about to come from a disk is asked for again, for a
        moment, before somebody sleeps."""
        clock = SystemClock()
        open_lane = partial(Lane, threads=SystemThreads(), clock=clock)
        cores_count = len(os.sched_getaffinity(0)) if polls else 1
        open_target = partial(
            DirectoryTarget, files_open_max=files_open_max(),
            make_patience=partial(Patience, clock, cores_count=cores_count,
                                  window_ns_max=READ_WINDOW_NS_MAX))
        return cls(clock, SystemEntropy(), state_dir, run_dir, open_target, open_lane,
                   Host.this(), partial(Together.open, open_lane), NameWatch.open, warn)

    def journal(self, *, reads_only: bool = False) -> Journal:
        """A journal that keeps its evidence in the state directory. Where that cannot be written,
        who only reads goes on without evidence and is warned; for others it is an AuditError."""
        path = str(self.state_dir / AUDIT_LOG_NAME)
        try:
            self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            audit = AuditLog(path, self.clock)
        except (OSError, AuditError) as error:
            reason = str(error) if isinstance(error, AuditError) else (
                f"cannot make the state directory {self.state_dir}: {error.strerror}")
            if not reads_only:
                raise AuditError(f"{reason}. {_WAY_OUT}") from error
            audit = UnwritableAuditLog(path, reason)
        journal = Journal(self.clock, audit=audit, logger=logging.getLogger("ecfs.events"))
        journal.on_audit_failure = partial(_note_unwritten, journal, self.warn)
        return journal


def _note_unwritten(journal: Journal, warn: Callable[[str], None], reason: str) -> None:
    journal.record(Event(EventKind.AUDIT_UNWRITTEN, f"nothing is noted in the audit log: {reason}"))
    warn(f"nothing is noted in this machine's audit log: {reason}")


@dataclass(frozen=True, slots=True)
class PoolOrder:
    """A pool to be made."""

    paths: tuple[str, ...]
    geometry: Geometry
    secret: Secret
    kdf: KdfParameters
    force: bool = False
    recovery_key: bool = False


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How to open a volume. Lengths in bytes. `fresh`: a pool that mkfs has just laid out.
    `anchor_dir`: where the anchor is, in place of the state directory. `copies_help`: copies of one
    target are read, not left out; with `read_only` alone, as nobody can tell which is current."""

    read_only: bool = False
    accept_rollback: bool = False
    anchor_always: bool = False
    anchor_dir: Path | None = None
    drop_tail: bool = False
    fresh: bool = False
    copies_help: bool = False
    block_cache_len: int = BLOCK_CACHE_LEN_MAX
    write_back_len: int = WRITE_BACK_LEN_MAX
