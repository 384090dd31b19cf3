"""The committer: one record after the other, and nobody returns before his own is acknowledged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from ecfs.base.errors import Bug, Damage, EcfsError, Fenced, ReadOnly
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import NO_PARENT, BoxKeys, Commit, decode_commit, record_hash
from ecfs.formats.packing import NUMBER_MAX
from ecfs.metadata import Database, PageStore, PageVfs
from ecfs.volume import committing
from ecfs.volume.committing import Committer, Tip
from ecfs.volume.opening import open_database
from tests.golden.objects import ROOT
from tests.unit.stripes.simulated import POOL_ID, CountedEntropy, StillClock

KEYS = BoxKeys(POOL_ID, b"k" * 32, b"s" * 32)


class Log:
    """A record writer that keeps what it is given. `gate`: appends wait there; `fail`: what the
    next appends raise, one after the other."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.tried: list[bytes] = []
        self.fail: list[EcfsError] = []
        self.gate: trio.Event | None = None
        self.missed: tuple[bytes, ...] = ()

    async def append(self, record: bytes) -> None:
        self.tried.append(record)
        if self.gate is not None:
            await self.gate.wait()
        if self.fail:
            raise self.fail.pop(0)
        self.records.append(record)

    def commits(self) -> list[Commit]:
        return [decode_commit(record, KEYS)[1] for record in self.records]


class Desk:
    """A committer over an empty database, and its log."""

    def __init__(self, database: Database, pages: PageStore) -> None:
        self.database = database
        self.pages = pages
        self.log = Log()
        self.committer = Committer(
            database=database, pages=pages, writer=self.log,  # type: ignore[arg-type]
            keys=KEYS, clock=StillClock(), entropy=CountedEntropy(), epoch=3, writer_id=bytes(16),
            tip=Tip(0, NO_PARENT, 0, 0))

    def change(self, name: str, value: int = 1) -> None:
        with self.database.change():
            self.database.set_setting(name, value)

    def replayed(self) -> PageStore:
        """The pages as a mount would find them from the acknowledged records."""
        def nowhere(place: int) -> bytes:
            raise AssertionError(f"no page lies in a stripe here: {place}")

        pages = PageStore(nowhere)
        for commit in self.log.commits():
            pages.apply(commit.pages, commit.page_count)
        return pages

    def has(self, name: str) -> bool:
        """Whether a setting is in the acknowledged state."""
        pages = self.replayed()
        vfs = PageVfs("replayed", pages)
        database = open_database(vfs, pages)
        try:
            return database.setting(name) is not None
        finally:
            database.close()


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    def nowhere(place: int) -> bytes:
        raise AssertionError(f"no page lies in a stripe here: {place}")

    pages = PageStore(nowhere)
    vfs = PageVfs("desk", pages)
    database = open_database(vfs, pages)
    database.create_tables()
    made = Desk(database, pages)
    await made.committer.commit()
    yield made
    database.close()


async def test_each_record_names_the_one_before() -> None:
    async with desk() as made:
        for number in range(4):
            made.change(f"s{number}")
            await made.committer.commit()
        parent = NO_PARENT
        for seq, (record, commit) in enumerate(zip(made.log.records, made.log.commits(),
                                                   strict=True), 1):
            assert (commit.seq, commit.parent, commit.epoch) == (seq, parent, 3)
            parent = record_hash(record)
        assert made.committer.tip.hash == parent
        assert all(made.has(f"s{number}") for number in range(4))


async def test_a_checkpoint_that_could_not_be_read_is_never_sent() -> None:
    """The one before it would be given back. As an order of writing past all numbers was once."""
    async with desk() as made:
        sent = len(made.log.records)
        for root in (replace(ROOT, next_order=NUMBER_MAX + 1), replace(ROOT, next_stripe=True)):
            with pytest.raises(Bug, match="a checkpoint's record"):
                await made.committer.send_root(root, clean=False)
        assert len(made.log.records) == sent
        await made.committer.send_root(ROOT, clean=True)
        assert made.log.commits()[-1].root == ROOT


async def test_nothing_to_commit_is_no_record() -> None:
    async with desk() as made:
        count = len(made.log.records)
        await made.committer.commit()
        assert len(made.log.records) == count
        await made.committer.open_epoch()
        assert len(made.log.records) == count + 1 and not made.log.commits()[-1].pages


async def test_who_comes_while_a_record_is_on_its_way_waits_for_the_next() -> None:
    """What he changed is not in the record that was already made (I5)."""
    async with desk() as made:
        made.change("first")
        made.log.gate = trio.Event()
        returned: list[str] = []

        async def commit(name: str) -> None:
            await made.committer.commit()
            assert made.has(name), f"{name} was acknowledged and is in no record"
            returned.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit, "first")
            await trio.testing.wait_all_tasks_blocked()
            for name in ("second", "third"):
                made.change(name)
                nursery.start_soon(commit, name)
            await trio.testing.wait_all_tasks_blocked()
            made.log.gate.set()
        assert sorted(returned) == ["first", "second", "third"]
        # The two that waited share one record.
        assert len(made.log.records) == 3


async def test_a_failure_is_told_to_everybody_whom_it_concerns() -> None:
    """Also to him whose changes are in the record that another one failed to send."""
    async with desk() as made:
        made.change("first")
        made.log.fail = [ReadOnly("too few"), ReadOnly("too few"), ReadOnly("too few")]
        made.log.gate = trio.Event()
        failed: list[str] = []

        async def commit(name: str) -> None:
            try:
                await made.committer.commit()
            except ReadOnly:
                failed.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit, "one")
            nursery.start_soon(commit, "two")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(commit, "three")
            await trio.testing.wait_all_tasks_blocked()
            made.log.gate.set()
        assert sorted(failed) == ["one", "three", "two"]
        assert made.committer.pending and isinstance(made.committer.failure, ReadOnly)


async def test_a_record_that_failed_is_sent_again_byte_for_byte() -> None:
    """Some members may hold it: other bytes in its place would be a second history."""
    async with desk() as made:
        made.change("kept")
        made.log.fail = [ReadOnly("too few")]
        with pytest.raises(ReadOnly):
            await made.committer.commit()
        waited = made.committer.pending
        made.change("later")
        await made.committer.commit()
        first, again, after = made.log.tried[-3:]
        assert first == again != after
        assert waited and not made.committer.pending and made.committer.failure is None
        assert made.has("kept") and made.has("later")
        assert [commit.seq for commit in made.log.commits()] == [1, 2, 3]


async def test_a_fenced_writer_sends_nothing_more() -> None:
    async with desk() as made:
        made.change("lost")
        made.log.fail = [Fenced("somebody has claimed the pool")]
        with pytest.raises(Fenced):
            await made.committer.commit()
        tried = len(made.log.tried)
        for call in (made.committer.commit, made.committer.open_epoch):
            with pytest.raises(Fenced):
                await call()
        assert len(made.log.tried) == tried


async def test_the_history_knows_every_record_and_is_bounded(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """An anchor that names an old record is proven from it when the record itself is gone."""
    monkeypatch.setattr(committing, "HISTORY_COMMITS_MAX", 5)
    async with desk() as made:
        hashes = {}
        for number in range(12):
            made.change("s", number)
            await made.committer.commit()
            hashes[made.committer.tip.seq] = made.committer.tip.hash
        made.committer.note_history()
        await made.committer.commit()
        known = {row[0]: row[1] for row in made.database.rows("SELECT seq, hash FROM history")}
        newest = max(hashes)
        assert known == {seq: hashes[seq] for seq in range(newest - 4, newest + 1)}


async def test_records_are_noted_at_the_latest_when_many_are_not(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "UNNOTED_COUNT_MAX", 4)
    async with desk() as made:
        counts = []
        for number in range(9):
            made.change("s", number)
            await made.committer.commit()
            counts.append((made.database.value("SELECT count(*) FROM history"),
                           len(made.committer._unnoted)))
        # The first record was there before.
        assert counts[2:8] == [(0, 4), (4, 1), (4, 2), (4, 3), (4, 4), (8, 1)]


async def test_what_was_noted_in_vain_is_noted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that fails takes its history with it."""
    async with desk() as made:
        made.change("s", 1)
        await made.committer.commit()
        made.committer.note_history()
        with monkeypatch.context() as patched:
            def refuse() -> None:
                raise Damage("a page is lost")

            patched.setattr(made.database, "commit", refuse)
            with pytest.raises(Damage):
                await made.committer.commit()
        made.committer.note_history()
        await made.committer.commit()
        assert made.database.value("SELECT count(*) FROM history") == 2


async def test_records_that_were_adopted_join_the_history() -> None:
    async with desk() as made:
        adopted = [Tip(40 + number, bytes([number]) * 32, 0, 0) for number in range(3)]
        made.committer._unnoted.extend(adopted)
        made.committer.note_history()
        await made.committer.commit()
        known = {row[0]: row[1] for row in made.database.rows(
            "SELECT seq, hash FROM history WHERE seq >= 40")}
        assert known == {tip.seq: tip.hash for tip in adopted}


async def test_a_step_of_several_records_says_that_more_follows(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "DELTAS_PER_RECORD_LEN", 3 * BLOCK_LEN)
    async with desk() as made:
        before = len(made.log.records)
        noise = CountedEntropy(b"noise")
        with made.database.change():
            for number in range(12):
                made.database.set_setting(f"s{number}", noise.token(3000))
        await made.committer.commit()
        step = made.log.commits()[before:]
        assert len(step) > 3
        assert [commit.more for commit in step] == [True] * (len(step) - 1) + [False]
        assert [commit.parent for commit in made.log.commits()] == [
            NO_PARENT, *map(record_hash, made.log.records[:-1])]
        assert all(made.has(f"s{number}") for number in range(12))


async def test_who_missed_the_record_before_stands_in_the_next() -> None:
    async with desk() as made:
        made.log.missed = (b"m" * 16,)
        made.change("s")
        await made.committer.commit()
        assert made.log.commits()[-1].missed == (b"m" * 16,)


async def test_everybody_is_told_of_each_acknowledged_record() -> None:
    async with desk() as made:
        told: list[int] = []
        made.committer.on_commit = lambda tip: told.append(tip.seq)
        for number in range(3):
            made.change("s", number)
            await made.committer.commit()
        assert told == [2, 3, 4] and made.committer.commit_count == 4


async def test_a_checkpoint_that_says_something_else_is_not_written() -> None:
    async with desk() as made:
        [record], [commit] = made.log.records, made.log.commits()
        committing._check_readable(record, KEYS, commit)
        with pytest.raises(Bug, match="does not say what it was made of"):
            committing._check_readable(record, KEYS, replace(commit, seq=commit.seq + 1))
