"""Opening a pool: find, unlock, claim, read the log, adopt a history, prove that it is fresh."""

import os
from collections.abc import Callable, Iterable
from functools import partial

from ecfs.base.errors import (
    Damage,
    Forked,
    NotAPool,
    ReadOnly,
    Refusal,
    RolledBack,
    TooFewReachable,
    UnknownFormat,
    Unreadable,
)
from ecfs.base.limits import ORDER_EPOCH_SHIFT
from ecfs.base.units import BLOCK_LEN, NS_PER_S
from ecfs.erasure import Geometry, metadata_geometry
from ecfs.formats import CheckpointPointer, TargetEntry, check_known
from ecfs.metadata import MAIN_NAME, ContentTables, Database, PageStore, PageVfs
from ecfs.observe import Event, EventKind, Journal
from ecfs.stripes import Fleet, Identity, Member, MemberState, StripeStore
from ecfs.targets import Target
from ecfs.volume.adopting import adopted, exchange_left, leave_out, note_replaced, quorum_of
from ecfs.volume.anchor import AnchorFile, PathMemory
from ecfs.volume.auditing import compare_audit, note_audit
from ecfs.volume.claiming import Claimer, HostLock, box_keys, is_claimed_after
from ecfs.volume.committing import Tip
from ecfs.volume.descent import check_downgrade, check_slots, prove_fresh
from ecfs.volume.environment import Environment, OpenOptions, Secret
from ecfs.volume.locate import Located, look_for_rest, require, unlock
from ecfs.volume.looking import look_everywhere
from ecfs.volume.opened import MOUNTED_READ_ONLY, Opened
from ecfs.volume.records import LogView, read_log
from ecfs.volume.recovery import (
    Chain,
    MetadataTable,
    adopt,
    bad_records,
    load_map,
    replay,
)

MEMBERSHIPS_FOLLOWED_MAX = 4
ONLY_READABLE = "the pool has features that this program can only read"


async def open_pool(paths: Iterable[str], secret: Secret, environment: Environment,
                    options: OpenOptions) -> Opened:
    """Everything up to the newest state of the database. Raises refusals, which are audited;
    leaves nothing open."""
    journal = environment.journal(reads_only=options.read_only)
    try:
        return await _open_pool(paths, secret, environment, options, journal)
    except BaseException as error:
        if isinstance(error, (Refusal, Damage)) and not isinstance(error, (RolledBack, Forked)):
            # Those are events of their own, with what was expected and what was found.
            kind = (EventKind.METADATA_DAMAGED if isinstance(error, Unreadable)
                    else EventKind.REFUSED)
            journal.record(Event(kind, f"{error} [{error.id}]"))
        journal.close()
        raise


async def _open_pool(paths: Iterable[str], secret: Secret, environment: Environment,
                     options: OpenOptions, journal: Journal) -> Opened:
    started_ns = environment.clock.monotonic_ns()
    memory = PathMemory(environment.state_dir)
    search = await look_everywhere(paths, environment)
    before_ns = environment.clock.monotonic_ns()
    try:
        located = unlock(search.sightings, secret, memory.load(), journal,
                         copies_help=options.copies_help)
        kdf_s = (environment.clock.monotonic_ns() - before_ns) / NS_PER_S
        located = await look_for_rest(located, search, environment, journal)
        journal.pool_id = located.pool_id
        writable, quorum = check_known(located.label), quorum_of(located.label)
    except BaseException:
        search.close()
        raise
    for sighting in search.sightings:
        if all(sighting is not kept for kept in located.kept()):
            sighting.close()
    fleet = _fleet(located, environment, journal)
    opened = Opened(environment, journal, located, fleet, quorum,
                    HostLock(environment.run_dir, located.pool_id),
                    AnchorFile(environment.state_dir, located.pool_id, chosen=options.anchor_dir),
                    environment.entropy.token(16), kdf_s=kdf_s, started_ns=started_ns)
    try:
        await _open(opened, options, writable)
        memory.note([path for one in located.sightings.values() for path in (one.text, one.place)],
                    located.pool_id, needed=not options.read_only)
    except BaseException:
        opened.release()
        raise
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
            # Before anything is read: what it never got is no fault of its own.
            member.behind = member.generation < (located.label.epoch, located.label.generation)
        else:
            located.absent[entry.id].note_on(member)
        member.source = located.take_source(entry.name)
        members.append(member)
    return Fleet(members, journal, environment.open_together())


async def _open(opened: Opened, options: OpenOptions, writable: bool) -> None:
    quorum = opened.quorum
    # An anchor that cannot be used is refused before anything is written.
    opened.anchor_file.load()
    members_online = _members_online(opened)
    if not writable:
        opened.read_only = ONLY_READABLE
    elif members_online < quorum.commit:
        opened.read_only = (f"only {members_online} of {quorum.members} members can be reached, "
                            f"{quorum.commit} are needed to write")
    elif options.read_only:
        opened.read_only = MOUNTED_READ_ONLY
    opened.groups = (opened.label.members,)
    if not opened.read_only:
        await _claim(opened, options)
    await _read(opened, options)
    if options.fresh:
        _load_nothing(opened)
        return
    named = opened.label.targets
    chain = await _follow_members(opened, options)
    note_replaced(opened.fleet, opened.label, named)
    try:
        _load(opened, chain)
    except Damage as error:
        raise _explained(opened, error) from error
    _leave_out(opened, named)
    _prove_fresh(opened, options)


async def _follow_members(opened: Opened, options: OpenOptions) -> Chain:
    """The adopted chain, once claim and reading are of all members that may count.

    Where the newest checkpoint has other members than the labels, an exchange was cut short. Its
    writer may have counted the new member, or it was fenced and that checkpoint never acknowledged:
    nobody can tell, so both sets need their quorum.
    """
    named = opened.label
    for _ in range(MEMBERSHIPS_FOLLOWED_MAX):
        chain = opened.chain
        if chain is None and named.checkpoint is not None:
            raise _explained(opened, Damage("no commit record can be read"))
        if chain is None:
            raise NotAPool("this pool was never finished by mkfs; run `ecfs mkfs` again")
        if not check_known(chain.root):
            # Labels are written after the checkpoint that first has a feature.
            opened.bar(ONLY_READABLE)
        groups: tuple[tuple[bytes, ...], ...] = (named.members,)
        if set(chain.root.members) != set(named.members):
            groups = (named.members, chain.root.members)
        if not opened.read_only and any(len(opened.claim_holders.intersection(group))
                                        < opened.quorum.commit for group in groups):
            opened.read_only = ("too few of the members that the newest checkpoint names are there "
                                "to take the claim")
        if groups == opened.groups:
            opened.located.label = adopted(named, chain.root)
            return chain
        opened.groups = groups
        await _read(opened, options)
    raise TooFewReachable("each checkpoint that is found names other members; bring back more "
                          "targets")


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
    assert opened.database is not None
    opened.exchange = exchange_left(opened.database, opened.label, named)
    keep = {entry.id for entry in opened.label.targets}
    if opened.exchange is not None:
        keep.add(opened.exchange.new.id)
    counted = set() if opened.read_only else {one for group in opened.groups for one in group}
    opened.located.messages += leave_out(opened.fleet, keep, counted)


def _members_online(opened: Opened) -> int:
    return sum(1 for target_id in opened.label.members
               if (member := opened.fleet.get(target_id)) is not None and member.online)


def claimer_of(opened: Opened) -> Claimer:
    """The claimer of a pool."""
    pool_id = opened.located.pool_id
    return Claimer(opened.fleet, box_keys(opened.master, pool_id, "claim"),
                   box_keys(opened.master, pool_id, "heartbeat"), opened.environment.entropy,
                   opened.journal, opened.environment.host, opened.label.members,
                   opened.quorum.commit, opened.label.parity)


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
    try:
        opened.epoch = view.next_epoch(opened.label.epoch, opened.label.parity)
        claimed = await claimer.claim(opened.epoch, opened.writer)
        opened.claim, opened.claim_holders = claimed.data, claimed.holders
    except ReadOnly as error:
        opened.read_only = str(error)


async def _read_view(opened: Opened) -> LogView:
    pointer = opened.label.checkpoint
    keys = box_keys(opened.master, opened.located.pool_id, "commit")
    members = dict.fromkeys(member for group in opened.groups for member in group)
    return await read_log(opened.fleet, members, keys,
                          epoch=pointer.epoch if pointer else 0,
                          offset=pointer.offset if pointer else 0,
                          seq=pointer.seq if pointer else 0)


def _find_lagging(opened: Opened, view: LogView, chain: Chain) -> None:
    """Members without the record of the newest checkpoint may lack its stripes as well, also where
    its labels were never written: that is known before anything is read from them."""
    commit = chain.checkpoint.commit
    holders = view.holders.get((commit.epoch, commit.seq), set())
    for target_id in set(opened.label.members) - holders:
        opened.fleet[target_id].behind = True


async def _read(opened: Opened, options: OpenOptions) -> None:
    """READ of the protocol: the log as a read quorum holds it, each member after it took the
    claim. A member without our claim may take, and count, a record of the writer before once we
    have read it; so it does not count here (the model in models/ has the counterexample)."""
    view = await _read_view(opened)
    view.check_known()
    if not view.read:
        require(0, opened.quorum.recover, opened.located)
    try:
        opened.chain = adopt(view, drop_tail=options.drop_tail)
    except TooFewReachable:
        # A writer that is being fenced may have had a record on its way; by now none is.
        view = await _read_view(opened)
        opened.chain = adopt(view, drop_tail=options.drop_tail)
    if not opened.read_only:
        count = min(len(view.read.intersection(opened.claim_holders, group))
                    for group in opened.groups)
        if count < opened.quorum.recover:
            opened.read_only = (f"only {count} members can be read after they took the claim, "
                                f"{opened.quorum.recover} are needed to know the newest state")
    opened.view = view
    if opened.chain is not None:
        opened.clean = opened.chain.tip.commit.clean
        _find_lagging(opened, view, opened.chain)
        for bad in bad_records(view):
            opened.journal.record(Event(
                EventKind.RECORD_BAD if bad.acknowledged else EventKind.RECORD_TORN,
                f"commits.{bad.epoch:x} has no good record at {bad.offset:x}",
                target=bad.member, offset=bad.offset))
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


def _fence_of(opened: Opened, chain: Chain) -> Callable[[Target], bool]:
    """Tells whether another writer may have given back what is missing on a target: one whose claim
    is later than ours; for who only reads, also one that has not ended cleanly."""
    if not opened.epoch and not chain.tip.commit.clean:
        return lambda target: True
    epoch = opened.epoch or chain.tip.commit.epoch
    return partial(is_claimed_after, epoch=epoch,
                   keys=box_keys(opened.master, opened.located.pool_id, "claim"))


def _load_nothing(opened: Opened) -> None:
    """A pool that is being made: an empty database."""
    opened.store = _store_of(opened)
    opened.pages = PageStore(lambda place: _nowhere())
    opened.vfs = PageVfs(f"ecfs-{opened.writer.hex()}", opened.pages)
    opened.database = open_database(opened.vfs, opened.pages)
    opened.database.create_tables()


def _nowhere() -> bytes:
    raise Damage(  # pragma: no cover - the pages of a new pool are in memory until it is closed
        "a new pool has no metadata stripes")


def _load(opened: Opened, chain: Chain) -> None:
    """Page map, replay, database."""
    root, label = chain.root, opened.label
    if (root.data, root.parity, root.liars) != (label.data, label.parity, label.liars):
        raise UnknownFormat("labels and checkpoint disagree about the geometry")
    table = opened.table = MetadataTable({stripe.number: stripe for stripe in root.stripes},
                                         {entry.id: entry for entry in root.segments})
    store = opened.store = _store_of(opened)
    store.is_fenced = _fence_of(opened, chain)
    # Who is noted as behind stands in what is read now; `find_behind` tells what was held back.
    store.hold_back()
    store.next_segment = root.next_segment
    # What a crashed epoch wrote after its root must stay older than what this one writes.
    store.next_order = max(root.next_order, opened.epoch << ORDER_EPOCH_SHIFT)

    def read_extent(number: int, start: int, length: int) -> bytes:
        ref = table.ref(number)
        result = store.read_sync(ref, store.layout(ref).units_of(start, length))
        if result.faults:
            store.on_fault(ref, result.faults)
        return bytes(result.data)

    pages = PageStore(lambda place: read_extent(place >> 32, place & 0xFFFFFFFF, BLOCK_LEN))
    pages.map = load_map(root, read_extent)
    pages.page_count = root.page_count
    opened.writes = replay(chain, pages)
    opened.pages = pages
    opened.vfs = PageVfs(f"ecfs-{opened.writer.hex()}", pages)
    opened.database = open_database(opened.vfs, pages)
    opened.database.check_version()
    known = [entry.id for entry in ContentTables(opened.database).segments()]
    store.next_segment = max([store.next_segment, *[entry + 1 for entry in known]])
    first, tip = chain.records[0], chain.tip
    opened.tip = Tip(tip.commit.seq, tip.hash, 0, 0)
    # The base too: its own hash enters the history with the commit that follows, if one does.
    opened.unnoted = (Tip(root.base_seq, root.base_hash, 0, 0), *(
        Tip(found.commit.seq, found.hash, 0, 0) for found in chain.records))
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
    anchor = opened.anchor_file.load()
    opened.audit = compare_audit(chain.tip.commit, opened.journal,
                                 host=opened.environment.host.name, anchor=anchor)
    note_audit(opened.audit, opened.journal)
    if anchor is not None:
        check_downgrade(opened.label, anchor)
    opened.freshness = prove_fresh(
        chain, ContentTables(opened.database), anchor, opened.journal,
        has_quorum=len(opened.view.read) >= opened.quorum.recover,
        accept_rollback=options.accept_rollback, on_accepted=opened.anchor_file.give_up)
    old = check_slots(opened.label, chain.root, opened.journal,
                      accept_rollback=options.accept_rollback)
    if old:
        opened.bar(old)
