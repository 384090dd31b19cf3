"""Opening a pool: find, unlock, claim, read the log, adopt a history, prove that it is fresh."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from ecfs.base.errors import (
    Bug,
    Damage,
    Forked,
    NotAPool,
    ReadOnly,
    RolledBack,
    UnknownFormat,
    Unreadable,
)
from ecfs.base.units import BLOCK_LEN, NS_PER_S
from ecfs.erasure import Geometry, Quorum, metadata_geometry
from ecfs.formats import (
    NO_PARENT,
    CheckpointPointer,
    ChunkPlace,
    Label,
    TargetEntry,
    check_known,
)
from ecfs.keys import MasterKey
from ecfs.metadata import MAIN_NAME, ContentTables, Database, PageStore, PageVfs
from ecfs.observe import Event, EventKind, Journal
from ecfs.stripes import Fleet, Identity, Member, MemberState, StripeStore
from ecfs.volume.adopting import Exchange, adopted, exchange_left, quorum_of
from ecfs.volume.anchor import AnchorFile, PathMemory
from ecfs.volume.claiming import Claimer, HostLock, box_keys
from ecfs.volume.committing import Tip
from ecfs.volume.descent import check_descent, check_downgrade
from ecfs.volume.environment import Environment, OpenOptions, Secret
from ecfs.volume.locate import Located, look_everywhere, require, unlock
from ecfs.volume.records import LogView, read_log
from ecfs.volume.recovery import Chain, MetadataTable, adopt, load_map, replay

EPOCH_JUMP_MAX = 1 << 20
ORDER_EPOCH_SHIFT = 40


class Freshness(StrEnum):
    """How far it is proven that nothing newer exists."""

    PROVEN = "proven"
    ANCHOR_ONLY = "anchor_only"
    QUORUM_ONLY = "quorum_only"
    NOT_PROVEN = "not_proven"


@dataclass(slots=True)
class Opened:
    """An opened pool before its tasks run. `epoch` and `claim` are 0 and empty when read-only;
    `claimed`: the targets that took the claim."""

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
    claimed: set[bytes] = field(default_factory=set)
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
    start: CheckpointPointer | None = None
    chunks: dict[int, ChunkPlace] = field(default_factory=dict)
    next_stripe: int = 1
    exchange: Exchange | None = None
    kdf_s: float = 0.0
    started_ns: int = 0
    clean: bool = True

    @property
    def master(self) -> MasterKey:
        """The master key."""
        return self.located.master

    @property
    def label(self) -> Label:
        """The newest authentic label."""
        return self.located.label

    def close(self) -> None:
        """Let go of targets, lanes and the lock."""
        if self.database is not None:
            self.database.close()
        for member in self.fleet:
            if member.lane is not None:
                member.lane.close(timeout=1.0)
            if member.target is not None:
                member.target.close()
        self.lock.release()


async def open_pool(paths: Iterable[str], secret: Secret, environment: Environment,
                    options: OpenOptions) -> Opened:
    """Everything up to the newest state of the database. Raises refusals; leaves nothing open."""
    started_ns = environment.clock.monotonic_ns()
    journal = environment.journal()
    memory = PathMemory(environment.state_dir)
    sightings = await look_everywhere(paths, environment)
    before_ns = environment.clock.monotonic_ns()
    try:
        located = unlock(sightings, secret, memory.load(), journal)
    except BaseException:
        for sighting in sightings:
            sighting.close()
        raise
    for sighting in sightings:
        if all(sighting is not kept for kept in located.sightings.values()):
            sighting.close()
    kdf_s = (environment.clock.monotonic_ns() - before_ns) / NS_PER_S
    label = located.label
    writable = check_known(label)
    fleet = _fleet(located, environment, journal)
    quorum = quorum_of(label)
    opened = Opened(environment, journal, located, fleet, quorum,
                    HostLock(environment.run_dir, located.pool_id),
                    AnchorFile(environment.state_dir, located.pool_id),
                    environment.entropy.token(16), kdf_s=kdf_s, started_ns=started_ns)
    try:
        await _open(opened, options, writable)
    except BaseException:
        opened.close()
        raise
    memory.note([os.path.realpath(sighting.path) for sighting in located.sightings.values()],
                located.pool_id)
    return opened


def _fleet(located: Located, environment: Environment, journal: Journal) -> Fleet:
    members = []
    for entry in located.label.targets:
        member = Member(entry.id, entry.name, entry.path)
        sighting = located.sightings.get(entry.id)
        if sighting is not None:
            member.path = os.path.abspath(sighting.path)
            member.target = sighting.target
            member.lane = sighting.lane
            member.state = MemberState.ONLINE
            label = located.labels[entry.id]
            member.generation = (label.epoch, label.generation)
        else:
            member.reason = located.absent.get(entry.id, "")
        members.append(member)
    return Fleet(members, journal)


async def _open(opened: Opened, options: OpenOptions, writable: bool) -> None:
    quorum = opened.quorum
    if not writable:
        opened.read_only = "the pool has features that this program can only read"
    elif options.read_only:
        opened.read_only = "mounted read-only"
    members_online = _members_online(opened)
    if not opened.read_only and members_online < quorum.commit:
        opened.read_only = (f"only {members_online} of {quorum.members} members can be reached, "
                            f"{quorum.commit} are needed to write")
    if not opened.read_only:
        await _claim(opened, options)
    await _read(opened, options)
    if options.fresh:
        _load_nothing(opened)
        return
    if opened.chain is None:
        raise NotAPool("this pool was never finished by mkfs; run `ecfs mkfs --force` again")
    named = opened.label.targets
    opened.located.label = adopted(opened.label, opened.chain.root)
    if not opened.read_only and _members_online(opened) < quorum.commit:
        opened.read_only = "too few of the members that the newest checkpoint names are there"
    try:
        _load(opened, opened.chain)
    except Damage as error:
        raise _explained(opened, error) from error
    _leave_out(opened, named)
    _prove_fresh(opened, options)


def _explained(opened: Opened, error: Damage) -> Unreadable:
    """The metadata cannot be read; TooFewReachable where targets that are not here could help."""
    here = len(opened.fleet.online())
    needed = metadata_geometry(Geometry(opened.label.data, opened.label.parity),
                               len(opened.label.targets)).data
    if here < len(opened.fleet):
        require(here, max(needed, here + 1), opened.located)
    return Unreadable(f"the metadata is lost: {error}. `ecfs salvage` gets files out of the log")


def _leave_out(opened: Opened, named: tuple[TargetEntry, ...]) -> None:
    """Let go of targets that labels name but that are no part of the pool (any more, or yet)."""
    if opened.database is None:
        raise Bug("targets are looked through before the database is loaded")
    opened.exchange = exchange_left(opened.database, opened.label, named)
    keep = {entry.id for entry in opened.label.targets}
    if opened.exchange is not None:
        keep.add(opened.exchange.new.id)
    for member in [member for member in opened.fleet if member.id not in keep]:
        opened.fleet.drop(member.id)
        if member.lane is not None:
            member.lane.close(timeout=0.0)
        if member.target is not None:
            member.target.close()
        opened.located.messages.append(
            f"{member.path}: is not part of the pool; its exchange was cut short")


def _members_online(opened: Opened) -> int:
    return sum(1 for target_id in opened.label.members
               if (member := opened.fleet.get(target_id)) is not None and member.online)


def claimer_of(opened: Opened) -> Claimer:
    """The claimer of a pool."""
    pool_id = opened.located.pool_id
    return Claimer(opened.fleet, box_keys(opened.master, pool_id, "claim"),
                   box_keys(opened.master, pool_id, "heartbeat"), opened.environment.entropy,
                   opened.journal, opened.environment.host, opened.label.members,
                   opened.quorum.commit)


async def _claim(opened: Opened, options: OpenOptions) -> None:
    """CLAIM of the protocol: after this nobody else acknowledges anything."""
    opened.lock.take()
    claimer = claimer_of(opened)
    view = await claimer.look()
    if view.newest is not None and claimer.may_be_alive(view.newest):
        before = await _read_view(opened)
        chain = adopt(before, drop_tail=options.drop_tail)
        if chain is None or not chain.tip.commit.clean:
            await claimer.await_silence(view)
    authentic = max(opened.label.epoch, view.newest.epoch if view.newest else 0)
    floor = view.epoch_max if view.epoch_max <= authentic + EPOCH_JUMP_MAX else authentic
    opened.epoch = max(authentic, floor) + 1
    try:
        opened.claim = await claimer.claim(opened.epoch, opened.writer)
    except ReadOnly as error:
        opened.read_only = str(error)
    opened.claimed = claimer.held


async def _read_view(opened: Opened) -> LogView:
    pointer = opened.label.checkpoint
    keys = box_keys(opened.master, opened.located.pool_id, "commit")
    return await read_log(opened.fleet, opened.label.members, keys,
                          epoch=pointer.epoch if pointer else 0,
                          offset=pointer.offset if pointer else 0)


async def _read(opened: Opened, options: OpenOptions) -> None:
    """READ of the protocol: the log as a read quorum that holds our claim has it."""
    view = await _read_view(opened)
    if not view.read:
        require(0, opened.quorum.recover, opened.located)
    # Where our claim is not, an older writer can have a record acknowledged that lands after this.
    counted = view.read & opened.claimed
    if len(counted) < opened.quorum.recover and not opened.read_only:
        opened.read_only = (f"only {len(counted)} members can be read, {opened.quorum.recover} "
                            "are needed to know the newest state")
    opened.view = view
    opened.chain = adopt(view, drop_tail=options.drop_tail)
    if opened.chain is not None:
        opened.clean = opened.chain.tip.commit.clean
        for member, epoch, offset in view.bad:
            opened.journal.record(Event(
                EventKind.RECORD_BAD, f"commits.{epoch:x} has a bad record at {offset:x}",
                target=member, offset=offset))
        if opened.chain.dropped:
            opened.journal.record(Event(
                EventKind.TAIL_DROPPED,
                f"{len(opened.chain.dropped)} records after a gap were given up"))


def _store_of(opened: Opened) -> StripeStore:
    label = opened.label
    geometry = Geometry(label.data, label.parity)
    identity = Identity(opened.located.pool_id, opened.master, opened.epoch, label.liars)
    return StripeStore(
        identity, opened.fleet, opened.environment.open_lane("worker"),
        opened.environment.entropy, opened.journal, content=geometry,
        metadata=metadata_geometry(geometry, len(label.targets)))


def _load_nothing(opened: Opened) -> None:
    """A pool that is being made: an empty database."""
    opened.store = _store_of(opened)
    opened.pages = PageStore(lambda place: _nowhere())
    opened.vfs = PageVfs(f"ecfs-{opened.writer.hex()}", opened.pages)
    opened.database = open_database(opened.vfs, opened.pages)
    opened.database.create_tables()


def _nowhere() -> bytes:
    raise Damage("a new pool has no metadata stripes")


def _load(opened: Opened, chain: Chain) -> None:
    """Page map, replay, database."""
    root, label = chain.root, opened.label
    if (root.data, root.parity, root.liars) != (label.data, label.parity, label.liars):
        raise UnknownFormat("labels and checkpoint disagree about the geometry")
    table = opened.table = MetadataTable({stripe.number: stripe for stripe in root.stripes},
                                         {entry.id: entry for entry in root.segments})
    store = opened.store = _store_of(opened)
    store.next_segment = root.next_segment
    # What a crashed epoch wrote after its root must stay older than what this one writes.
    store.next_order = max(root.next_order, opened.epoch << ORDER_EPOCH_SHIFT)

    def read_extent(number: int, start: int, length: int) -> bytes:
        ref = table.ref(number)
        result = store.read_sync(ref, ref.layout.units_of(start, length))
        if result.faults:
            store.on_fault(ref, result.faults)
        return bytes(result.data)

    pages = PageStore(lambda place: read_extent(place >> 32, place & 0xFFFFFFFF, BLOCK_LEN))
    pages.map = load_map(root, read_extent)
    pages.page_count = root.page_count
    replay(chain, pages)
    opened.pages = pages
    opened.vfs = PageVfs(f"ecfs-{opened.writer.hex()}", pages)
    opened.database = open_database(opened.vfs, pages)
    opened.database.check_version()
    known = [entry.id for entry in ContentTables(opened.database).segments()]
    store.next_segment = max([store.next_segment, *[entry + 1 for entry in known]])
    first, tip = chain.records[0], chain.tip
    opened.tip = Tip(tip.commit.seq, tip.hash, 0, 0)
    opened.unnoted = tuple(Tip(found.commit.seq, found.hash, 0, 0) for found in chain.records)
    opened.start = CheckpointPointer(first.commit.epoch, first.commit.seq, first.offset,
                                     chain.checkpoint.hash)
    opened.chunks = dict(enumerate(root.chunks))
    opened.next_stripe = root.next_stripe


def open_database(vfs: PageVfs, pages: PageStore) -> Database:
    """The database over a page store."""
    def take_damage() -> Damage | None:
        damage, pages.damage = pages.damage, None
        return damage

    return Database(MAIN_NAME, vfs=vfs.name, damage_of=take_damage)


def _prove_fresh(opened: Opened, options: OpenOptions) -> None:
    """Invariant I3: as new as a read quorum and as the anchor, from which it must descend."""
    chain = opened.chain
    assert chain is not None and opened.view is not None and opened.database is not None
    quorum = len(opened.view.read) >= opened.quorum.recover
    anchor = opened.anchor_file.load()
    if anchor is None:
        opened.freshness = Freshness.QUORUM_ONLY if quorum else Freshness.NOT_PROVEN
        return
    check_downgrade(opened.label, anchor)
    try:
        check_descent(chain, ContentTables(opened.database), anchor)
    except (RolledBack, Forked) as error:
        if not options.accept_rollback:
            opened.journal.record(Event(
                EventKind.FORK_REFUSED if isinstance(error, Forked)
                else EventKind.ROLLBACK_REFUSED, str(error)))
            raise
        opened.journal.record(Event(
            EventKind.ROLLBACK_ACCEPTED, f"accepted by --accept-rollback: {error}",
            expected=f"{anchor.seq} {anchor.hash}",
            got=f"{chain.tip.commit.seq} {chain.tip.hash.hex()}"))
    opened.freshness = Freshness.PROVEN if quorum else Freshness.ANCHOR_ONLY
