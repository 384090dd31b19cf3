"""What a scrub says of targets that did nothing wrong."""

from pathlib import Path

import pytest

from ecfs.base.errors import Damage, Fault, TargetError
from ecfs.cli.scrub import scrub_lines
from ecfs.erasure import Geometry
from ecfs.formats import KIND_CONTENT, SegmentEntry, column_name
from ecfs.observe import EventKind
from ecfs.repair import scrub
from ecfs.repair.mending import is_column_bad, mend_stripe
from ecfs.repair.scrubbing import _Scrubber
from ecfs.repair.walking import segments_of
from ecfs.targets import FaultyTarget, MemoryTarget
from ecfs.testing.pools import Ground, columns_of, live_columns
from ecfs.volume import OpenOptions


async def test_what_a_crash_left_behind_a_segment_accuses_nobody(tmp_path: Path) -> None:
    """Stripes that were written and never acknowledged lie past the end that the database knows."""
    ground = Ground(tmp_path, geometry=Geometry(2, 1), targets_count=3)
    await ground.create()
    async with ground.open() as opening:
        await opening.shell.write(b"file", b"x" * 100_000)
    for path in ground.paths:
        for name in columns_of(path):
            with Path(path, name).open("ab") as column:
                column.write(b"tail" * 1024)
    async with ground.open() as opening:
        lengths = {name: entry.length for entry in opening.volume.files.index.segments.values()
                   for name in live_columns(opening.volume) if f"{entry.id:016x}.col" in name}
        report = await scrub(opening.volume)
        assert (report.bad_count, report.mended_count) == (0, 0)
        assert opening.volume.journal.count(EventKind.HEADER_BAD) == 0
        assert lengths
        for name, length in lengths.items():
            for path in ground.paths:
                assert Path(path, name).stat().st_size == length


async def test_a_target_that_is_not_there_is_named_and_not_counted(tmp_path: Path) -> None:
    ground = Ground(tmp_path, geometry=Geometry(2, 1), targets_count=3)
    await ground.create()
    async with ground.open() as opening:
        await opening.shell.write(b"file", b"x" * 100_000)
    async with ground.open() as opening:
        whole = await scrub(opening.volume)
        name = next(iter(opening.volume.fleet)).name
        path = next(iter(opening.volume.fleet)).path
    Path(path).rename(tmp_path / "away")
    async with ground.open() as opening:
        report = await scrub(opening.volume)
    assert (whole.not_read, report.not_read) == ([], [name])
    assert (report.bad_count, report.to_json()["not_read"]) == (0, [name])
    assert report.checked_len < whole.checked_len
    assert f"neither read nor mended: {name}" in scrub_lines(report.to_json())[-1]
    assert len(scrub_lines(whole.to_json())) == 1


async def test_a_segment_that_is_given_back_meanwhile_is_nobodys_fault(tmp_path: Path) -> None:
    """A reader that comes a moment late finds no columns; that accuses no target."""
    ground = Ground(tmp_path, geometry=Geometry(2, 1), targets_count=3)
    await ground.create()
    async with ground.open() as opening:
        volume = opening.volume
        await opening.shell.write(b"gone", b"g" * 300_000)
        await opening.shell.fsync(b"gone")
        volume.store.close_segments()
        [(entry, _, live)] = [found for found in segments_of(volume) if found[1] == KIND_CONTENT]
        refs = list(live.values())
        opening.shell.unlink(b"gone")
        while entry.id in volume.files.index.segments:
            await volume.tend()
        for ref in refs:
            with pytest.raises(Damage):
                await mend_stripe(volume.store, ref)
        assert volume.journal.count(EventKind.SHARD_MISSING) == 0
        assert (await scrub(volume)).bad_count == 0


async def test_wrong_headers_are_told_of_where_nothing_may_be_mended(tmp_path: Path) -> None:
    """Not of a target that lacks the column, nor of one that may never have got the header."""
    ground = Ground(tmp_path, geometry=Geometry(2, 1), targets_count=3)
    await ground.create()
    async with ground.open() as opening:
        await opening.shell.write(b"file", b"x" * 100_000)
    async with ground.open(OpenOptions(read_only=True)) as opening:
        volume = opening.volume
        assert (await scrub(volume)).bad_count == 0
        [(entry, _, _)] = [found for found in segments_of(volume) if found[1] == KIND_CONTENT]
        columns = [Path(ground.paths[number], column_name(entry.epoch, entry.id))
                   for number in range(3)]
        ids = [next(member.id for member in volume.fleet if member.path == path)
               for path in ground.paths]
        for column in columns[:2]:
            with column.open("r+b") as file:
                file.seek(30)
                file.write(b"rot")
        before = columns[0].read_bytes()
        volume.fleet[ids[1]].behind = True
        report = await scrub(volume)
        assert (report.bad_count, report.mended_count) == (1, 0)
        assert [event.target for event in volume.journal.recent(100)
                if event.kind is EventKind.HEADER_BAD] == [ids[0]]
        assert columns[0].read_bytes() == before


@pytest.mark.parametrize(("fault", "bad"), [
    (None, False), (Fault.MISSING, False), (Fault.UNSAFE, True), (Fault.IO, True),
    (Fault.TIMEOUT, None)])
def test_what_is_known_of_a_header_that_cannot_be_read(fault: Fault | None,
                                                       bad: bool | None) -> None:
    memory = MemoryTarget()
    memory.create("column", b"header and more")
    target = FaultyTarget(memory, lambda number, method, name, offset: fault)
    if bad is None:
        with pytest.raises(TargetError):
            is_column_bad(target, "column", b"header")
    else:
        assert is_column_bad(target, "column", b"header") is bad


async def test_a_segment_that_grows_and_is_full_meanwhile_is_not_cut(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrub takes hours, and knows each segment as it was when the scrub began."""
    ground = Ground(tmp_path, geometry=Geometry(2, 1), targets_count=3)
    await ground.create()
    async with ground.open_and_crash() as opening:
        volume, shell = opening.volume, opening.shell
        await shell.write(b"old", b"o" * 300_000)
        await volume.fsync(None)
        await volume.checkpoint()
        check, grown = _Scrubber._scrub_headers, list[bool]()

        async def meanwhile(scrubber: _Scrubber, entry: SegmentEntry) -> None:
            if not grown:
                grown.append(True)
                for name in (b"big", b"bigger"):
                    await shell.write(name, name * 100_000)
                    await volume.fsync(None)
                    # For lengths of content and of metadata.
                    await volume.checkpoint()
                volume.store.close_segments()
            await check(scrubber, entry)

        monkeypatch.setattr(_Scrubber, "_scrub_headers", meanwhile)
        report = await scrub(volume)
        assert grown and (report.bad_count, report.unreadable_count) == (0, 0)
        assert volume.journal.count(EventKind.COLUMN_CUT) == 0
    async with ground.open() as opening:
        assert await opening.shell.read(b"bigger") == b"bigger" * 100_000
        assert await opening.shell.read(b"big") == b"big" * 100_000
        again = await scrub(opening.volume)
        assert (again.bad_count, again.unreadable_count) == (0, 0)
    assert (await ground.fsck()).clean
