"""Two hosts and one pool: at most one of them acknowledges anything."""

import shutil
from pathlib import Path

import pytest
import trio

from ecfs.base.errors import Damage, EcfsError, Fault, Fenced, InUse, ReadOnly
from ecfs.base.limits import HEARTBEAT_INTERVAL_S, TAKEOVER_QUIET_S
from ecfs.erasure import Geometry
from ecfs.formats import claim_name, commits_name
from ecfs.observe import EventKind
from ecfs.repair import scrub
from ecfs.targets import FaultyTarget, Outcome, Target
from ecfs.testing.pools import Ground
from ecfs.volume import Host, mend_records
from tests.crash.world import MemoryDisks, TrioClock


class Hosts:
    """Hosts that reach the same targets."""

    def __init__(self, base: Path, *, targets_count: int = 6,
                 geometry: Geometry | None = None) -> None:
        self.base = base
        self.disks = MemoryDisks()
        self._count = targets_count
        self._geometry = geometry or Geometry(4, 2)

    def host(self, name: str) -> Ground:
        """One of them: its own state, boot and locks."""
        ground = Ground(self.base / "pool", geometry=self._geometry, targets_count=self._count,
                        clock=TrioClock(), open_target=self.disks.open,
                        host=Host(f"{name}/1", f"boot of {name}", 100))
        ground.state_dir, ground.run_dir = self.base / name / "state", self.base / name / "run"
        return ground

    def stall_heart(self, ground: Ground) -> None:
        """The host's heartbeats reach no target any more."""
        def plan(number: int, method: str, name: str, offset: int) -> Outcome:
            return Fault.FULL if name.startswith("heartbeat") and method != "read" else None

        def opener(path: str) -> Target:
            return FaultyTarget(self.disks.open(path), plan)

        ground.open_target = opener


@pytest.fixture
async def hosts(tmp_path: Path) -> Hosts:
    """With a pool that one of them has made and filled."""
    hosts = Hosts(tmp_path)
    ground = hosts.host("maker")
    await ground.create()
    async with ground.open() as opening:
        await opening.shell.write(b"old", b"o" * 100_000)
    return hosts


async def test_the_second_is_refused_while_the_first_lives(hosts: Hosts) -> None:
    async with hosts.host("one").open() as first:
        await first.shell.write(b"one", b"1" * 1_000)
        await first.shell.fsync(b"one")
        with pytest.raises(InUse) as caught:
            async with hosts.host("two").open():
                pass
        assert "one/1" in str(caught.value)
        await first.shell.write(b"one", b"2" * 1_000)
        await first.shell.fsync(b"one")
    async with hosts.host("two").open() as second:
        assert await second.shell.read(b"one") == b"2" * 1_000


async def test_after_a_clean_end_nobody_waits(hosts: Hosts) -> None:
    async with hosts.host("one").open():
        pass
    began = trio.current_time()
    async with hosts.host("two").open():
        assert trio.current_time() - began < 1


async def test_takeover_of_a_dead_writer(hosts: Hosts) -> None:
    async with hosts.host("one").open_and_crash() as first:
        await first.shell.write(b"one", b"1" * 70_000)
        await first.shell.fsync(b"one")
    began = trio.current_time()
    async with hosts.host("two").open() as second:
        assert trio.current_time() - began >= TAKEOVER_QUIET_S
        assert await second.shell.read(b"one") == b"1" * 70_000
        assert await second.shell.read(b"old") == b"o" * 100_000
    # On the host of the dead one its lock is free: no need to wait.
    async with hosts.host("two").open_and_crash():
        pass
    began = trio.current_time()
    async with hosts.host("two").open():
        assert trio.current_time() - began < 1


async def test_a_stalled_writer_is_fenced(hosts: Hosts) -> None:
    """It wakes up when another has taken over: it acknowledges nothing more."""
    one = hosts.host("one")
    hosts.stall_heart(one)
    async with one.open() as first:
        await first.shell.write(b"one", b"1" * 1_000)
        await first.shell.fsync(b"one")
        async with hosts.host("two").open() as second:
            await first.shell.write(b"lost", b"!" * 200_000)
            assert await second.shell.read(b"one") == b"1" * 1_000
            await second.shell.write(b"one", b"2" * 2_000)
            await second.shell.fsync(b"one")
            with pytest.raises(Fenced):
                await first.shell.fsync(b"lost")
            with pytest.raises(ReadOnly):
                first.volume.admit(grows=False)
            assert first.volume.status().state == "read_only"
            for _ in range(3):
                with pytest.raises(EcfsError):
                    await first.shell.fsync(b"lost")
                await first.volume.tend()
                await trio.sleep(10)
            await second.shell.write(b"two", b"3" * 300_000)
            await second.volume.checkpoint()
            await second.shell.fsync(b"two")
            assert (await scrub(second.volume)).bad_count == 0
        assert first.volume.journal.count(EventKind.REPAIRED) == 0
    async with hosts.host("three").open() as third:
        assert await third.shell.contents() == {
            b"old": b"o" * 100_000, b"one": b"2" * 2_000, b"two": b"3" * 300_000}
        assert third.volume.database.integrity_findings() == []
    report = await hosts.host("three").fsck()
    assert report.clean, report.findings


async def test_a_fenced_writer_harms_nothing_in_the_background(hosts: Hosts) -> None:
    """Its tasks go on after it was fenced, and it is unmounted last."""
    one = hosts.host("one")
    hosts.stall_heart(one)
    async with one.open() as first:
        async with hosts.host("two").open() as second:
            await first.shell.write(b"lost", b"!" * 200_000)
            for number in range(4):
                await second.shell.write(b"two%d" % number, b"%d" % number * 50_000)
                await second.volume.checkpoint()
                await trio.sleep(20)
                await first.volume.tend()
        for _ in range(3):
            await trio.sleep(20)
    async with hosts.host("two").open() as second:
        for number in range(4):
            assert await second.shell.read(b"two%d" % number) == b"%d" % number * 50_000
        assert await second.shell.read(b"old") == b"o" * 100_000
        assert (await scrub(second.volume)).bad_count == 0


async def test_three_claim_at_once(hosts: Hosts) -> None:
    acknowledged: list[bytes] = []

    async def contend(name: str) -> None:
        try:
            async with hosts.host(name).open() as opening:
                path = name.encode()
                await opening.shell.write(path, path * 1_000)
                await opening.shell.fsync(path)
                acknowledged.append(path)
                await trio.sleep(60)
        except EcfsError as error:
            assert isinstance(error, (InUse, ReadOnly, Fenced)), error

    async with hosts.host("dead").open_and_crash():
        pass
    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(contend, name)
    assert len(acknowledged) <= 1
    async with hosts.host("d").open() as opening:
        for path in acknowledged:
            assert await opening.shell.read(path) == path * 1_000
        assert opening.volume.database.integrity_findings() == []


async def test_a_record_that_one_member_held_outlives_it(tmp_path: Path) -> None:
    """It was adopted at a mount, and what was acknowledged later builds on it."""
    hosts = Hosts(tmp_path, targets_count=3, geometry=Geometry(2, 1))
    ground = hosts.host("one")
    await ground.create()
    for number in range(6):
        lone = ground.paths[number % 3]
        no_records: set[str] = set()

        def opener(path: str, no_records: set[str] = no_records) -> Target:
            def plan(call: int, method: str, name: str, offset: int) -> Outcome:
                return Fault.IO if path in no_records and method == "write" and (
                    name.startswith("commits")) else None

            return FaultyTarget(hosts.disks.open(path), plan)

        ground.open_target = opener
        async with ground.open_and_crash() as opening:
            await opening.shell.write(b"held%d" % number, b"h" * 900)
            no_records.update(set(ground.paths) - {lone})
            with pytest.raises(EcfsError):
                await opening.shell.fsync(b"held%d" % number)
        ground.open_target = hosts.disks.open
        async with ground.open_and_crash() as opening:
            await opening.shell.write(b"sure%d" % number, b"s" * 900)
            await opening.shell.fsync(b"sure%d" % number)
        spare = hosts.disks.targets.pop(lone)
        async with ground.open_and_crash() as opening:
            assert await opening.shell.read(b"sure%d" % number) == b"s" * 900
        hosts.disks.targets[lone] = spare
        async with ground.open() as opening:
            with trio.fail_after(600):
                while opening.volume.status().state != "healthy":
                    await trio.sleep(1)
    shutil.rmtree(hosts.base / "one")


async def test_only_members_that_took_the_claim_tell_what_is_acknowledged(hosts: Hosts) -> None:
    """On another one the record of the writer before may arrive after it was read, and count."""
    two = hosts.host("two")
    unclaimed, unread = two.paths[4:], two.paths[:2]
    claimed = False

    def opener(path: str) -> Target:
        def plan(number: int, method: str, name: str, offset: int) -> Outcome:
            nonlocal claimed
            if name.startswith("claim") and method == "create":
                claimed = True
                return Fault.FULL if path in unclaimed else None
            return Fault.IO if claimed and path in unread and method == "list_names" else None

        return FaultyTarget(hosts.disks.open(path), plan)

    two.open_target = opener
    async with two.open() as second:
        # Four of six were read, which is the read quorum; but only two of them hold the claim.
        assert "after they took the claim" in second.volume.read_only
        assert await second.shell.read(b"old") == b"o" * 100_000
    async with hosts.host("three").open() as third:
        await third.shell.write(b"three", b"3")
        await third.shell.fsync(b"three")


async def test_a_stalled_writer_mends_nothing_that_another_one_writes(hosts: Hosts) -> None:
    """What looks torn in a later epoch may be a record on its way."""
    one = hosts.host("one")
    hosts.stall_heart(one)
    async with one.open() as first, hosts.host("two").open() as second:
        await second.shell.write(b"two", b"2" * 900)
        await second.shell.fsync(b"two")
        name = commits_name(second.volume.opened.epoch)
        disk = hosts.disks.targets[one.paths[0]]
        tip = second.volume.committer
        assert tip is not None
        disk.write(name, tip.tip.offset + tip.tip.length, [b"half of a record" * 256])
        before = disk.read(name, 0, disk.size(name))
        await mend_records(first.volume)
        assert disk.read(name, 0, disk.size(name)) == before
        bad, _ = await mend_records(second.volume)
        assert bad == 1
        assert disk.read(name, 0, disk.size(name)) != before


async def test_a_returning_member_with_another_writers_claim_is_not_taken_in(hosts: Hosts) -> None:
    """Its claim is not overwritten: it may be what fences this writer."""
    one = hosts.host("one")
    hosts.stall_heart(one)
    async with one.open() as first, hosts.host("two").open() as second:
        member = first.volume.fleet[first.volume.labeller.label.members[5]]
        first.volume.fleet.mark_away(member.id, "unplugged")
        name = claim_name(second.volume.opened.epoch)
        claim = hosts.disks.targets[member.path].read(name, 0, 4096)
        assert first.volume.rejoiner is not None
        assert await first.volume.rejoiner.probe() == []
        assert "has claimed the pool" in member.reason
        assert hosts.disks.targets[member.path].read(name, 0, 4096) == claim


async def test_who_was_fenced_finds_out_soon_and_accuses_nobody(hosts: Hosts) -> None:
    """What the new writer gave back is missing from no honest target."""
    one = hosts.host("one")
    hosts.stall_heart(one)
    async with one.open() as first:
        await first.shell.write(b"one", b"1" * 300_000)
        await first.shell.fsync(b"one")
        async with hosts.host("two").open() as second:
            second.shell.unlink(b"one")
            for _ in range(3):
                await second.volume.tend()
                await second.volume.checkpoint()
            with pytest.raises(Damage):
                await first.shell.read(b"one")
            await trio.sleep(2 * HEARTBEAT_INTERVAL_S)
            assert "has claimed the pool" in first.volume.read_only
        journal = first.volume.journal
        assert journal.count(EventKind.FENCED) == 1
        assert journal.count(EventKind.SHARD_MISSING) == journal.count(EventKind.SHARD_BAD) == 0


class Cached(FaultyTarget):
    """Records stay in the page cache: the process is killed before it can sync them."""

    def sync(self, name: str) -> None:
        """As `inner`, but for records."""
        if not name.startswith("commits"):
            super().sync(name)


async def test_what_a_killed_writer_left_in_the_page_cache_is_synced_before_use(
        hosts: Hosts) -> None:
    """Else the records that build on it survive the next power cut, and it does not."""
    ground = hosts.host("one")
    ground.open_target = lambda path: Cached(hosts.disks.open(path))
    async with ground.open_and_crash() as opening:
        await opening.shell.write(b"seen", b"s" * 900)
        await opening.shell.fsync(b"seen")
    ground.open_target = hosts.disks.open
    async with ground.open_and_crash() as opening:
        assert await opening.shell.read(b"seen") == b"s" * 900
        await opening.shell.write(b"sure", b"!" * 900)
        await opening.shell.fsync(b"sure")
    hosts.disks.crash()
    async with ground.open() as opening:
        assert await opening.shell.read(b"sure") == b"!" * 900
        assert await opening.shell.read(b"seen") == b"s" * 900


async def test_rotten_claims_of_earlier_epochs_go_with_a_scrub(hosts: Hosts) -> None:
    """Nobody can put them back; left there, they would be held against their target for ever."""
    ground = hosts.host("one")
    async with ground.open_and_crash() as opening:
        earlier = opening.volume.opened.epoch
    disk = hosts.disks.targets[ground.paths[0]]
    disk.write(claim_name(earlier), 60, [b"rot"])
    async with ground.open_and_crash() as opening:
        assert opening.volume.journal.count(EventKind.CLAIM_BAD)
        await scrub(opening.volume)
        assert claim_name(earlier) not in disk.list_names()
    async with ground.open() as opening:
        assert not opening.volume.journal.count(EventKind.CLAIM_BAD)
