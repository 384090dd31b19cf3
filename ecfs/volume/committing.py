"""Commits: from the open transaction to records on a quorum.

Lock order: `lock` is held over freezing, encoding and appending, so records are made and sent one
after the other; record n+1 leaves only after n is acknowledged. Concurrent callers share a commit.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import trio

from ecfs.base.errors import Bug, Damage, EcfsError, Fenced
from ecfs.base.limits import COMMIT_RECORD_LEN_MAX, HISTORY_COMMITS_MAX
from ecfs.base.locks import Held
from ecfs.base.units import KIB
from ecfs.base.world import Clock, Entropy
from ecfs.content import WriteLog
from ecfs.formats import (
    BoxKeys,
    Commit,
    LoggedWrite,
    PageDelta,
    Root,
    decode_commit,
    encode_commit,
    record_hash,
)
from ecfs.metadata import Batch, Database, PageStore
from ecfs.observe import AuditHead
from ecfs.volume.appending import RecordWriter

DELTAS_PER_RECORD_LEN = COMMIT_RECORD_LEN_MAX - 256 * KIB
DELTA_OVERHEAD_LEN = 16
UNNOTED_COUNT_MAX = 512

_Step = tuple[int, tuple[PageDelta, ...], tuple[LoggedWrite, ...]]
"""Of one record: length of the database in pages, deltas, writes."""


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest record that is acknowledged."""

    seq: int
    hash: bytes
    offset: int
    length: int


@dataclass(slots=True)
class _Encoded:
    """A record that is on its way; kept byte for byte until a quorum holds it. `commit` is what it
    says, without what is long of it."""

    tip: Tip
    data: bytes
    commit: Commit


class Committer:
    """Writes the commit records of one epoch. `on_commit` is told of every acknowledged tip,
    `on_failure` once when records begin to fail. `newest` is the newest acknowledged one,
    `step_tip` the tip of the newest step of which all records are acknowledged.

    `unnoted`: records that were adopted and that the history in the database may lack. `log`: what
    records carry in place of pages.
    `audit_head` gives what is durable in the client's audit log before the record is made.
    """

    def __init__(self, *, database: Database, pages: PageStore, writer: RecordWriter,
                 keys: BoxKeys, clock: Clock, entropy: Entropy, epoch: int, writer_id: bytes,
                 tip: Tip, unnoted: Sequence[Tip] = (), log: WriteLog | None = None) -> None:
        self._database = database
        self._pages = pages
        self.writer = writer
        self._keys = keys
        self._clock = clock
        self._entropy = entropy
        self._epoch = epoch
        self._writer_id = writer_id
        self.tip = self.step_tip = tip
        self._made = tip
        self._queue: deque[_Encoded] = deque()
        self._unnoted = list(unnoted)
        self._noted_count = 0
        self._log = WriteLog() if log is None else log
        self._carried = bool(self._log)
        self.lock = trio.Lock()
        self._requested = 0
        self._finished = 0
        self.commit_count = 0
        self.generation: Callable[[], int] = lambda: 0
        self.host = ""
        self.audit_head: Callable[[], AuditHead | None] = lambda: None
        self.on_commit: Callable[[Tip], None] = lambda tip: None
        self.on_failure: Callable[[EcfsError], None] = lambda error: None
        self.newest: Commit | None = None
        self.failure: EcfsError | None = None
        self.changes_at_commit = 0

    async def commit(self) -> None:
        """All changes made before this call are durable on return. ReadOnly, Fenced."""
        self._requested += 1
        ticket = self._requested
        async with Held(self.lock):
            # Who gets the lock from a commit that failed at the end finds the database closed.
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._finished >= ticket and self.failure is None:
                return
            covered = self._requested
            await self.commit_locked()
            self._finished = covered

    async def commit_locked(self) -> None:
        """As `commit`, for a caller that holds `lock`."""
        self.freeze()
        await self._send()

    async def open_epoch(self) -> None:
        """OPEN: the first record of an epoch; its parent is the adopted tip, it changes nothing."""
        async with self.lock:
            self._encode(self._commit(self._pages.page_count))
            await self._send()

    def freeze(self) -> None:
        """End the transaction, if it has changes, and make its records; where it has none, a record
        of what was written. Needs `lock`."""
        changed = self._database.in_transaction
        if changed:
            self._log.enter()
            if len(self._unnoted) >= UNNOTED_COUNT_MAX:
                self.note_history()
            noted, self._noted_count = self._noted_count, 0
            self.changes_at_commit = self._database.change_count
            self._database.commit()
            del self._unnoted[:noted]
        steps: list[_Step] = [(batch.page_count, tuple(group), ())
                              for batch in self._pages.take_frozen() for group in _split(batch)]
        if changed:
            # What could not be entered: the pages supersede the records that carried it.
            self._log.renew()
        steps += [(self._pages.page_count, (), writes) for writes in self._log.take()]
        entered = changed and self._carried
        if entered and not steps:
            # SQLite leaves out changes that change nothing.
            steps = [(self._pages.page_count, (), ())]
        for number, (page_count, deltas, writes) in enumerate(steps, 1):
            self._encode(self._commit(page_count, deltas, writes, entered=entered,
                                      more=number < len(steps)))
            self._carried = bool(writes) or (self._carried and not entered)
            entered = False

    def carry_again(self) -> None:
        """A checkpoint's base is made: who starts from it sees only records after it."""
        self._log.renew()

    def note_history(self) -> None:
        """Put the hashes of all records made so far into the history, so that an anchor that names
        one of them is known when the record itself is gone. Needs `lock`.

        Before each checkpoint, for only then do records go; those after it are found by reading.
        """
        with self._database.change():
            self._database.run_many("INSERT OR IGNORE INTO history VALUES(?,?)",
                                    [(tip.seq, tip.hash) for tip in self._unnoted])
        self._noted_count = len(self._unnoted)
        try:
            with self._database.change():
                self._database.run("DELETE FROM history WHERE seq<=?",
                                   (self._made.seq - HISTORY_COMMITS_MAX,))
        except Damage:
            # The oldest page is lost. That it grows old costs less than to write nothing any more.
            pass

    async def send_root(self, root: Root, *, clean: bool) -> Tip:
        """Append a checkpoint's record and wait until it is acknowledged. Needs `lock`."""
        self.freeze()
        commit = replace(self._commit(self._pages.page_count), root=root, clean=clean)
        self._encode(commit)
        await self._send()
        return self.tip

    def _commit(self, page_count: int, pages: tuple[PageDelta, ...] = (),
                writes: tuple[LoggedWrite, ...] = (), *, entered: bool = False,
                more: bool = False) -> Commit:
        return Commit(
            epoch=self._epoch, seq=self._made.seq + 1, parent=self._made.hash,
            writer=self._writer_id, time_ns=self._clock.wall_ns(),
            generation=self.generation(), page_count=page_count, pages=pages,
            missed=self.writer.missed, more=more, host=self.host, audit=self.audit_head(),
            entered=entered, writes=writes)

    def _encode(self, commit: Commit) -> None:
        data = encode_commit(commit, self._keys, self._entropy.token(32))
        if commit.root is not None:
            # What came before it is given back: who cannot read it has lost the pool.
            _check_readable(data, self._keys, commit)
        offset = self._made.offset + self._made.length
        self._made = Tip(commit.seq, record_hash(data), offset, len(data))
        if commit.pages or commit.root is not None:
            commit = replace(commit, pages=(), root=None)
        self._queue.append(_Encoded(self._made, data, commit))
        self._unnoted.append(self._made)

    async def _send(self) -> None:
        """ACKNOWLEDGE, record by record, in order; on failure the queue stays and is sent again."""
        if isinstance(self.failure, Fenced):
            raise self.failure
        while self._queue:
            record = self._queue[0]
            try:
                await self.writer.append(record.data)
            except EcfsError as error:
                self.fail(error)
                raise
            self.failure = None
            self._queue.popleft()
            self.tip, self.newest = record.tip, record.commit
            if not record.commit.more:
                self.step_tip = record.tip
            self.commit_count += 1
            self.on_commit(self.tip)

    def fail(self, error: EcfsError) -> None:
        """Nothing can be written, until a record goes out again."""
        before, self.failure = self.failure, error
        if type(before) is not type(error):
            self.on_failure(error)

    @property
    def pending(self) -> bool:
        """Whether records wait that no quorum holds yet."""
        return bool(self._queue)


def _check_readable(data: bytes, keys: BoxKeys, commit: Commit) -> None:
    try:
        said = decode_commit(data, keys)[1]
    except Damage as error:
        raise Bug(f"a checkpoint's record cannot be read: {error}") from error
    if said != commit:
        raise Bug("a checkpoint's record does not say what it was made of")


def _split(batch: Batch) -> list[list[PageDelta]]:
    """Deltas in groups that fit a record."""
    groups: list[list[PageDelta]] = [[]]
    length = 0
    for delta in batch.deltas:
        size = len(delta.data) + DELTA_OVERHEAD_LEN
        if length + size > DELTAS_PER_RECORD_LEN:
            groups.append([])
            length = 0
        groups[-1].append(delta)
        length += size
    return groups
