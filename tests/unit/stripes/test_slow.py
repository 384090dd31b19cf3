"""Targets that answer late, but within their deadline, hold up no read for long."""

import math
from collections.abc import Callable

import pytest
import trio
import trio.testing

from ecfs.base.errors import Fault, Unreadable
from ecfs.base.limits import (
    READ_DEADLINE_S,
    READ_PATIENCE_S_MAX,
    READ_PATIENCE_S_MIN,
    TARGET_DEADLINE_S,
)
from ecfs.erasure import Geometry
from ecfs.formats import KIND_CONTENT, encode_directory
from ecfs.observe import EventKind
from ecfs.stripes import Read, Written
from ecfs.testing.simulation.lanes import SimulatedLane, Traffic
from tests.unit.stripes.simulated import TrioClock, World

EXTENTS = [b"first" * 3000, bytes(range(256)) * 900]
QUICK_S = 0.001
HEDGED_S = READ_PATIENCE_S_MIN + 0.02
"""What waiting for one, and then for others, may take; a little is for the length of a read."""


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0)


class SlowWorld:
    """4 + 2 shards of a stripe; `delays[column]`, in seconds, of the target of that column."""

    def __init__(self, world: World, stripe: Written) -> None:
        self.world, self.stripe = world, stripe
        self.units = world.store.layout(stripe.ref).units_of(stripe.starts[0], len(EXTENTS[0]))
        self.delays = [QUICK_S] * 6
        self.asked = [0] * 6
        traffic = Traffic()
        for column in range(6):
            self.member(column).lane = SimulatedLane(
                f"l{column}", TrioClock(), self._delay_of(column), traffic=traffic)

    def _delay_of(self, column: int) -> Callable[[], float]:
        def delay_s() -> float:
            self.asked[column] += 1
            return self.delays[column]

        return delay_s

    def member(self, column: int):  # type: ignore[no-untyped-def]
        return self.world.fleet[self.stripe.ref.segment.columns[column]]

    @property
    def first(self) -> int:
        """The column that the units lie in."""
        return self.units[0].shard

    @property
    def others(self) -> list[int]:
        return [column for column in range(6) if column != self.first]

    async def read(self, *, blocking: bool) -> tuple[Read, float]:
        """What was read, and how long it took."""
        began = trio.current_time()
        result = (self.world.store.read_sync(self.stripe.ref, self.units) if blocking
                  else await self.world.store.read(self.stripe.ref, self.units))
        assert bytes(result.data) == EXTENTS[0]
        return result, trio.current_time() - began


async def slow_world() -> SlowWorld:
    world = World(Geometry(4, 2), 6, clock=TrioClock())
    (written,) = await world.store.sync([await world.store.append(
        KIND_CONTENT, EXTENTS, lambda starts: encode_directory([]))])
    assert isinstance(written, Written)
    return SlowWorld(world, written)


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_slow_target_is_waited_for_once_and_then_asked_last(
        autojump_clock: trio.testing.MockClock, blocking: bool) -> None:
    slow = await slow_world()
    slow.delays[slow.first] = TARGET_DEADLINE_S - 1
    result, took_s = await slow.read(blocking=blocking)
    # Late is no fault: nothing of it is to be mended, nobody is accused.
    assert READ_PATIENCE_S_MIN <= took_s < HEDGED_S and not result.faults
    took = [(await slow.read(blocking=blocking))[1] for _ in range(100)]
    assert max(took) < 0.01
    assert slow.asked[slow.first] == 1
    assert not slow.world.journal.recent(9)


@pytest.mark.parametrize("blocking", [True, False])
async def test_one_that_is_well_again_is_asked_first_again(
        autojump_clock: trio.testing.MockClock, blocking: bool) -> None:
    slow = await slow_world()
    slow.delays[slow.first] = 0.5
    await slow.read(blocking=blocking)
    slow.delays[slow.first] = QUICK_S
    for _ in range(20):
        await trio.sleep(2)
        await slow.read(blocking=blocking)
    slow.asked = [0] * 6
    await slow.read(blocking=blocking)
    assert slow.asked[slow.first] == 1 and sum(slow.asked) == 1


@pytest.mark.parametrize("blocking", [True, False])
async def test_who_is_quick_and_late_in_turns_wins_few_waits(
        autojump_clock: trio.testing.MockClock, blocking: bool) -> None:
    """Quick while it is tried, late when somebody waits for it; for an hour and a half."""
    slow = await slow_world()
    waits = 0
    for _ in range(5000):
        await trio.sleep(1)
        slow.world.fleet.late(slow.stripe.ref.segment.columns, 4)
        is_tried = slow.member(slow.first).pace._needed_count > 0
        slow.delays[slow.first] = QUICK_S if is_tried else 5.0
        waits += (await slow.read(blocking=blocking))[1] >= READ_PATIENCE_S_MIN
    assert 2 <= waits <= 12
    assert slow.world.journal.count(EventKind.TARGET_SLOW) == 1


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("wrong", [Fault.IO, "short"])
async def test_beside_the_slow_one_another_may_be_bad(
        autojump_clock: trio.testing.MockClock, blocking: bool, wrong: object) -> None:
    slow = await slow_world()
    slow.delays[slow.first] = 9.0
    index = slow.world.ids.index(slow.member(slow.others[0]).id)
    slow.world.fail_one(index, wrong, "read")  # type: ignore[arg-type]
    result, took_s = await slow.read(blocking=blocking)
    assert took_s < HEDGED_S
    assert [fault.column for fault in result.faults] == [slow.others[0]]


@pytest.mark.parametrize("blocking", [True, False])
async def test_rot_beside_a_slow_target_is_read_past_both(
        autojump_clock: trio.testing.MockClock, blocking: bool) -> None:
    """What does not open is looked for in whole shards: those that are there are enough."""
    slow = await slow_world()
    index = slow.world.ids.index(slow.member(slow.first).id)
    slow.world.targets[index].corrupt = lambda name, offset, data: b"\xff" + data[1:]
    slow.delays[slow.others[2]] = 9.0
    result, took_s = await slow.read(blocking=blocking)
    assert took_s < 0.2
    assert [fault.column for fault in result.faults] == [slow.first]


@pytest.mark.parametrize("blocking", [True, False])
async def test_where_all_are_slow_they_are_waited_for(
        autojump_clock: trio.testing.MockClock, blocking: bool) -> None:
    """Disks that spin up, say. The first answer that is enough is taken."""
    slow = await slow_world()
    slow.delays = [4.0] * 6
    result, took_s = await slow.read(blocking=blocking)
    assert not result.faults and took_s == pytest.approx(4.0, abs=0.1)
    slow.delays = [TARGET_DEADLINE_S - 1] * 6
    slow.delays[slow.first] = 6.0
    assert (await slow.read(blocking=blocking))[1] == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("quick_count", [3, 4])
async def test_what_is_late_counts_once_it_comes(
        autojump_clock: trio.testing.MockClock, blocking: bool, quick_count: int) -> None:
    """Too few are quick: the soonest of the others are taken."""
    slow = await slow_world()
    for column in slow.others[quick_count - 1:]:
        slow.delays[column] = 9.0
    slow.delays[slow.first] = 5.0
    slow.delays[slow.others[-1]] = 3.0
    expected_s = 0.1 if quick_count > 4 else 3.0 if quick_count == 4 else 5.0
    assert (await slow.read(blocking=blocking))[1] == pytest.approx(expected_s, abs=0.2)


@pytest.mark.parametrize("blocking", [True, False])
async def test_what_never_comes_is_lost_within_a_bound(
        autojump_clock: trio.testing.MockClock, blocking: bool) -> None:
    """Too many hang: one read, of all that are there, has one deadline for all it asks."""
    slow = await slow_world()
    for column in (*slow.others[:2], slow.first):
        slow.delays[column] = math.inf
    began = trio.current_time()
    with pytest.raises(Unreadable):
        await slow.read(blocking=blocking)
    assert TARGET_DEADLINE_S <= trio.current_time() - began <= READ_DEADLINE_S + 0.1
    assert slow.world.journal.count(EventKind.TARGET_SLOW) >= 3


async def test_a_read_that_nobody_waits_for_harms_nothing_else(
        autojump_clock: trio.testing.MockClock) -> None:
    """What is late for a read is not late for its lane: a record waits behind it, and is done."""
    slow = await slow_world()
    slow.delays[slow.first] = 5.0
    await slow.read(blocking=False)
    lane = slow.member(slow.first).lane
    slow.delays[slow.first] = QUICK_S
    assert await lane.run(lambda: 7, deadline_s=TARGET_DEADLINE_S) == 7


async def test_who_waits_long_as_all_do_is_not_late(
        autojump_clock: trio.testing.MockClock) -> None:
    """Targets a continent away: patience is a multiple of what reads take on most of them."""
    slow = await slow_world()
    slow.delays = [0.04] * 6
    for _ in range(3):
        await slow.world.store.examine(slow.stripe.ref)
    assert not slow.world.fleet.late(slow.stripe.ref.segment.columns, 4)
    slow.delays = [0.2] * 6
    slow.asked = [0] * 6
    _, took_s = await slow.read(blocking=False)
    assert took_s == pytest.approx(0.2) and sum(slow.asked) == 1
    slow.delays[slow.first] = READ_PATIENCE_S_MAX + 1
    assert (await slow.read(blocking=False))[1] <= READ_PATIENCE_S_MAX + 0.21


async def test_a_full_lane_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    slow = await slow_world()
    lane = slow.member(slow.first).lane = SimulatedLane(
        "short", TrioClock(), lambda: QUICK_S, queue_len_max=1)
    results: list[float] = []

    async def read() -> None:
        results.append((await slow.read(blocking=False))[1])

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(read)
    assert len(results) == 10 and max(results) < READ_PATIENCE_S_MIN
    assert not lane.is_full()


async def test_who_left_meanwhile_is_not_asked(autojump_clock: trio.testing.MockClock) -> None:
    slow = await slow_world()
    slow.delays[slow.first] = 0.5
    await slow.read(blocking=True)
    await trio.sleep(60)
    slow.member(slow.first).target = None
    slow.asked = [0] * 6
    await slow.read(blocking=True)
    assert slow.asked[slow.first] == 0


async def test_a_bug_in_a_read_is_raised(autojump_clock: trio.testing.MockClock,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    slow = await slow_world()

    def fail(*args: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(slow.world.store, "_read_column", fail)
    for blocking in (True, False):
        with pytest.raises(ZeroDivisionError):
            await slow.read(blocking=blocking)


async def test_trials_do_not_pile_up(autojump_clock: trio.testing.MockClock) -> None:
    """While one has not ended there is no other before the pause is over, which doubles."""
    slow = await slow_world()
    slow.delays[slow.first] = 9.0
    for _ in range(600):
        await slow.read(blocking=False)
        await trio.sleep(1)
    assert 5 <= slow.asked[slow.first] <= 20




async def test_two_that_are_always_slow_do_not_make_others_patient(
        autojump_clock: trio.testing.MockClock) -> None:
    """As many as are needed to read say what reads usually take, the quickest of all."""
    slow = await slow_world()
    for column in range(6):
        quick = column not in slow.others[:2]
        slow.member(column).pace.usual_ns = 1_000_000 if quick else 9_000_000_000
    slow.delays[slow.first] = 9.0
    assert (await slow.read(blocking=True))[1] < HEDGED_S
