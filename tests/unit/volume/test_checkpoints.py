"""Checkpoints: what they rest on, what they may delete, and that the one before stays whole."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ecfs.base.errors import EcfsError, Fault, ReadOnly
from ecfs.base.units import KIB
from ecfs.formats import Root, column_name, labels_among
from ecfs.targets import FaultyTarget, Outcome, Target
from ecfs.testing.pools import Opening
from ecfs.testing.quick import remember_keys
from ecfs.volume.claiming import box_keys
from ecfs.volume.records import read_log
from tests.crash.world import MemoryDisks, files_of, memory_ground, some_bytes

REMOVALS = ("remove", "punch")


class Bench:
    """A 4+2 pool on disks in memory whose calls are seen, and refused by `refuse`."""

    def __init__(self, base: Path) -> None:
        self.disks = MemoryDisks()
        self.ground = memory_ground(base, self.disks, open_target=self._open)
        self.calls: list[tuple[str, str, str]] = []
        self.refused: set[tuple[str, str]] = set()
        self.refusing: set[str] = set(self.ground.paths)

    def _open(self, path: str) -> Target:
        def plan(number: int, method: str, name: str, offset: int) -> Outcome:
            self.calls.append((path, method, name))
            if path in self.refusing and any(
                    method == refused and name.startswith(prefix)
                    for refused, prefix in self.refused):
                return Fault.IO
            return None

        return FaultyTarget(self.disks.open(path), plan)

    def refuse(self, *calls: tuple[str, str], on: int = 6) -> None:
        """The first `on` targets fail these methods for names that begin so."""
        self.refused, self.refusing = set(calls), set(self.ground.paths[:on])

    def crash(self) -> None:
        """The machine died: what was not synced is gone."""
        self.refused = set()
        self.disks.crash()

    @asynccontextmanager
    async def doomed(self) -> AsyncIterator[Opening]:
        """A mount that ends in a crash."""
        async with self.ground.open_and_crash() as opening:
            yield opening
        self.crash()

    async def reads(self, expected: dict[bytes, bytes]) -> None:
        """The next mount finds these files."""
        async with self.ground.open_and_crash() as opening:
            for path, data in expected.items():
                assert await opening.shell.read(path) == data
            assert opening.volume.database.integrity_findings() == []
        self.crash()


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    made = Bench(tmp_path / "pool")
    await made.ground.create()
    return made


async def filled(opening: Opening, number: int, count: int = 40) -> dict[bytes, bytes]:
    """Some files, durable."""
    made = {}
    for index in range(count):
        path = b"f%d-%d" % (number, index)
        made[path] = some_bytes((number, index), 5000)
        await opening.shell.write(path, made[path])
    await opening.volume.fsync(None)
    return made


async def roots_in_reach(opening: Opening) -> list[Root]:
    """Checkpoints whose records a mount would read, as the newest labels say."""
    volume = opening.volume
    pointer = volume.labeller.label.checkpoint
    assert pointer is not None
    view = await read_log(volume.fleet, volume.labeller.label.members,
                          box_keys(volume.opened.master, volume.pool_id, "commit"),
                          epoch=pointer.epoch, offset=pointer.offset)
    return [found.commit.root for _, found in sorted(view.records.items())
            if found.commit.root is not None]


async def test_a_checkpoint_survives_a_crash_right_after_it(bench: Bench) -> None:
    """Its stripes were durable before its record counted."""
    async with bench.doomed() as opening:
        expected = await filled(opening, 1)
        await opening.volume.checkpoint()
    await bench.reads(expected)


async def test_a_checkpoint_after_a_failed_commit_holds_that_commit_too(bench: Bench) -> None:
    async with bench.doomed() as opening:
        expected = await filled(opening, 1)
        bench.refuse(("write", "commits"), ("write", "segments"))
        await opening.shell.write(b"late", b"late")
        with pytest.raises(EcfsError):
            await opening.volume.fsync(None)
        bench.refuse()
        await opening.volume.tend()
        await opening.volume.fsync(None)
        await opening.volume.checkpoint()
        await opening.volume.tend()
    await bench.reads(expected | {b"late": b"late"})


async def test_pages_that_no_record_holds_yet_are_committed_before_they_are_the_base(
        bench: Bench) -> None:
    """Else the base would hold what the records after it change once more."""
    async with bench.doomed() as opening:
        expected = await filled(opening, 1)
        committer = opening.volume.committer
        assert committer is not None
        for index in range(4):
            # Rows are put between rows: a change that is made twice is another change.
            opening.shell.make(b"f1-%d between" % index)
        await opening.shell.write(b"queued", b"q" * 3000)
        await opening.volume.files.flush(None)
        async with committer.lock:
            committer.freeze()
        waited = committer.pending
        await opening.volume.checkpoint()
        assert waited and not committer.pending
        expected |= await filled(opening, 2, 3)
    await bench.reads(expected | {b"queued": b"q" * 3000})


async def test_the_checkpoint_before_stays_whole(bench: Bench) -> None:
    """Were the newest unreadable, a mount would begin at the one before it (I9)."""
    async with bench.doomed() as opening:
        expected = await filled(opening, 1)
        for number in range(2, 7):
            expected |= await filled(opening, number)
            # Each checkpoint in segments of its own, so that old ones die.
            opening.volume.store.close_segments()
            await opening.volume.checkpoint()
            roots = await roots_in_reach(opening)
            assert len(roots) >= 2
            for root in roots[-2:]:
                for entry in root.segments:
                    name = column_name(entry.epoch, entry.id)
                    holders = [target for target in bench.disks.targets.values()
                               if name in files_of(target)]
                    assert len(holders) >= entry.data + 1, f"{name} of a checkpoint is gone"
        released = [call for call in bench.calls
                    if call[1] == "remove" and call[2].startswith("segments")]
        assert released, "no segment ever died: the test tests nothing"
    await bench.reads(expected)


async def test_nothing_is_deleted_before_a_quorum_holds_the_labels(bench: Bench) -> None:
    async with bench.doomed() as opening:
        for number in range(4):
            await filled(opening, number)
            opening.volume.store.close_segments()
            bench.calls.clear()
            await opening.volume.checkpoint()
            labelled: set[str] = set()
            for path, method, name in bench.calls:
                if method == "replace" and name.startswith("label"):
                    labelled.add(path)
                if method in REMOVALS and not name.startswith("label"):
                    assert len(labelled) >= opening.volume.quorum.commit, f"{method} {name}"


async def test_nothing_is_deleted_while_too_few_hold_the_labels(bench: Bench) -> None:
    async with bench.doomed() as opening:
        expected = await filled(opening, 0)
        await opening.volume.checkpoint()
        for number in range(1, 4):
            expected |= await filled(opening, number)
        bench.refuse(("replace", "label"), on=3)
        bench.calls.clear()
        opening.volume.store.close_segments()
        await opening.volume.checkpoint()
        assert [call for call in bench.calls if call[1] in REMOVALS
                and not call[2].startswith("label")] == []
    await bench.reads(expected)


async def test_the_label_before_the_newest_stays(bench: Bench) -> None:
    """A label that is torn while it is written is not the last one of its target."""
    async with bench.doomed() as opening:
        seen = set()
        for number in range(3):
            await filled(opening, number, 2)
            await opening.volume.checkpoint()
            for target in bench.disks.targets.values():
                names = labels_among(target.list_names())
                assert len(names) == 2
                assert names[0][:2] == (opening.volume.opened.epoch,
                                        opening.volume.labeller.generation)
            seen.add(opening.volume.labeller.generation)
        assert len(seen) == 3


async def test_a_segment_goes_only_after_the_commit_that_lets_it_go(bench: Bench) -> None:
    """The commit fails: after a crash the file is there again, and must be readable."""
    async with bench.doomed() as opening:
        data = some_bytes("kept", 300_000)
        await opening.shell.write(b"kept", data)
        await opening.volume.fsync(None)
        await opening.volume.checkpoint()
        opening.shell.unlink(b"kept")
        while opening.volume.files.reap():
            pass
        bench.refuse(("write", "commits"))
        bench.calls.clear()
        with pytest.raises(ReadOnly):
            await opening.volume.background.reclaim()
        assert not [call for call in bench.calls if call[1] == "remove"]
    await bench.reads({b"kept": data})


async def test_a_checkpoint_that_too_few_targets_take_is_put_off(bench: Bench) -> None:
    async with bench.doomed() as opening:
        expected = await filled(opening, 1)
        bench.refuse(("create", "segments"), ("write", "segments"))
        opening.volume.store.close_segments()
        with pytest.raises(EcfsError):
            await opening.volume.checkpoint()
        bench.refuse()
        await opening.volume.tend()
        await opening.volume.checkpoint()
        expected |= await filled(opening, 2, 3)
    await bench.reads(expected)


async def test_a_checkpoint_whose_record_fails_leaves_everything_as_it_was(bench: Bench) -> None:
    async with bench.doomed() as opening:
        expected = await filled(opening, 1)
        await opening.volume.checkpoint()
        expected |= await filled(opening, 2)
        bench.refuse(("sync", "commits"))
        with pytest.raises(ReadOnly):
            await opening.volume.checkpoint()
        bench.refuse()
        await opening.volume.tend()
        for path, data in expected.items():
            assert await opening.shell.read(path) == data
        assert opening.volume.database.integrity_findings() == []
    await bench.reads(expected)


async def test_content_that_a_commit_carried_moves_into_stripes(bench: Bench) -> None:
    async with bench.doomed() as opening:
        await opening.shell.write(b"small", b"s" * 700)
        await opening.shell.fsync(b"small")
        tables = opening.volume.files.tables
        assert tables.inline_extents(limit=10)
        bench.refuse(("write", "segments"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ecfs.volume.volume._log.warning", lambda *words: None)
            with pytest.raises(EcfsError):
                await opening.volume.checkpoint()
        assert tables.inline_extents(limit=10)
        bench.refuse()
        await opening.volume.tend()
        await opening.volume.checkpoint()
        assert not tables.inline_extents(limit=10)
    await bench.reads({b"small": b"s" * 700})


async def test_pages_in_mostly_dead_segments_move_so_that_they_can_go(
        bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a page that never changes again would keep its segment for ever."""
    monkeypatch.setattr("ecfs.volume.checkpointing.SPARSE_SLACK_LEN", 0)
    async with bench.doomed() as opening:
        expected = await filled(opening, 0, 300)
        table = opening.volume.opened.table
        for number in range(1, 8):
            expected |= await filled(opening, number, 2)
            opening.volume.store.close_segments()
            await opening.volume.checkpoint()
        lengths = [entry.length * entry.data for entry in table.segments.values()]
        live = sum(opening.volume.pages.map.live_pages().values()) * 4096
        assert sum(lengths) < 4 * live and len(lengths) < 7
    await bench.reads(expected)


async def test_a_page_that_cannot_be_moved_stays_where_it_is(
        bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is lost; whoever needs it is told. The checkpoint is made all the same."""
    monkeypatch.setattr("ecfs.volume.checkpointing.SPARSE_SLACK_LEN", 0)
    async with bench.doomed() as opening:
        volume = opening.volume
        await filled(opening, 0, 300)
        volume.store.close_segments()
        await volume.checkpoint()
        names = {column_name(entry.epoch, entry.id)
                 for entry in volume.opened.table.segments.values()}
        for turn in range(3):
            await filled(opening, turn + 1, 2)
            volume.pages._clean.clear()
            bench.refuse(*(("read", name) for name in names))
            volume.store.close_segments()
            await volume.checkpoint()
            bench.refuse()
        before = set(files_of(bench.disks.targets[bench.ground.paths[0]]))
        assert before & names
        assert volume.database.integrity_findings() == []
