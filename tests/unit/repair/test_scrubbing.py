"""What a scrub says of targets that did nothing wrong."""

from pathlib import Path

from ecfs.erasure import Geometry
from ecfs.observe import EventKind
from ecfs.repair import scrub
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
