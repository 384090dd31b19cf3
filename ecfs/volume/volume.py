"""A volume while it is open: joins tree, content and log, and runs what goes on in the background.

Lock order, outermost first: the volume's checkpoint lock, the checkpointer's lock, the flusher's
round lock, the commit lock.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import trio

from ecfs.base.errors import Bug, Damage, EcfsError, Fenced, NoSpace, ReadOnly
from ecfs.base.ids import InodeId
from ecfs.base.limits import INLINE_RECORD_LEN_MAX, TRANSACTION_PAGES_MAX
from ecfs.content import Files, note_behind
from ecfs.formats import CheckpointPointer, SegmentEntry, column_name, logs_writes
from ecfs.namespace import Tree
from ecfs.observe import Event, EventKind, Journal
from ecfs.stripes import Fleet, StripeStore
from ecfs.volume.anchor import Anchor
from ecfs.volume.appending import RecordWriter
from ecfs.volume.auditing import audit_advice, evidence_now, note_unwritable
from ecfs.volume.background import Background, Idle, Mender, Task, in_turn
from ecfs.volume.behind import find_behind, is_dead, may_lack
from ecfs.volume.checkpointing import Checkpointer
from ecfs.volume.claiming import box_keys
from ecfs.volume.committing import Committer, Tip
from ecfs.volume.damaged import DamagedFiles
from ecfs.volume.environment import Environment, OpenOptions
from ecfs.volume.housekeeping import forget_epochs, remove_columns, remove_strays
from ecfs.volume.inodes import Inodes
from ecfs.volume.labelling import Labeller
from ecfs.volume.loglength import LogLength, check_countable
from ecfs.volume.logmending import LogMender
from ecfs.volume.moving import move_small
from ecfs.volume.opened import MOUNTED_READ_ONLY, Opened
from ecfs.volume.rejoining import Rejoiner
from ecfs.volume.space import SpaceMeter, VolumeSpace
from ecfs.volume.status import PoolStatus, advise, state_of, target_status

CHANGES_PER_COMMIT_MAX = TRANSACTION_PAGES_MAX * 2
NOTED_AGAIN_MAX = 3

_log = logging.getLogger("ecfs.volume")


class Volume:
    """An open pool. Made by `open_volume`."""

    def __init__(self, opened: Opened, options: OpenOptions, nursery: trio.Nursery,
                 mender: Mender | None) -> None:
        if opened.database is None or opened.store is None or opened.pages is None:
            raise Bug("a volume of a pool that is not loaded")
        self.opened = opened
        self.options = options
        self.environment: Environment = opened.environment
        self.journal: Journal = opened.journal
        self.fleet: Fleet = opened.fleet
        self.store: StripeStore = opened.store
        self.database, self.pages = opened.database, opened.pages
        self.quorum = opened.quorum
        self.pool_id = opened.located.pool_id
        self.nursery = nursery
        self.mender = mender
        self.tree = Tree(self.database, self.environment.clock)
        self.files = Files(self.database, self.store, Inodes(self.tree), self.environment.clock,
                           nursery, write_back_len=options.write_back_len,
                           cache_len=options.block_cache_len, carries=logs_writes(opened.label))
        self.labeller = Labeller(self.fleet, opened.master, opened.label, opened.epoch)
        self.meter = SpaceMeter(self.fleet, self.store)
        self.damaged = DamagedFiles(self.tree)
        self.broken: str = ""
        self.promises = (self.database.promises, self.files.flusher.promises)
        for each in self.promises:
            each.on_broken = self._note_broken_promise
        self._lost: EcfsError | None = None
        self.committer: Committer | None = None
        self.checkpointer: Checkpointer | None = None
        self.writer: RecordWriter | None = None
        self.log_mender: LogMender | None = None
        self.log_length: LogLength | None = None
        self._checkpoint_lock = trio.Lock()
        self.checkpoint_ns = self.environment.clock.monotonic_ns()
        self._anchored: Tip | None = None
        self._start = opened.start
        self.background: Background = Idle()
        self._flushing = Task()
        self._changing: list[Task] = []
        self.rejoiner: Rejoiner | None = None
        self._strays_removed = False
        self.files.on_damage = self.damaged.note
        self.store.may_lack = partial(may_lack, self.files.tables, self.database)
        self.store.is_dead = partial(is_dead, self.files.tables)
        if mender is not None:
            self.files.set_mender(mender.report)
            self.store.on_fault = mender.report

    # -- what the driver asks ----------------------------------------------------------------

    @property
    def read_only(self) -> str:
        """Why nothing can be written now; empty while it can."""
        if self.opened.read_only:
            return self.opened.read_only
        if self.broken:
            return self.broken
        if self.committer is not None and self.committer.failure is not None:
            return str(self.committer.failure)
        return ""

    def admit(self, *, grows: bool) -> None:
        """Before each change: raises ReadOnly, or NoSpace for one that grows."""
        reason = self.read_only
        if reason:
            raise ReadOnly(reason)
        if grows and self.meter.available_len(self.files.flusher.dirty_len) <= 0:
            raise NoSpace("no target has room left beyond the reserve; delete something, or add "
                          "room")

    async def room(self) -> None:
        """Wait while the open transaction is past its bound."""
        committer = self.committer
        if committer is not None and (
                self.database.change_count - committer.changes_at_commit > CHANGES_PER_COMMIT_MAX):
            await self.commit()

    async def make_room(self) -> None:
        """For who may not grow: what is dead gives its room back first, in bounded time."""
        await self.background.make_room()

    async def fsync(self, inode: InodeId | None) -> None:
        """Durable on return: the content of one inode (None: of all), and all metadata. Raises if
        not, also once anything at all that was answered is lost."""
        lost: EcfsError | None = None
        try:
            if self.committer is not None:
                await self._flush(inode)
        except Damage as damage:
            # Of one file, or of some: all others are not to suffer for it.
            lost = damage
        await self.commit()
        if inode is None:
            await self.background.give_back()
        lost = lost or self._lost or self.files.flusher.stuck_error(inode)
        if lost is not None:
            raise lost

    async def _flush(self, inode: InodeId | None) -> None:
        try:
            await self.files.flush(inode, inline=inode is not None)
        except NoSpace:
            await self.make_room()
            await self.files.flush(inode, inline=inode is not None)

    async def commit(self) -> None:
        """Everything in the open transaction is durable on return."""
        if self.committer is None:
            if self.database.in_transaction:
                raise ReadOnly(self.read_only)
            return
        if self.log_length is not None and self.log_length.is_full():
            await self.log_length.shorten()
        if self.files.flusher.log.length > INLINE_RECORD_LEN_MAX and self.database.in_transaction:
            await self.files.flush_logged()
        await self.committer.commit()
        if self.options.anchor_always:
            self.save_anchor(durable=True)

    def space(self) -> VolumeSpace:
        """What statfs tells."""
        return self.meter.space(self.tree.count(), self.files.flusher.dirty_len)

    # -- starting and stopping ---------------------------------------------------------------

    async def start(self) -> None:
        """Begin the epoch, if the pool may be written, and the background tasks."""
        opened, tables = self.opened, self.files.tables
        self.files.restore(opened.writes)
        find_behind(self.store, tables, (opened.label.epoch, opened.label.generation))
        await self.meter.refresh()
        if not opened.read_only:
            try:
                check_countable(opened.view)
                await self._begin_epoch()
                if note_behind(self.fleet, tables, self.database):
                    await self.commit()
            except ReadOnly as error:
                opened.read_only = str(error)
                self.committer = None
        self.nursery.start_soon(self.meter.run)
        if self.committer is not None:
            self._flushing.begin(self.nursery, self.files.run)
            if self.mender is not None:
                self.keep_up(partial(self.mender.run, self))
        opened.note_mounted(self.read_only)

    def keep_up(self, work: Callable[[], Awaitable[None]]) -> None:
        """Something that changes the database, from now until the pool is closed."""
        self._changing.append(Task())
        self._changing[-1].begin(self.nursery, work)

    async def _begin_epoch(self) -> None:
        opened = self.opened
        keys = partial(box_keys, opened.master, self.pool_id)
        writer = RecordWriter(self.fleet, opened.label.members, self.quorum.commit, opened.epoch,
                              opened.claim, keys("claim"), self.journal, keys=keys("commit"))
        writer.watch = opened.watch = self.environment.open_watch()
        writer.change_members(*opened.groups)
        await writer.create_files()
        committer = Committer(
            database=self.database, pages=self.pages, writer=writer, keys=keys("commit"),
            clock=self.environment.clock, entropy=self.environment.entropy, epoch=opened.epoch,
            writer_id=opened.writer, tip=opened.tip, unnoted=opened.unnoted,
            log=self.files.flusher.log)
        committer.generation = lambda: self.labeller.generation
        committer.host, committer.audit_head = self.environment.host.name, self.journal.audit_head
        committer.on_failure = partial(note_unwritable, self.journal)
        self.log_mender = LogMender(self.fleet, self.journal, keys("commit"), opened.epoch,
                                    opened.claim, writer.later_claim, keys("claim"))
        if opened.chain is not None and opened.start is not None and opened.view is not None:
            await self.log_mender.secure(opened.groups, self.quorum.commit, opened.start,
                                         opened.chain, opened.view)
        self.files.flusher.birth = lambda: committer.tip.seq
        self.log_length = LogLength(opened.view, opened.epoch, lambda: self.replay_start,
                                    committer, self.checkpoint)
        await committer.open_epoch()
        self.checkpointer = Checkpointer(
            pages=self.pages, store=self.store, committer=committer, table=opened.table,
            chunks=opened.chunks, next_stripe=opened.next_stripe,
            note_behind=partial(note_behind, self.fleet, self.files.tables, self.database))
        self.rejoiner = Rejoiner(
            self.fleet, self.environment, self.journal, opened.master, self.pool_id, opened.epoch,
            opened.claim, writer)
        self.writer, self.committer = writer, committer
        self.store.is_fenced = lambda target: writer.check_claims(target) is not None
        await self.log_length.shorten()

    async def close(self) -> None:
        """Make everything durable, write a clean checkpoint, end all tasks. Raises what went wrong.

        Nothing else changes the database any more, least of all behind that checkpoint. The flusher
        goes on, so that nothing is written twice, but where something has failed and all tasks are
        cancelled: then it might take up what it is asked for, and end in the middle.
        """
        try:
            for task in self._changing:
                await task.end()
            if self.nursery.cancel_scope.cancel_called:
                await self._flushing.end()
            await self.look_for_fence()
            if self.broken:
                # What came before is safe, and what was written since a bug was noted as well.
                await self.fsync(None)
            if self.committer is not None and not self.read_only:
                await self._end_cleanly()
        finally:
            self.journal.record(Event(EventKind.UNMOUNTED, "unmounted"))
            self.nursery.cancel_scope.cancel()

    async def _end_cleanly(self) -> None:
        failure = await in_turn(partial(self._flush, None), self._reap, self.background.reclaim)
        await self._flushing.end()
        if failure is not None:
            # What could be written is safe even if the checkpoint meets the same.
            await self.commit()
        await self.checkpoint(clean=True)
        self.save_anchor(durable=True)
        if self.writer is not None and self.committer is not None:
            async with self.committer.lock:
                # What lies behind its offset else may be a record on its way.
                await self.writer.trim()
        if failure is not None:
            raise failure

    async def _reap(self) -> None:
        while self.files.reap():
            await trio.lowlevel.checkpoint()

    def save_anchor(self, *, durable: bool) -> None:
        """Remember the newest acknowledged commit outside of the pool."""
        committer = self.committer
        if committer is None or (committer.step_tip is self._anchored and not durable):
            return
        tip, label = committer.step_tip, self.labeller.label
        self.opened.anchor_file.save(Anchor(
            self.pool_id.hex(), self.opened.epoch, tip.seq, tip.hash.hex(), label.data,
            label.parity, label.commitment.hex(), label.version), durable=durable)
        self._anchored = tip

    async def look_for_fence(self) -> None:
        """Find out early whether another writer has taken over; safety is the look in a record."""
        if self.committer is None or self.writer is None or self.read_only:
            return
        fence = await self.writer.find_fence()
        if fence is not None:
            self.note_failure(fence)
            self.committer.failure = fence

    def note_failure(self, error: EcfsError) -> None:
        """Something in the background failed; says so, unless the commit that failed has."""
        if isinstance(error, (Fenced, ReadOnly)):
            if self.committer is None or error is not self.committer.failure:
                note_unwritable(self.journal, error)
        elif isinstance(error, Bug):
            self.broken = f"a bug in ecfs: {error}"
            _log.critical("%s", self.broken)
        else:
            _log.error("in the background: %s", error)

    def _note_broken_promise(self, error: Exception) -> None:
        """A program was told of something that then could not be done: no change may build on it.
        All that came before is safe, and still made durable."""
        self._lost = error if isinstance(error, EcfsError) else Bug(f"a change failed: {error}")
        self.broken = (f"a change that a program was told of is lost: {error}; unmount, run 'ecfs "
                       "fsck' on the pool, mount it again")
        self.journal.record(Event(EventKind.CHANGE_LOST, self.broken))

    async def checkpoint(self, *, clean: bool = False) -> None:
        """Write a checkpoint, then labels; give back what neither it nor the last one needs."""
        async with self._checkpoint_lock:
            await trio.lowlevel.checkpoint_if_cancelled()  # see `Committer.commit`
            # Before new labels hide who had old ones; and again for who went behind meanwhile.
            note_behind(self.fleet, self.files.tables, self.database)
            committer = await self._checkpoint(clean=clean)
            for _ in range(NOTED_AGAIN_MAX):
                if not note_behind(self.fleet, self.files.tables, self.database):
                    break
                await (self._checkpoint(clean=True) if clean else committer.commit())

    async def _checkpoint(self, *, clean: bool) -> Committer:
        """CHECKPOINT: root, LABELS, and DELETE once a quorum holds them."""
        checkpointer, committer = self.checkpointer, self.committer
        if checkpointer is None or committer is None:
            raise ReadOnly(self.read_only)
        done = await checkpointer.write(
            self.labeller.label, clean=clean, before=partial(move_small, self.files))
        start = CheckpointPointer(self.opened.epoch, done.base.seq + 1,
                                  done.base.offset + done.base.length, done.tip.hash)
        # Labels point to where replay from the checkpoint before begins, so that both can be read.
        pointer = replace(self._start, hash=done.tip.hash) if self._start else start
        held = await self.labeller.write(pointer)
        self.checkpoint_ns = self.environment.clock.monotonic_ns()
        self._start = start
        self.journal.record(Event(EventKind.CHECKPOINT, f"checkpoint at commit {done.tip.seq}"))
        if len(held & set(self.labeller.label.members)) >= self.quorum.commit:
            self._settle_members()
            await self._give_back(pointer, done.released)
        return committer

    def _settle_members(self) -> None:
        """Labels name the newest members: if an exchange was cut short, only those count now."""
        if self.writer is not None and len(self.opened.groups) > 1:
            self.opened.groups = (self.labeller.label.members,)
            self.writer.change_members(*self.opened.groups)

    async def tend(self) -> None:
        """One round of what the background does every few seconds."""
        await self.background.tend()

    @property
    def replay_start(self) -> CheckpointPointer | None:
        """Where the records begin that are still needed: the newest labels point there."""
        return self.labeller.label.checkpoint or self._start

    async def _give_back(self, pointer: CheckpointPointer, released: list[SegmentEntry]) -> None:
        """DELETE what lies before `pointer`: a quorum holds labels that name the checkpoint."""
        await forget_epochs(self.fleet, pointer.epoch)
        if pointer.epoch == self.opened.epoch and self.writer is not None:
            await self.writer.punch(pointer.epoch, pointer.offset)
        self.store.give_back(released)
        await remove_columns(self.fleet, [column_name(entry.epoch, entry.id)
                                          for entry in released])
        if not self._strays_removed and self.checkpointer is not None:
            self._strays_removed = True
            known = self.checkpointer.known_segments() | {
                (entry.epoch, entry.id) for entry in self.files.index.segments.values()}
            await remove_strays(self.fleet, known, self.opened.epoch)

    # -- telling -----------------------------------------------------------------------------

    def status(self, *, only_looked_at: bool = False) -> PoolStatus:
        """What it is like now; `only_looked_at`: as it would be, were it mounted to be written."""
        missed = [member.name for member in self.fleet if member.behind and member.online]
        targets = tuple(
            target_status(member, self.journal.errors_of(member.id),
                          self.meter.spaces.get(member.id), self.files.tables.missed_len(member.id))
            for member in self.fleet)
        bar = "" if only_looked_at and self.read_only == MOUNTED_READ_ONLY else self.read_only
        seq, label = (self.committer or self.opened).tip.seq, self.labeller.label
        evidence = evidence_now(self.committer.newest if self.committer else None,
                                self.opened.audit, self.journal, self.environment.host.name)
        advice = (*advise(self.fleet, label, self.quorum, bar, missed,
                           self.opened.located.strangers),
                  *audit_advice(evidence, self.journal), *self.opened.anchor_file.advice)
        return PoolStatus(
            self.pool_id.hex(), state_of(self.fleet, bar, missed), self.opened.freshness.value,
            self.opened.newest_epoch, seq, label.data, label.parity, targets,
            tuple(self.damaged.paths()), advice, audit=evidence.to_json(self.journal.audit_head()))
