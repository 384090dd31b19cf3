"""Labels of an open pool that are put right, what hides them, and a pool that is only peeked at."""

from pathlib import Path

import pytest

from ecfs.base.errors import Fault, NotAPool
from ecfs.base.units import KIB
from ecfs.formats import claim_name, decode_label, label_name, labels_among
from ecfs.observe import EventKind
from ecfs.repair import scrub
from ecfs.targets import FaultyTarget, MemoryTarget, Outcome
from ecfs.testing.pools import Ground
from ecfs.testing.quick import remember_keys
from ecfs.volume import OpenOptions, peek_pool
from ecfs.volume.mending import find_bad, mend_labels, mend_records
from tests.crash.world import MemoryDisks, memory_ground


class Bench:
    """A 4+2 pool on disks in memory."""

    def __init__(self, base: Path) -> None:
        self.disks = MemoryDisks()
        self.ground: Ground = memory_ground(base, self.disks)

    def disk(self, number: int) -> MemoryTarget:
        return self.disks.targets[self.ground.paths[number]]

    def labels(self, number: int) -> list[str]:
        return [name for _, _, name in labels_among(self.disk(number).list_names())]


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    made = Bench(tmp_path / "pool")
    await made.ground.create()
    return made


async def test_good_labels_are_left_as_they_are(bench: Bench) -> None:
    async with bench.ground.open() as opening:
        before = bench.labels(0)
        assert await mend_labels(opening.volume) == (0, 0)
        assert bench.labels(0) == before


async def test_labels_are_put_right_and_what_hides_them_goes(bench: Bench) -> None:
    async with bench.ground.open() as opening:
        volume = opening.volume
        rotten, absent, exchanged, hidden = (bench.disk(number) for number in range(4))
        rotten.write(bench.labels(0)[0], 300, [b"rot" * 50])
        for name in bench.labels(1):
            absent.remove(name)
        name = bench.labels(2)[0]
        exchanged.replace(name, bench.disk(5).read(bench.labels(5)[0], 0, 1 << 17))
        hidden.create(label_name(1 << 60, 1), b"junk")
        assert await mend_labels(volume) == (4, 4)
        assert volume.journal.count(EventKind.LABEL_BAD) == 4
        for number in range(6):
            names = bench.labels(number)
            assert len(names) == 2 and label_name(1 << 60, 1) not in names
            label = decode_label(bench.disk(number).read(names[0], 0, 1 << 17)).label
            assert label.target_id == volume.fleet[label.target_id].id
            assert bench.ground.paths[number] == volume.fleet[label.target_id].path
        assert await mend_labels(volume) == (0, 0)


async def test_junk_under_names_of_later_labels_takes_no_place_of_ours(bench: Bench) -> None:
    """However much of it there is: neither at a checkpoint nor where labels are mended."""
    junk = [label_name((1 << 60) + number, 1) for number in range(3)]
    async with bench.ground.open() as opening:
        for name in junk:
            bench.disk(2).create(name, b"junk")
        for _ in range(2):
            await opening.volume.checkpoint()
            assert bench.labels(2) == [*reversed(junk), *bench.labels(0)]
            assert len(bench.labels(0)) == 2
        assert await mend_labels(opening.volume) == (1, 1)
        assert bench.labels(2) == bench.labels(0) and len(bench.labels(0)) == 2


@pytest.mark.parametrize("fault", [Fault.UNSAFE, Fault.IO])
async def test_a_label_that_cannot_be_read_is_written_anew(bench: Bench, fault: Fault) -> None:
    async with bench.ground.open() as opening:
        volume = opening.volume
        old = bench.labels(1)[0]

        def plan(number: int, method: str, name: str, offset: int) -> Outcome:
            return fault if method == "read" and name == old else None

        member = next(one for one in volume.fleet if one.path == bench.ground.paths[1])
        inner = member.target
        assert inner is not None
        member.target = FaultyTarget(inner, plan)
        assert await mend_labels(volume) == (1, 1)
        assert old not in bench.labels(1)
        member.target = inner


@pytest.mark.parametrize(("fault", "goes"), [
    (Fault.UNSAFE, True), (Fault.IO, True), (Fault.TIMEOUT, False)])
async def test_what_hides_labels_and_cannot_be_read_goes_unless_the_target_does_not_answer(
        bench: Bench, fault: Fault, goes: bool) -> None:
    """Nobody knows what a target holds that does not answer: nothing is removed there."""
    hiding = label_name(1 << 60, 1)
    async with bench.ground.open() as opening:
        volume = opening.volume
        bench.disk(1).create(hiding, b"a link, or a bad sector")

        def plan(number: int, method: str, name: str, offset: int) -> Outcome:
            return fault if method == "read" and name == hiding else None

        member = next(one for one in volume.fleet if one.path == bench.ground.paths[1])
        inner = member.target
        assert inner is not None
        member.target = FaultyTarget(inner, plan)
        assert (await mend_labels(volume))[0] == 1
        assert (hiding not in bench.labels(1)) is goes
        member.target = inner
        await mend_labels(volume)
        assert hiding not in bench.labels(1)
        assert await mend_labels(volume) == (0, 0)


async def test_a_target_that_does_not_answer_is_counted_as_bad(bench: Bench) -> None:
    async with bench.ground.open() as opening:
        volume = opening.volume
        member = next(one for one in volume.fleet if one.path == bench.ground.paths[1])
        inner = member.target
        assert inner is not None
        member.target = FaultyTarget(inner, lambda number, method, name, offset: (
            Fault.TIMEOUT if name.startswith("label") else None))
        assert await mend_labels(volume) == (1, 0)
        member.target = inner
        volume.fleet.mark_online(member)


async def test_a_pool_that_may_not_be_written_is_not_mended(bench: Bench) -> None:
    async with bench.ground.open(OpenOptions(read_only=True)) as opening:
        assert await mend_records(opening.volume) == (0, 0)


async def test_a_pool_is_peeked_at_without_a_key(bench: Bench, tmp_path: Path) -> None:
    status = await peek_pool(bench.ground.paths, bench.ground.environment)
    async with bench.ground.open() as opening:
        assert status.pool_id == opening.volume.pool_id.hex()
    empty = MemoryDisks()
    ground = memory_ground(tmp_path / "nothing", empty)
    with pytest.raises(NotAPool):
        await peek_pool(ground.paths, ground.environment)


async def test_a_target_whose_newest_label_is_gone_gets_it_again(bench: Bench) -> None:
    """It is not counted as bad: a target that was away looks the same."""
    bench.disk(0).remove(bench.labels(0)[0])
    async with bench.ground.open() as opening:
        assert bench.labels(0)[0] != bench.labels(1)[0]
        assert await mend_labels(opening.volume) == (0, 0)
        assert opening.volume.journal.count(EventKind.LABEL_BAD) == 0
        assert bench.labels(0)[0] == bench.labels(1)[0]


async def test_what_is_bad_is_told_of_where_nothing_may_be_mended(bench: Bench) -> None:
    """Labels and claims, which a mount that may not write does not look at otherwise. What is cut
    off is what a crash leaves, and a target that does not answer has nothing bad that is known."""
    async with bench.ground.open() as opening:
        claim = claim_name(opening.volume.opened.epoch)
    padded, forged, cut, slow = (bench.disk(number) for number in range(4))
    name = bench.labels(0)[0]
    padded.write(name, padded.size(name) - 1, [b"\1"])
    forged.write(claim, 100, [b"rot"])
    cut.truncate(claim, 100)
    slow.write(bench.labels(3)[0], 300, [b"rot"])
    async with bench.ground.open(OpenOptions(read_only=True)) as opening:
        volume = opening.volume
        events = [(event.kind, event.target) for event in volume.journal.recent(100)
                  if event.kind is not EventKind.MOUNTED]
        ids = [next(member.id for member in volume.fleet if member.path == path)
               for path in bench.ground.paths]
        assert events == [(EventKind.LABEL_BAD, ids[3])]
        files = [bench.disk(number).files() for number in range(6)]

        def fails(number: int, fault: Fault, prefix: str) -> None:
            target = volume.fleet[ids[number]].target
            assert target is not None
            volume.fleet[ids[number]].target = FaultyTarget(target, lambda _, method, name, at: (
                fault if method == "read" and name.startswith(prefix) else None))

        fails(3, Fault.TIMEOUT, "label")
        fails(4, Fault.IO, claim)
        assert await find_bad(volume) == 3
        told = [(event.kind, event.target) for event in volume.journal.recent(4)]
        assert told == [
            (EventKind.LABEL_BAD, ids[0]), (EventKind.CLAIM_BAD, ids[1]),
            (EventKind.RECORD_TORN, ids[2]), (EventKind.READ_FAILED, ids[4])]
        assert files == [bench.disk(number).files() for number in range(6)]
        report = await scrub(volume)
        assert (report.bad_count, report.mended_count) == (3, 0)
