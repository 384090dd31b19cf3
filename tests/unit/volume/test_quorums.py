"""Exactly a quorum is enough, one less is not: for records, claims, and reading after the claim."""

from itertools import pairwise
from pathlib import Path

import pytest
import trio

from ecfs.base.errors import Fault, Fenced, InUse, ReadOnly
from ecfs.base.units import BLOCK_LEN, KIB
from ecfs.erasure import Geometry
from ecfs.formats import Commit, claim_name, commits_name, encode_commit, heartbeat_name
from ecfs.targets import FaultyTarget, Outcome, Target
from ecfs.testing.quick import remember_keys
from ecfs.volume.appending import RecordWriter
from ecfs.volume.claiming import Heart, box_keys
from tests.crash.world import MemoryDisks, memory_ground, some_bytes
from tests.unit.stripes.simulated import POOL_ID, World
from tests.unit.volume.test_claims import QUORUM, claimer_of

RECORD = b"r" * BLOCK_LEN


async def writer_in(world: World, epoch: int = 3) -> RecordWriter:
    """A writer that holds the claim and has its files."""
    claim = (await claimer_of(world, "a").claim(epoch, b"a" * 16)).data
    writer = RecordWriter(world.fleet, tuple(world.ids), QUORUM, epoch, claim,
                          box_keys(world.master, POOL_ID, "claim"), world.journal,
                          keys=box_keys(world.master, POOL_ID, "commit"))
    await writer.create_files()
    return writer


@pytest.mark.parametrize(("failing", "enough"), [(2, True), (3, False)])
async def test_records_on_exactly_a_quorum(failing: int, enough: bool) -> None:
    world = World(Geometry(4, 2), 6)
    writer = await writer_in(world)
    for number in range(failing):
        world.fail_one(number, Fault.IO, "sync")
    if enough:
        await writer.append(RECORD)
        assert writer.missed == tuple(world.ids[:failing]) and writer.offset == BLOCK_LEN
    else:
        with pytest.raises(ReadOnly, match="only 3 targets acknowledged"):
            await writer.append(RECORD)
        assert writer.offset == 0


@pytest.mark.parametrize(("there", "enough"), [
    ((0, 1, 2, 6), False), ((0, 1, 2, 5), False), ((0, 1, 2, 3), True), ((0, 1, 2, 5, 6), True)])
async def test_while_a_member_is_exchanged_old_and_new_ones_both_need_their_quorum(
        there: tuple[int, ...], enough: bool) -> None:
    """The seventh target takes the place of the sixth: until the labels say so, either set may be
    the one that a recovery asks."""
    world = World(Geometry(4, 2), 7)
    writer = await writer_in(world)
    writer.change_members(tuple(world.ids[:6]), (*world.ids[:5], world.ids[6]))
    for number in set(range(7)) - set(there):
        world.fail_one(number, Fault.IO, "sync")
    if enough:
        await writer.append(RECORD)
        assert set(writer.missed) == {world.ids[one] for one in set(range(7)) - set(there)}
    else:
        with pytest.raises(ReadOnly):
            await writer.append(RECORD)


async def test_what_was_acknowledged_survives_a_crash_of_all_targets() -> None:
    world = World(Geometry(4, 2), 6)
    writer = await writer_in(world)
    await writer.append(RECORD)
    for memory in world.memories:
        memory.crash()
        assert memory.read(commits_name(3), 0, BLOCK_LEN) == RECORD


@pytest.mark.parametrize(("failing", "enough"), [(2, True), (3, False)])
async def test_files_and_claims_on_exactly_a_quorum(failing: int, enough: bool) -> None:
    for name in ("claim", "commits"):
        world = World(Geometry(4, 2), 6)
        for number in range(failing):
            world.fail[number] = lambda method, found, offset, name=name: (  # type: ignore[misc]
                Fault.IO if method == "create" and found.startswith(name) else None)
        if enough:
            await writer_in(world)
        else:
            with pytest.raises(ReadOnly, match="only 3 targets"):
                await writer_in(world)


async def test_a_target_that_is_no_member_does_not_count() -> None:
    """Seven targets, six members: of the four that took the claim one is no member."""
    world = World(Geometry(4, 2), 7)
    claimer = claimer_of(world, "a")
    claimer.members = tuple(world.ids[:6])
    for number in (0, 1, 2):
        world.fail_one(number, Fault.IO, "create")
    with pytest.raises(ReadOnly, match="only 3 targets took the claim"):
        await claimer.claim(3, b"a" * 16)


async def test_a_claim_that_lands_while_a_record_is_on_its_way_fences_it() -> None:
    """The claims are listed again after the sync: before it is too early."""
    world = World(Geometry(4, 2), 6)
    writer = await writer_in(world)
    claims = box_keys(world.master, POOL_ID, "claim")
    other = World(Geometry(4, 2), 6)
    later = (await claimer_of(other, "b").claim(4, b"b" * 16)).data
    assert claims == box_keys(other.master, POOL_ID, "claim")

    def landing(number: int) -> None:
        def plan(method: str, name: str, offset: int) -> Outcome:
            if method == "sync" and claim_name(4) not in world.memories[number].list_names():
                world.memories[number].create(claim_name(4), later)
            return None

        world.fail[number] = plan

    for number in range(6):
        landing(number)
    with pytest.raises(Fenced, match="b has claimed the pool"):
        await writer.append(RECORD)
    assert writer.offset == 0


@pytest.mark.parametrize(("fenced", "enough"), [(2, True), (3, False)])
async def test_members_with_a_later_claim_do_not_count(fenced: int, enough: bool) -> None:
    world = World(Geometry(4, 2), 6)
    writer = await writer_in(world)
    other = World(Geometry(4, 2), 6)
    later = (await claimer_of(other, "b").claim(4, b"b" * 16)).data
    for number in range(fenced):
        world.memories[number].create(claim_name(4), later)
    if enough:
        await writer.append(RECORD)
        assert writer.missed == tuple(world.ids[:fenced])
        assert await writer.find_fence() is None
    else:
        with pytest.raises(Fenced):
            await writer.append(RECORD)
        assert await writer.find_fence() is not None


async def test_another_claim_of_our_own_epoch_fences() -> None:
    world = World(Geometry(4, 2), 6)
    writer = await writer_in(world)
    other = World(Geometry(4, 2), 6)
    same = (await claimer_of(other, "b").claim(3, b"b" * 16)).data
    for memory in world.memories:
        memory.replace(claim_name(3), same)
    with pytest.raises(Fenced):
        await writer.append(RECORD)


async def test_a_claim_that_cannot_be_read_fences_nobody() -> None:
    world = World(Geometry(4, 2), 6)
    writer = await writer_in(world)
    for number, memory in enumerate(world.memories):
        memory.create(claim_name(9), RECORD)
        world.fail[number] = lambda method, name, offset: (
            Fault.IO if method == "read" and name == claim_name(9) else None)
    await writer.append(RECORD)
    assert writer.missed == ()


@pytest.mark.parametrize(("copied", "enough"), [(2, True), (3, False)])
async def test_where_a_copy_of_this_client_has_written_nothing_is_written_over(
        copied: int, enough: bool) -> None:
    """Restored from a snapshot of its memory it has the same claim: only the record tells
    (threat 50)."""
    world = World(Geometry(4, 2), 6)
    writer = await writer_in(world)
    keys = box_keys(world.master, POOL_ID, "commit")
    mine, other = (encode_commit(Commit(3, 1, bytes(32), bytes(16), time, 1, 1), keys,
                                 bytes([time]) * 32) for time in (1, 2))
    for memory in world.memories[:copied]:
        memory.write(commits_name(3), 0, [other])
    if enough:
        await writer.append(mine)
    else:
        with pytest.raises(Fenced, match="copy of this client"):
            await writer.append(mine)
    for memory in world.memories[:copied]:
        assert memory.read(commits_name(3), 0, len(other)) == other


async def test_a_full_target_takes_records_while_it_has_the_room() -> None:
    """Reserving room ahead fails; the record itself still fits (threat 24)."""
    world = World(Geometry(4, 2), 6)
    writer = await writer_in(world)
    world.fail_all(Fault.FULL, "preallocate")
    await writer.append(RECORD)
    assert writer.missed == ()
    other = await writer_in(World(Geometry(4, 2), 6))
    assert other.offset == 0
    world = World(Geometry(4, 2), 6)
    writer = await writer_in(world)
    for number in range(3):
        world.fail_one(number, Fault.IO, "preallocate")
    with pytest.raises(ReadOnly):
        await writer.append(RECORD)


async def test_room_that_was_reserved_is_given_back() -> None:
    world = World(Geometry(4, 2), 6)
    writer = await writer_in(world)
    await writer.append(RECORD)
    assert all(memory.size(commits_name(3)) > BLOCK_LEN for memory in world.memories)
    await writer.trim()
    assert all(memory.size(commits_name(3)) == BLOCK_LEN for memory in world.memories)
    await writer.trim()
    await writer.punch(3, 0)
    assert world.memories[0].read(commits_name(3), 0, BLOCK_LEN) == RECORD
    await writer.punch(3, BLOCK_LEN)
    assert all(memory.read(commits_name(3), 0, BLOCK_LEN) == bytes(BLOCK_LEN)
               for memory in world.memories)
    # A file that is not there any more has no room to give back; any other failure is one.
    await writer.punch(2, BLOCK_LEN)
    assert world.fleet[world.ids[0]].online
    world.fail_one(1, Fault.IO, "punch")
    await writer.punch(3, BLOCK_LEN)
    assert not world.fleet[world.ids[1]].online


async def test_whoever_waits_for_silence_sees_a_claim_that_was_made_meanwhile() -> None:
    """The holder is silent, and a third one takes over: not silence, but another holder."""
    world = World(Geometry(4, 2), 6)
    await claimer_of(world, "dead").claim(3, b"d" * 16)
    claimer = claimer_of(world, "me")
    view = await claimer.look()
    assert view.newest is not None and claimer.may_be_alive(view.newest)
    await claimer_of(world, "third").claim(4, b"t" * 16)
    with pytest.raises(InUse, match="mounted on third"):
        await claimer.await_silence(view)


async def test_whoever_is_silent_is_waited_for_and_then_taken_over() -> None:
    world = World(Geometry(4, 2), 6)
    await claimer_of(world, "dead").claim(3, b"d" * 16)
    claimer = claimer_of(world, "me")
    await claimer.await_silence(await claimer.look())
    assert not claimer_of(world, "dead").may_be_alive((await claimer.look()).newest)  # type: ignore[arg-type]


@pytest.mark.parametrize(("parity", "quorum", "count", "away", "beating", "alive"), [
    (2, 4, 6, 0, 2, False), (2, 4, 6, 0, 3, True), (2, 4, 6, 1, 1, False), (2, 4, 6, 1, 2, True),
    (2, 4, 6, 2, 1, True), (1, 2, 3, 0, 1, False), (1, 2, 3, 0, 2, True), (1, 2, 3, 1, 1, True),
    (2, 2, 3, 0, 2, True), (2, 2, 3, 0, 1, False), (2, 4, 6, 2, 0, False)])
async def test_old_beats_that_targets_play_back_keep_nobody_alive(
        parity: int, quorum: int, count: int, away: int, beating: int, alive: bool) -> None:
    """More targets than may be lost or lie, less those that are away, have to show that a heart
    goes on; a quorum of them always shows it."""
    world = World(Geometry(count - parity, parity), count)
    dead = claimer_of(world, "dead")
    dead.quorum = quorum
    await dead.claim(3, b"d" * 16)
    heart = Heart(world.fleet, dead.heartbeat_keys, world.entropy, 3)
    recorded = []
    for _ in range(30):
        await heart.beat()
        recorded.append(world.memories[0].read(heartbeat_name(3), 0, BLOCK_LEN))
    claimer = claimer_of(world, "me")
    claimer.parity, claimer.quorum = parity, quorum
    for number in range(beating):
        world.memories[number].write(heartbeat_name(3), 0, [recorded[0]])
    for target_id in world.ids[count - away :]:
        world.fleet.mark_away(target_id, "")
    view = await claimer.look()

    async def play_back() -> None:
        for beat in recorded[1:]:
            await trio.sleep(1)
            for number in range(beating):
                world.memories[number].write(heartbeat_name(3), 0, [beat])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play_back)
        if alive:
            with pytest.raises(InUse, match="mounted on dead"):
                await claimer.await_silence(view)
        else:
            await claimer.await_silence(view)


async def test_a_target_that_shows_no_claims_is_away() -> None:
    world = World(Geometry(4, 2), 6)
    await claimer_of(world, "a").claim(3, b"a" * 16)
    world.fail_one(2, Fault.TIMEOUT, "list_names")
    view = await claimer_of(world, "b").look()
    assert view.newest is not None and view.newest.host == "a" and view.next_epoch(0, 2) == 4
    assert not world.fleet[world.ids[2]].online and set(view.beats) == set(world.ids) - {
        world.ids[2]}


@pytest.mark.parametrize("fault", [Fault.IO, Fault.MISSING, Fault.UNSAFE])
async def test_a_claim_that_cannot_be_read_is_passed_over(fault: Fault) -> None:
    world = World(Geometry(4, 2), 6)
    await claimer_of(world, "a").claim(3, b"a" * 16)
    for number in range(5):
        world.fail_one(number, fault, "read")
    view = await claimer_of(world, "b").look()
    assert view.newest is not None and all(world.fleet[one].online for one in world.ids)


async def test_a_target_that_hangs_while_its_claims_are_read_is_away() -> None:
    """What it would have shown is not known, so it tells nothing, about heartbeats either."""
    world = World(Geometry(4, 2), 6)
    await claimer_of(world, "a").claim(3, b"a" * 16)
    world.fail_one(2, Fault.TIMEOUT, "read")
    view = await claimer_of(world, "b").look()
    assert view.newest is not None and view.newest.host == "a"
    assert [one for one in world.ids if not world.fleet[one].online] == [world.ids[2]]
    assert set(view.beats) == set(world.ids) - {world.ids[2]}


async def test_a_record_that_a_successor_removed_the_file_of_is_fenced_not_failed() -> None:
    """Who took over has given the record files of older epochs back."""
    world = World(Geometry(4, 2), 6)
    writer = await writer_in(world)
    later = (await claimer_of(World(Geometry(4, 2), 6), "b").claim(4, b"b" * 16)).data
    for memory in world.memories:
        memory.remove(commits_name(3))
        memory.create(claim_name(4), later)
    with pytest.raises(Fenced, match="b has claimed"):
        await writer.append(RECORD)
    assert all(world.fleet[one].online for one in world.ids)


async def test_a_later_claim_wins_over_ours() -> None:
    world = World(Geometry(4, 2), 6)
    await claimer_of(world, "later").claim(8, b"l" * 16)
    with pytest.raises(InUse, match="at the same time"):
        await claimer_of(world, "me").claim(7, b"m" * 16)


@pytest.mark.parametrize(("unclaimed", "unread", "writable"), [
    (0, 0, True), (2, 0, True), (0, 2, True), (1, 1, True), (2, 1, False), (1, 2, False)])
async def test_reading_after_the_claim_needs_exactly_its_quorum(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unclaimed: int, unread: int,
        writable: bool) -> None:
    """4+2 on six: four members that took the claim and were read after it, whoever they are."""
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    disks = MemoryDisks()
    ground = memory_ground(tmp_path / "pool", disks)
    await ground.create()
    refusing, mute = ground.paths[:unclaimed], ground.paths[6 - unread :]
    claimed: list[str] = []

    def unanswering(path: str) -> Target:
        def plan(number: int, method: str, name: str, offset: int) -> Outcome:
            if method == "create" and name.startswith("claim"):
                claimed.append(path)
                return Fault.FULL if path in refusing else None
            return Fault.TIMEOUT if len(claimed) >= 6 and path in mute and (
                method == "list_names") else None

        return FaultyTarget(disks.open(path), plan)

    ground.open_target = unanswering
    async with ground.open_and_crash() as opening:
        assert bool(opening.volume.read_only) != writable
        if not writable:
            assert "after they took the claim" in opening.volume.read_only


async def test_ids_of_segments_and_places_in_the_order_are_used_once(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash comes before any checkpoint names them; the next epoch goes on above them."""
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    disks = MemoryDisks()
    ground = memory_ground(tmp_path / "pool", disks)
    await ground.create()
    segments: list[set[int]] = []
    orders: list[tuple[int, int]] = []
    for number in range(3):
        async with ground.open_and_crash() as opening:
            volume = opening.volume
            before, first = set(volume.files.index.segments), volume.store.next_order
            path = b"f%d" % number
            await opening.shell.write(path, some_bytes(number, 300_000))
            await volume.fsync(None)
            segments.append(set(volume.files.index.segments) - before)
            orders.append((first, volume.store.next_order))
        disks.crash()
    assert all(segments) and len(set.union(*segments)) == sum(map(len, segments))
    assert all(before[1] <= after[0] for before, after in pairwise(orders))
    async with ground.open_and_crash() as opening:
        for number in range(3):
            assert await opening.shell.read(b"f%d" % number) == some_bytes(number, 300_000)
