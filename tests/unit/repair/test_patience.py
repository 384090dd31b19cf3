"""How often a target that is behind is caught up."""

import pytest
import trio
from trio.testing import MockClock

from ecfs.erasure import Geometry
from ecfs.repair.patience import CATCH_UP_REST, Patience
from ecfs.stripes import Fleet, Member
from tests.unit.stripes.simulated import World

TOOK_S = 100.0


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def tries(patience: Patience, fleet: Fleet, member: Member, took_s: float = TOOK_S) -> float:
    """A try, as soon as it may be; for how long it was not to be."""
    began = trio.current_time()
    while not patience.is_due(fleet, member):
        await trio.sleep(1)
    waited_s = trio.current_time() - began
    await trio.sleep(took_s)
    patience.tried()
    return waited_s


async def test_who_is_filled_again_and_again_rests_for_longer_each_time(clock: MockClock) -> None:
    """It has all each time, goes, and is back without anything."""
    fleet = World(Geometry(2, 1), 3).fleet
    member = next(iter(fleet))
    patience = Patience()
    for rest in (0, 0, 1, 3, 7, 15, CATCH_UP_REST, CATCH_UP_REST):
        assert await tries(patience, fleet, member) == rest * TOOK_S
        patience.is_whole()
        fleet.mark_away(member.id, "it fails a write")
        fleet.mark_online(member)
    await trio.sleep(3700)
    for rest in (0, 0, 1):
        assert await tries(patience, fleet, member) == rest * TOOK_S
        patience.is_whole()


async def test_who_took_long_is_remembered_for_as_long(clock: MockClock) -> None:
    fleet = World(Geometry(2, 1), 3).fleet
    member = next(iter(fleet))
    patience = Patience()
    for _ in range(2):
        assert await tries(patience, fleet, member, 10_000) == 0
        patience.is_whole()
    await trio.sleep(5_000)
    assert await tries(patience, fleet, member, 10_000) == 5_000


async def test_who_cannot_catch_up_is_tried_when_another_comes_or_goes(clock: MockClock) -> None:
    fleet = World(Geometry(2, 1), 3).fleet
    member, other, _ = fleet
    patience = Patience()
    assert await tries(patience, fleet, member) == 0
    assert not patience.is_due(fleet, member)
    fleet.mark_away(other.id, "pulled")
    assert await tries(patience, fleet, member) == 0
    # Not for its own coming and going.
    fleet.mark_away(member.id, "it fails a write")
    assert not patience.is_due(fleet, member)
    fleet.mark_online(member)
    assert not patience.is_due(fleet, member)
    fleet.note_missed([member.id])
    assert await tries(patience, fleet, member) == TOOK_S


async def test_trying_in_vain_takes_little_of_the_time(clock: MockClock) -> None:
    fleet = World(Geometry(2, 1), 3).fleet
    member = next(iter(fleet))
    patience = Patience()
    for pause_s in (0, 1, 2, 4, 8, 16, 32, 60, 60):
        assert await tries(patience, fleet, member, 0) == pause_s
    assert await tries(patience, fleet, member, TOOK_S) == 60
    assert await tries(patience, fleet, member, TOOK_S) == CATCH_UP_REST * TOOK_S
