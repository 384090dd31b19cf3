"""Targets that come back while the pool is mounted: which are taken in, and as what."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from ecfs.base.errors import Fault, ReadOnly, TargetError
from ecfs.base.limits import TARGET_PROBE_INTERVAL_S
from ecfs.base.units import BLOCK_LEN, KIB, NS_PER_S
from ecfs.formats import Claim, claim_name, commits_name, encode_claim, labels_among
from ecfs.observe import EventKind
from ecfs.repair import scrub
from ecfs.repair.mending import catch_up
from ecfs.stripes import Member, MemberState
from ecfs.targets import FaultyTarget, Outcome, Target
from ecfs.testing.pools import Opening
from ecfs.testing.quick import remember_keys
from ecfs.volume import Environment
from ecfs.volume.claiming import box_keys
from ecfs.volume.sighting import Sighting
from tests.crash.world import MemoryDisks, files_of, memory_ground, some_bytes
from tests.unit.stripes.simulated import MovedClock


class Bench:
    """A 4+2 pool on disks in memory that can be pulled and exchanged."""

    def __init__(self, base: Path) -> None:
        self.disks = MemoryDisks()
        self.ground = memory_ground(base, self.disks, open_target=self._open)
        self.pulled: set[str] = set()
        self.refused: tuple[str, str] | None = None
        self.fault = Fault.IO

    def _open(self, path: str) -> Target:
        if path in self.pulled:
            raise TargetError(Fault.MISSING, f"{path} is not there")

        def plan(number: int, method: str, name: str, offset: int) -> Outcome:
            if self.refused is not None and method == self.refused[0] and (
                    name.startswith(self.refused[1])):
                return self.fault
            return Fault.IO if path in self.pulled else None

        return FaultyTarget(self.disks.open(path), plan)

    @asynccontextmanager
    async def without(self, number: int) -> AsyncIterator[tuple[Opening, Member]]:
        """The pool while one of its targets is away; its disk stays where it is."""
        async with self.ground.open() as opening:
            await opening.shell.write(b"before", b"b" * 9000)
            await opening.volume.fsync(None)
            path = self.ground.paths[number]
            member = next(one for one in opening.volume.fleet if one.path == path)
            self.pulled.add(path)
            opening.volume.fleet.mark_away(member.id, "pulled")
            await opening.shell.write(b"while away", b"w" * 9000)
            await opening.volume.fsync(None)
            self.pulled.discard(path)
            yield opening, member

    async def probe(self, opening: Opening) -> list[Member]:
        assert opening.volume.rejoiner is not None
        return await opening.volume.rejoiner.probe()


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    made = Bench(tmp_path / "pool")
    await made.ground.create()
    return made


async def test_a_member_that_returns_holds_the_claim_and_counts_again(bench: Bench) -> None:
    async with bench.without(2) as (opening, member):
        disk = bench.disks.targets[member.path]
        disk.remove(claim_name(opening.volume.opened.epoch))
        disk.remove(commits_name(opening.volume.opened.epoch))
        assert await bench.probe(opening) == [member]
        assert member.state is MemberState.ONLINE and member.reason == ""
        claim = disk.read(claim_name(opening.volume.opened.epoch), 0, BLOCK_LEN)
        assert claim == opening.volume.opened.claim
        await opening.shell.write(b"after", b"a")
        await opening.volume.fsync(None)
        assert opening.volume.writer is not None and not opening.volume.writer.missed


async def test_a_member_that_was_not_there_at_the_mount_is_taken_in_when_it_comes(
        bench: Bench) -> None:
    path = bench.ground.paths[4]
    bench.pulled.add(path)
    async with bench.ground.open() as opening:
        member = next(one for one in opening.volume.fleet if one.path == path)
        assert member.state is MemberState.MISSING and member.target is None
        bench.pulled.discard(path)
        assert await bench.probe(opening) == [member]
        await opening.volume.tend()
        assert member.online


async def test_a_claim_of_ours_that_has_rotted_is_put_back(bench: Bench) -> None:
    async with bench.without(2) as (opening, member):
        disk = bench.disks.targets[member.path]
        name = claim_name(opening.volume.opened.epoch)
        disk.write(name, 100, [b"rot"])
        assert await bench.probe(opening) == [member]
        assert disk.read(name, 0, BLOCK_LEN) == opening.volume.opened.claim


async def test_it_is_behind_until_it_has_what_it_missed(bench: Bench) -> None:
    """A blank or an old target counts as bad until then (threats 14 and 22)."""
    async with bench.without(1) as (opening, member):
        await opening.volume.tend()
        assert member.online and member.behind
        assert member.id in opening.volume.files.tables.behind()
        status = next(one for one in opening.volume.status().targets
                      if one.id == member.id.hex())
        assert opening.volume.status().state == "degraded" and status.state == "online"


async def test_a_blank_directory_is_not_taken_in(bench: Bench) -> None:
    async with bench.without(3) as (opening, member):
        disk = bench.disks.targets[member.path]
        for name in files_of(disk):
            disk.remove(name)
        assert await bench.probe(opening) == []
        assert not member.online and files_of(disk) == []


async def test_another_member_in_its_place_is_not_taken_in(bench: Bench) -> None:
    """Known by the id in its label, never by where it is (threats 18 and 19)."""
    async with bench.without(3) as (opening, member):
        other = bench.ground.paths[0]
        away, bench.disks.targets[member.path] = (
            bench.disks.targets[member.path], bench.disks.targets[other])
        assert await bench.probe(opening) == []
        assert not member.online
        bench.disks.targets[member.path] = away
        assert await bench.probe(opening) == [member]


async def test_a_target_of_another_pool_is_not_taken_in(bench: Bench, tmp_path: Path) -> None:
    """Even one under the same key and with the same id: a pool is more than its key."""
    foreign = MemoryDisks()
    ground = memory_ground(tmp_path / "other", foreign)
    await ground.create()
    async with bench.without(3) as (opening, member):
        assert opening.volume.rejoiner is not None
        opening.volume.rejoiner.pool_id = bytes(16)
        assert await bench.probe(opening) == []
        opening.volume.rejoiner.pool_id = opening.volume.pool_id
        bench.disks.targets[member.path] = foreign.targets[ground.paths[0]]
        assert await bench.probe(opening) == []
        assert not member.online


@pytest.mark.parametrize("refused", [("create", "claim"), ("create", "commits"),
                                     ("read", "claim")])
async def test_one_that_takes_no_claim_stays_away(bench: Bench,
                                                  refused: tuple[str, str]) -> None:
    """A record on it would count, and nothing on it would fence us."""
    async with bench.without(5) as (opening, member):
        epoch = opening.volume.opened.epoch
        if refused[0] == "create":
            for name in (claim_name(epoch), commits_name(epoch)):
                bench.disks.targets[member.path].remove(name)
        bench.refused = refused
        assert await bench.probe(opening) == []
        assert not member.online and member.reason
        bench.refused = None
        assert await bench.probe(opening) == [member]


def later_claim(opening: Opening) -> tuple[str, bytes]:
    """That of a writer on another host, one epoch after ours."""
    volume = opening.volume
    claim = Claim(volume.opened.epoch + 1, b"l" * 16, "there", "boot", 1)
    return claim_name(claim.epoch), encode_claim(
        claim, box_keys(volume.opened.master, volume.pool_id, "claim"), bytes(32))


async def test_one_that_another_writer_claimed_in_vain_is_taken_in_for_its_shards(
        bench: Bench) -> None:
    """Nobody can tell that this writer is dead: its claim stays, and no record goes there."""
    async with bench.without(3) as (opening, member):
        volume, disk = opening.volume, bench.disks.targets[member.path]
        name, later = later_claim(opening)
        disk.create(name, later)
        records = commits_name(volume.opened.epoch)
        before = disk.read(records, 0, disk.size(records))
        await volume.tend()
        assert member.online and member.id in volume.files.tables.behind()
        [back] = [event for event in volume.journal.recent(100)
                  if event.kind is EventKind.TARGET_BACK]
        assert "before the next mount" in back.message
        await catch_up(volume, member)
        assert not member.behind
        await opening.shell.write(b"after", b"a" * 200_000)
        await volume.fsync(None)
        assert volume.writer is not None and volume.writer.missed == (member.id,)
        report = await scrub(volume)
        assert (report.bad_count, report.mended_count, volume.read_only) == (0, 0, "")
        # With two more away it makes no quorum of them, and fences nobody: they may come back.
        others = [one for one in volume.fleet if one.path in bench.ground.paths[:2]]
        for away in others:
            bench.pulled.add(away.path)
            volume.fleet.mark_away(away.id, "pulled")
        await opening.shell.write(b"more", b"m")
        with pytest.raises(ReadOnly):
            await volume.fsync(None)
        bench.pulled.clear()
        assert await bench.probe(opening) == others
        await volume.fsync(None)
        assert disk.read(name, 0, BLOCK_LEN) == later
        assert disk.read(records, 0, disk.size(records)) == before
    async with bench.ground.open() as opening:
        assert opening.volume.read_only == ""
        assert await opening.shell.read(b"after") == b"a" * 200_000
        assert opening.volume.writer is not None and not opening.volume.writer.missed


async def test_one_whose_claim_in_vain_is_gone_counts_when_it_comes_back(bench: Bench) -> None:
    async with bench.without(3) as (opening, member):
        volume, disk = opening.volume, bench.disks.targets[member.path]
        name, later = later_claim(opening)
        disk.create(name, later)
        assert await bench.probe(opening) == [member]
        volume.fleet.mark_away(member.id, "pulled")
        disk.remove(name)
        assert await bench.probe(opening) == [member]
        await opening.shell.write(b"after", b"a")
        await volume.fsync(None)
        assert volume.writer is not None and volume.writer.missed == ()


async def test_one_that_another_writer_has_claimed_stays_away_where_that_one_may_have_the_pool(
        bench: Bench) -> None:
    """And is not touched: what it lacks of ours that writer may have given back."""
    async with bench.without(3) as (opening, member):
        volume = opening.volume
        disk, epoch = bench.disks.targets[member.path], volume.opened.epoch
        name, later = later_claim(opening)
        disk.remove(claim_name(epoch))
        for number in (1, 2, 3):
            bench.disks.targets[bench.ground.paths[number]].create(name, later)
        assert await bench.probe(opening) == []
        assert not member.online and "there has claimed the pool" in member.reason
        assert claim_name(epoch) not in disk.list_names()
        bench.disks.targets[bench.ground.paths[1]].remove(name)
        assert await bench.probe(opening) == [member]
        for number in (2, 3):
            bench.disks.targets[bench.ground.paths[number]].remove(name)


async def test_one_whose_place_does_not_answer_is_asked_again(bench: Bench) -> None:
    async with bench.without(4) as (opening, member):
        bench.pulled.add(member.path)
        assert await bench.probe(opening) == []
        assert not member.online
        assert opening.volume.rejoiner is not None
        bench.pulled.clear()

        async def hang(jobs: Sequence[object], deadline_s: float) -> list[TargetError]:
            return [TargetError(Fault.TIMEOUT, "no answer within the deadline") for _ in jobs]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ecfs.volume.rejoining.run_jobs", hang)
            assert await bench.probe(opening) == []
        assert "deadline" in member.reason
        assert await bench.probe(opening) == [member]


async def test_one_that_shows_nothing_any_more_is_let_go_of(
        bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is open on a file system that was shut down keeps it from being unmounted, checked and
    mounted again. One that may still be read, which was renamed perhaps, is kept for that."""
    async with bench.without(4) as (opening, member):
        old, lane = member.target, member.lane
        closed: list[Target | None] = []
        monkeypatch.setattr(old, "close", lambda: closed.append(old))
        with monkeypatch.context() as patch:
            patch.setattr("ecfs.volume.rejoining.look_at", lambda path, environment: Sighting(
                path, reason="no such directory"))
            assert await bench.probe(opening) == []
            bench.refused, bench.fault = ("read", "label"), Fault.TIMEOUT
            assert await bench.probe(opening) == []
        assert (member.target, member.lane, closed) == (old, lane, [])
        bench.refused, bench.fault = ("read", "label"), Fault.IO
        for _ in range(2):
            assert await bench.probe(opening) == []
            assert (member.target, member.lane, closed) == (None, None, [old])
            assert member.state is MemberState.AWAY
        await opening.shell.write(b"without", b"w" * 9000)
        await opening.volume.fsync(None)
        bench.refused = None
        assert await bench.probe(opening) == [member] and member.online


async def test_what_takes_long_to_look_at_in_vain_is_looked_at_now_and_then(
        bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that rotted as far as can be corrected, say, which costs the time of all."""
    async with bench.without(4) as (opening, member):
        rejoiner = opening.volume.rejoiner
        assert rejoiner is not None
        clock = MovedClock()
        monkeypatch.setattr(opening.volume.fleet, "clock", clock)
        looks: list[str] = []

        def looked_at(path: str, environment: Environment) -> Sighting:
            looks.append(path)
            clock.now_ns += took_ns
            return Sighting(path, reason="label.1: not authentic")

        with monkeypatch.context() as patch:
            patch.setattr("ecfs.volume.rejoining.look_at", looked_at)
            for took_s, pause_s in ((0, 0.001), (0.5, 30), (2, 60), (9, 60)):
                took_ns = int(took_s * NS_PER_S)
                looks.clear()
                assert await bench.probe(opening) == []
                clock.now_ns += int(pause_s * NS_PER_S) - 1
                assert await bench.probe(opening) == [] and len(looks) == (1 if took_s else 2)
                clock.now_ns += 1
        assert await bench.probe(opening) == [member]


async def test_a_target_that_was_rolled_back_is_known_by_its_generation(bench: Bench) -> None:
    """Its label is authentic, and older than the others' (threat 14)."""
    async with bench.ground.open() as opening:
        await opening.shell.write(b"old", b"o" * 9000)
    old = bench.disks.copy().targets[bench.ground.paths[1]]
    async with bench.ground.open() as opening:
        await opening.shell.write(b"new", some_bytes("new", 90_000))
    async with bench.ground.open() as opening:
        assert not any(member.behind for member in opening.volume.fleet)
    bench.disks.targets[bench.ground.paths[1]] = old
    async with bench.ground.open_and_crash() as opening:
        assert {member.path for member in opening.volume.fleet if member.behind} == {
            bench.ground.paths[1]}
        assert await opening.shell.read(b"new") == some_bytes("new", 90_000)


async def test_a_target_that_missed_only_the_newest_label_is_compared_too(bench: Bench) -> None:
    """Its records are whole; what else it missed is not known."""
    async with bench.ground.open() as opening:
        await opening.shell.write(b"file", b"f" * 9000)
    disk = bench.disks.targets[bench.ground.paths[3]]
    disk.remove(labels_among(disk.list_names())[0][2])
    async with bench.ground.open_and_crash() as opening:
        assert {member.path for member in opening.volume.fleet if member.behind} == {
            bench.ground.paths[3]}


async def test_who_was_behind_is_so_after_a_crash(bench: Bench) -> None:
    """Though its label is of today: an interrupted resilver goes on."""
    path = bench.ground.paths[4]
    async with bench.ground.open_and_crash() as opening:
        member = next(one for one in opening.volume.fleet if one.path == path)
        with opening.volume.database.change():
            opening.volume.files.tables.set_behind(member.id, behind=True)
        await opening.volume.checkpoint()
    bench.disks.crash()
    async with bench.ground.open_and_crash() as opening:
        assert {one.path for one in opening.volume.fleet if one.behind} == {path}


async def hang_and_answer(opening: Opening, member: Member) -> float:
    """It hangs in a sync; for how many seconds it is away, though it would answer at once."""
    return await fail_and_answer(opening, member, Fault.TIMEOUT)


async def fail_and_answer(opening: Opening, member: Member, fault: Fault) -> float:
    """A sync fails; for how many seconds it is away, though it would answer at once."""
    opening.volume.fleet.note_write_error(member.id, TargetError(fault, "no"))
    began = trio.current_time()
    while not member.online:
        await trio.sleep(1)
    return trio.current_time() - began


async def test_who_hangs_again_and_again_stays_away_for_longer_each_time(bench: Bench) -> None:
    async with bench.without(2) as (opening, member):
        assert await bench.probe(opening) == [member]
        for pause_s in (0, 60, 120, 240, 480, 960, 1920, 3600, 3600):
            away_s = await hang_and_answer(opening, member)
            assert pause_s <= away_s <= pause_s + 2 * TARGET_PROBE_INTERVAL_S
        # Who has been well for long begins anew.
        await trio.sleep(3700)
        assert await hang_and_answer(opening, member) < 60
        assert await hang_and_answer(opening, member) >= 60


async def test_who_goes_again_and_again_for_another_reason_is_back_later_each_time(
        bench: Bench) -> None:
    """Each return costs a checkpoint, new segments and a comparison of all that it holds."""
    async with bench.without(2) as (opening, member):
        assert await bench.probe(opening) == [member]
        for pause_s in (0, 5, 10, 20, 40, 80):
            away_s = await fail_and_answer(opening, member, Fault.IO)
            assert pause_s <= away_s <= pause_s + 2 * TARGET_PROBE_INTERVAL_S
        # A first hang waits no longer for that, and is remembered as one.
        now_ns = opening.volume.fleet.clock.monotonic_ns()
        assert not member.departures.hung_before(now_ns)
        assert await hang_and_answer(opening, member) < 160 + 2 * TARGET_PROBE_INTERVAL_S
        assert member.departures.hung_before(now_ns)
        await trio.sleep(3700)
        assert await fail_and_answer(opening, member, Fault.IO) <= 2 * TARGET_PROBE_INTERVAL_S


async def test_who_is_let_go_of_by_us_is_back_at_once(bench: Bench) -> None:
    async with bench.without(2) as (opening, member):
        assert await bench.probe(opening) == [member]
        for _ in range(5):
            opening.volume.fleet.mark_away(member.id, "an empty directory lies in its place")
            assert await bench.probe(opening) == [member]


async def test_without_a_quorum_nobody_is_held_back(bench: Bench) -> None:
    """With four of six the pool goes on, and they wait; with three it could not write."""
    async with bench.without(2) as (opening, member):
        assert await bench.probe(opening) == [member]
        fleet = opening.volume.fleet
        others = [one for one in fleet if one is not member][:2]
        hung = TargetError(Fault.TIMEOUT, "no answer")
        for one in (member, others[0]):
            await hang_and_answer(opening, one)
        for one in (member, others[0]):
            fleet.note_write_error(one.id, hung)
            assert "60 s" in one.reason
        assert await bench.probe(opening) == []
        fleet.mark_away(others[1].id, "unplugged")
        back = await bench.probe(opening)
        assert {one.id for one in back} == {one.id for one in (member, *others)}


@pytest.mark.parametrize(("state", "comes_back"), [
    (MemberState.MISSING, True), (MemberState.FOREIGN, True), (MemberState.CLONE, False)])
async def test_what_was_met_twice_is_not_taken_in_for_lying_where_it_belongs(
        bench: Bench, state: MemberState, comes_back: bool) -> None:
    """One of the two lies there, and it may be the copy."""
    async with bench.without(2) as (opening, member):
        member.state, member.remedy = state, "Take the copy away."
        assert await bench.probe(opening) == ([member] if comes_back else [])
        assert member.remedy == ("" if comes_back else "Take the copy away.")
