"""Who takes far longer for syncs than others is told of, and waited for."""

from ecfs.base.units import NS_PER_S
from ecfs.erasure import Geometry
from ecfs.observe import EventKind
from ecfs.stripes.syncpace import LATE_TOLD_COUNT, SyncPace
from ecfs.targets import Outcome
from tests.unit.stripes.simulated import MovedClock, World
from tests.unit.stripes.test_access import durable

HOUR_NS = 3600 * NS_PER_S
SLOW, QUICK = 2 * NS_PER_S, NS_PER_S // 100


async def test_a_target_that_is_slow_to_sync_is_told_of_and_waited_for() -> None:
    clock = MovedClock()
    world = World(Geometry(2, 1), 3, clock=clock)

    def slow(method: str, name: str, offset: int) -> Outcome:
        clock.now_ns += SLOW if method == "sync" else 0
        return None

    world.fail[1] = slow
    for number in range(1, LATE_TOLD_COUNT + 3):
        stripe = await durable(world)
        assert not stripe.missed
        assert world.journal.count(EventKind.TARGET_SLOW) == (number >= LATE_TOLD_COUNT)
    [event] = [one for one in world.journal.recent(100) if one.kind is EventKind.TARGET_SLOW]
    assert event.target == world.ids[1] and "2.0 s for a sync" in event.message
    assert all(member.online and not member.behind for member in world.fleet)


def told(pace: SyncPace, took: dict[bytes, int], now_ns: int) -> list[bytes]:
    return [one for _ in range(LATE_TOLD_COUNT) for one in pace.note(took, now_ns)]


def test_who_is_as_slow_as_others_is_not_told_of() -> None:
    assert not told(SyncPace(), {b"a": SLOW, b"b": SLOW, b"c": SLOW}, 0)
    assert not told(SyncPace(), {b"a": SLOW, b"b": SLOW // 2, b"c": SLOW // 2}, 0)
    assert not told(SyncPace(), {b"a": SLOW}, 0)
    assert not told(SyncPace(), {b"a": NS_PER_S // 2, b"b": QUICK}, 0)
    assert told(SyncPace(), {b"a": SLOW, b"b": QUICK, b"c": QUICK}, 0) == [b"a"]
    # Two of six do not hide each other.
    two = {b"a": SLOW, b"b": SLOW, b"c": QUICK, b"d": QUICK, b"e": QUICK, b"f": QUICK}
    assert told(SyncPace(), two, 0) == [b"a", b"b"]


def test_who_was_well_for_an_hour_is_told_of_again() -> None:
    pace, took = SyncPace(), {b"a": SLOW, b"b": QUICK, b"c": QUICK}
    assert told(pace, took, 0) == [b"a"]
    assert not told(pace, took, HOUR_NS)
    assert told(pace, took, 2 * HOUR_NS + 1) == [b"a"]


async def test_who_has_left_meanwhile_is_told_nothing_of() -> None:
    world = World(Geometry(2, 1), 3)
    for _ in range(LATE_TOLD_COUNT):
        world.fleet.note_syncs({b"left": SLOW, world.ids[0]: QUICK, world.ids[1]: QUICK})
    world.fleet.note_late(b"left")
    assert not world.journal.count(EventKind.TARGET_SLOW)
