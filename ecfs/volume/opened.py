"""An opened pool before its tasks run."""

import logging
from dataclasses import dataclass, field

from ecfs.base.units import NS_PER_S
from ecfs.erasure import Quorum
from ecfs.formats import NO_PARENT, CheckpointPointer, ChunkPlace, Label, LoggedWrite
from ecfs.keys import MasterKey
from ecfs.metadata import Database, PageStore, PageVfs
from ecfs.observe import Event, EventKind, Journal
from ecfs.stripes import Fleet, StripeStore
from ecfs.targets import NameWatch
from ecfs.volume.adopting import Exchange
from ecfs.volume.anchor import AnchorFile
from ecfs.volume.auditing import AuditEvidence
from ecfs.volume.claiming import HostLock
from ecfs.volume.committing import Tip
from ecfs.volume.descent import Freshness
from ecfs.volume.environment import Environment
from ecfs.volume.locate import Located
from ecfs.volume.records import LogView
from ecfs.volume.recovery import Chain, MetadataTable

MOUNTED_READ_ONLY = "mounted read-only"

_log = logging.getLogger("ecfs.volume")


@dataclass(slots=True)
class Opened:
    """An opened pool before its tasks run. `epoch` and `claim` are 0 and empty when read-only.
    `read_only`: why nothing can be written; MOUNTED_READ_ONLY where nothing else stands against it.

    `groups`: the members of which each set needs its quorum. Two while labels name others than the
    newest checkpoint: an exchange was cut short before it was known which of them count.
    """

    environment: Environment
    journal: Journal
    located: Located
    fleet: Fleet
    quorum: Quorum
    lock: HostLock
    anchor_file: AnchorFile
    writer: bytes
    epoch: int = 0
    claim: bytes = b""
    claim_holders: frozenset[bytes] = frozenset()
    groups: tuple[tuple[bytes, ...], ...] = ()
    read_only: str = ""
    freshness: Freshness = Freshness.NOT_PROVEN
    chain: Chain | None = None
    view: LogView | None = None
    pages: PageStore | None = None
    vfs: PageVfs | None = None
    database: Database | None = None
    store: StripeStore | None = None
    table: MetadataTable = field(default_factory=lambda: MetadataTable({}, {}))
    tip: Tip = field(default_factory=lambda: Tip(0, NO_PARENT, 0, 0))
    unnoted: tuple[Tip, ...] = ()
    writes: tuple[LoggedWrite, ...] = ()
    start: CheckpointPointer | None = None
    chunks: dict[int, ChunkPlace] = field(default_factory=dict)
    next_stripe: int = 1
    exchange: Exchange | None = None
    audit: AuditEvidence | None = None
    kdf_s: float = 0.0
    started_ns: int = 0
    clean: bool = True
    watch: NameWatch | None = None

    @property
    def master(self) -> MasterKey:
        """The master key."""
        return self.located.master

    @property
    def label(self) -> Label:
        """The newest authentic label."""
        return self.located.label

    @property
    def newest_epoch(self) -> int:
        """Ours, or that of the newest commit for who only reads."""
        return self.epoch or (self.chain.tip.commit.epoch if self.chain is not None else 0)

    def bar(self, reason: str) -> None:
        """Note what stands against writing; what was noted before counts, but not that nobody asked
        to write."""
        if self.read_only in ("", MOUNTED_READ_ONLY):
            self.read_only = reason

    def note_mounted(self, read_only: str) -> None:
        """Tell how it went, and what was met on the way."""
        elapsed_s = (self.environment.clock.monotonic_ns() - self.started_ns) / NS_PER_S
        for message in self.located.messages:
            _log.warning("%s", message)
        self.journal.record(Event(
            EventKind.MOUNTED, f"mounted in {elapsed_s:.3f} s (key derivation {self.kdf_s:.3f} s), "
            f"epoch {self.epoch}, {read_only or 'writable'}"))

    def close(self) -> None:
        """Let go of everything."""
        self.release()
        self.journal.close()

    def release(self) -> None:
        """Let go of targets, lanes and the lock; the journal goes on."""
        if self.store is not None:
            # Where opening failed, nobody has found out who is behind: then it is all told.
            self.store.tell_held()
        if self.database is not None:
            self.database.close()
        for member in self.fleet:
            self.fleet.let_go_source(member)
            if member.lane is not None:
                member.lane.close(timeout=1.0)
            if member.target is not None:
                member.target.close()
        if self.fleet.together is not None:
            self.fleet.together.close()
        if self.watch is not None:
            self.watch.close()
        self.lock.release()
