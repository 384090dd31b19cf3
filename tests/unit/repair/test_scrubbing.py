"""What a scrub says of targets that did nothing wrong."""

from pathlib import Path

import pytest

from ecfs.base.errors import Damage
from ecfs.erasure import Geometry
from ecfs.formats import KIND_CONTENT
from ecfs.observe import EventKind
from ecfs.repair import scrub
from ecfs.repair.mending import mend_stripe
from ecfs.repair.walking import segments_of
from ecfs.testing.pools import Ground, columns_of, live_columns


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
