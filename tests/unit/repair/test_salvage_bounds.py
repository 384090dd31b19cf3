"""Salvage out of the log beside a target that shows no end of nothing, or answers slowly."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ecfs.base.limits import COLUMN_HEADER_LEN, COLUMN_LEN_MAX
from ecfs.base.units import BLOCK_LEN, MIB, NS_PER_S
from ecfs.erasure import Code, Geometry
from ecfs.formats import COMMIT, KIND_CONTENT, commits_name
from ecfs.formats.box import HEADER
from ecfs.repair.salvage_asking import SLOW_S_MAX, Asked
from ecfs.repair.salvage_log import UNPROVEN_MAX, SegmentScan, columns_of
from ecfs.repair.salvage_records import RecordedWrites
from ecfs.targets import DirectoryTarget, InlineLane
from ecfs.testing.pools import Ground
from ecfs.testing.pools import columns_of as names_of
from ecfs.testing.quick import remember_keys
from ecfs.volume import Located, box_keys, look_everywhere, unlock
from tests.unit.stripes.simulated import MovedClock

GEOMETRY = Geometry(2, 1)


class Slow(DirectoryTarget):
    """Takes nine seconds for each read of which `is_slow`."""

    clock: MovedClock
    is_slow: Callable[[str], bool]
    reads: int = 0

    def read(self, name: str, offset: int, length: int) -> bytes:
        if self.is_slow(name):
            self.reads += 1
            self.clock.now_ns += 9 * NS_PER_S
        return super().read(name, offset, length)


class Site:
    """A pool on three targets, the first of which is hostile."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.clock = MovedClock()
        self.opened: list[DirectoryTarget] = []

    async def located(self) -> Located:
        search = await look_everywhere(self.ground.paths, self.ground.environment)
        located = unlock(search.sightings, self.ground.secret, {},
                         self.ground.environment.journal(reads_only=True))
        search.close()
        return located

    def asked(self, is_slow: Callable[[str], bool]) -> list[Asked]:
        slow = Slow(self.ground.paths[0])
        slow.clock, slow.is_slow = self.clock, is_slow
        self.opened = [slow, *map(DirectoryTarget, self.ground.paths[1:])]
        return [Asked(target, InlineLane(), self.clock) for target in self.opened]

    @property
    def slow_reads(self) -> int:
        slow = self.opened[0]
        assert isinstance(slow, Slow)
        return slow.reads


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    remember_keys(monkeypatch)
    ground = Ground(tmp_path / "pool", geometry=GEOMETRY, targets_count=3)
    await ground.create()
    async with ground.open_and_crash() as opening:
        inode = await opening.shell.write(b"large", b"l" * 300_000)
        await opening.volume.fsync(None)
        await opening.volume.files.write(inode, 100, b"B" * 100)
        await opening.volume.fsync(inode)
    return Site(ground)


async def test_junk_that_is_read_slowly_has_one_time_for_all(site: Site) -> None:
    epoch = 99
    boxes = [HEADER.pack(COMMIT.magic, 1, 0, BLOCK_LEN, epoch, number, os.urandom(32)).ljust(
        BLOCK_LEN, b"j") for number in range(200)]
    Path(site.ground.paths[0], commits_name(epoch)).write_bytes(b"".join(boxes))
    located = await site.located()
    # The scan is one job, of which the boxes come after.
    targets = site.asked(lambda name: name == commits_name(epoch) and bool(site.clock.now_ns))
    site.clock.now_ns = 1
    keys = box_keys(located.master, located.pool_id, "commit")
    records = RecordedWrites(targets, keys)
    found = {turn.record for turn in records.turns()}
    assert site.clock.now_ns < (SLOW_S_MAX + 20) * NS_PER_S
    honest = RecordedWrites(targets[1:], keys)
    assert found and found == {turn.record for turn in honest.turns()}


async def test_what_is_known_to_be_there_is_asked_of_slow_targets_last(site: Site) -> None:
    located = await site.located()
    targets = site.asked(lambda name: name.startswith("commits"))
    records = RecordedWrites(targets, box_keys(located.master, located.pool_id, "commit"))
    turns = list(records.turns())
    while not targets[0].is_slow:
        targets[0].get(lambda target: target.read(commits_name(located.label.epoch), 0, 1))
    before = site.slow_reads
    assert all(records.write(turn) is not None for turn in turns)
    assert site.slow_reads == before
    for path in site.ground.paths[1:]:
        for name in os.listdir(path):
            if name.startswith("commits"):
                os.truncate(Path(path, name), 0)
    again = RecordedWrites(targets, box_keys(located.master, located.pool_id, "commit"))
    again._places = records._places
    assert turns and all(again.write(turn) is not None for turn in turns)


async def test_names_that_nobody_proves_are_few(site: Site) -> None:
    """Of a segment that somebody proves all count, also one whose header is rotten."""
    located = await site.located()
    rotten = next(iter(names_of(site.ground.paths[0])))
    column = Path(site.ground.paths[0], rotten)
    column.write_bytes(bytes(COLUMN_HEADER_LEN) + column.read_bytes()[COLUMN_HEADER_LEN:])
    folder = Path(site.ground.paths[0], "segments", "00")
    folder.mkdir(exist_ok=True)
    for number in range(UNPROVEN_MAX + 50):
        (folder / f"{99:016x}-{number << 8:016x}.col").touch()
    targets = site.asked(lambda name: False)
    found = columns_of(targets, located.master, located.pool_id)
    real = columns_of(targets[1:], located.master, located.pool_id)
    assert real.keys() <= found.keys()
    assert len(found) <= len(real) + UNPROVEN_MAX
    assert all(len(found[key]) == 3 for key in real)


async def test_windows_of_a_slow_target_have_one_time_for_all(site: Site) -> None:
    """Bodies come from the others, and where they are not enough, from it."""
    located = await site.located()
    for name in names_of(site.ground.paths[0]):
        os.truncate(Path(site.ground.paths[0], name), COLUMN_LEN_MAX)
    for alone in (False, True):
        targets = site.asked(lambda name: name.endswith(".col"))
        if alone:
            for name in names_of(site.ground.paths[2]):
                os.truncate(Path(site.ground.paths[2], name), COLUMN_HEADER_LEN)
        began_ns = site.clock.now_ns
        contents = []
        found = columns_of(targets, located.master, located.pool_id)
        for key, files in found.items():
            scan = SegmentScan.of(key, files, located.master, located.pool_id, GEOMETRY)
            for stripe in scan.stripes():
                if stripe.head.kind == KIND_CONTENT:
                    notes = scan.notes(stripe, Code(GEOMETRY))
                    assert notes is not None
                    opened = scan.opened(stripe, Code(GEOMETRY))
                    contents += [part for note in notes
                                 for _, part in opened.extent(note.start, note.length)]
        assert contents and None not in contents
        assert site.clock.now_ns - began_ns < (SLOW_S_MAX + 100) * NS_PER_S


async def test_zeros_are_passed_in_large_steps(site: Site,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    located = await site.located()
    for path in site.ground.paths:
        for name in names_of(path):
            os.truncate(Path(path, name), 32 * MIB)
    targets = site.asked(lambda name: False)
    looked: list[int] = []
    stripe_at = SegmentScan.stripe_at

    def counted(self: SegmentScan, offset: int, read: object) -> object:
        looked.append(offset)
        return stripe_at(self, offset, read)  # type: ignore[arg-type]

    monkeypatch.setattr(SegmentScan, "stripe_at", counted)
    found = columns_of(targets, located.master, located.pool_id)
    scans = [SegmentScan.of(key, files, located.master, located.pool_id, GEOMETRY)
             for key, files in found.items()]
    stripes = [stripe for scan in scans for stripe in scan.stripes()]
    assert stripes
    assert len(looked) < 3 * len(stripes) + 100 * len(scans)


async def test_who_proves_no_column_says_nothing_of_its_length(site: Site) -> None:
    located = await site.located()
    name = next(iter(names_of(site.ground.paths[1])))
    real = Path(site.ground.paths[1], name).stat().st_size
    fake = Path(site.ground.paths[0], name)
    fake.parent.mkdir(parents=True, exist_ok=True)
    fake.write_bytes(bytes(BLOCK_LEN))
    os.truncate(fake, COLUMN_LEN_MAX)
    targets = site.asked(lambda name: False)
    for key, files in columns_of(targets, located.master, located.pool_id).items():
        scan = SegmentScan.of(key, files, located.master, located.pool_id, GEOMETRY)
        if name.endswith(f"{key[1]:016x}-{key[0]:016x}.col"):
            assert scan.entry.length <= max(real, 4 * MIB) < COLUMN_LEN_MAX
