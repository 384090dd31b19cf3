"""Lanes of the simulation pass the contract of lanes, whether jobs take time or not."""

import math
from functools import partial

import pytest
import trio

from ecfs.base.errors import Fault
from ecfs.targets import AnyLane
from ecfs.testing.lane_contract import LaneContract
from ecfs.testing.simulation.determinism import SimulatedClock, source_of
from ecfs.testing.simulation.lanes import SimulatedLane, Traffic
from ecfs.testing.target_contract import raises


class TestSimulatedLane(LaneContract):
    def make_lane(self, name: str) -> AnyLane:
        return SimulatedLane(name, SimulatedClock())


class TestSimulatedLaneWithAShortQueue(LaneContract):
    def make_lane(self, name: str) -> AnyLane:
        return SimulatedLane(name, SimulatedClock(), queue_len_max=1)


class TestSlowSimulatedLane(LaneContract):
    def make_lane(self, name: str) -> AnyLane:
        source = source_of(name)
        return SimulatedLane(name, SimulatedClock(), lambda: source.expovariate(100))


@pytest.fixture
def hanging() -> SimulatedLane:
    delays = [0.5, math.inf, 0.5, 0.5]
    return SimulatedLane("hanging", SimulatedClock(), lambda: delays.pop(0))


async def test_a_job_takes_its_time(hanging: SimulatedLane) -> None:
    began = trio.current_time()
    assert await hanging.run(lambda: 3, deadline_s=10) == 3
    assert trio.current_time() - began == pytest.approx(0.5)


async def test_a_job_that_hangs_is_given_up_and_done_late(hanging: SimulatedLane) -> None:
    done: list[str] = []
    await hanging.run(done.append, "first", deadline_s=10)
    with raises(Fault.TIMEOUT):
        await hanging.run(done.append, "late", deadline_s=10)
    assert done == ["first"]
    assert hanging.busy_since_ns() is not None
    with raises(Fault.TIMEOUT):
        hanging.run_sync(done.append, "never", deadline_s=10)
    with raises(Fault.TIMEOUT):
        await hanging.run(done.append, "never", deadline_s=10)
    hanging.let_go()
    await trio.sleep(1)
    assert done == ["first", "late"]
    await hanging.run(done.append, "again", deadline_s=10)
    assert done == ["first", "late", "again"]


async def test_a_call_that_cannot_wait_comes_after_what_was_posted() -> None:
    lane = SimulatedLane("one", SimulatedClock(), lambda: 1.0)
    done: list[int] = []
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(partial(lane.run, done.append, number, deadline_s=10))
        await trio.sleep(0.5)
        lane.run_sync(done.append, 9, deadline_s=10)
        assert sorted(done[:3]) == [0, 1, 2]
        assert done[3:] == [9]


async def test_what_a_dead_process_had_posted_is_never_done() -> None:
    lane = SimulatedLane("one", SimulatedClock(), lambda: 1.0)
    done: list[int] = []
    with trio.move_on_after(0.5):
        await lane.run(done.append, 1, deadline_s=10)
    lane.kill()
    await trio.sleep(5)
    assert done == []
    assert lane.ended


async def test_while_one_target_blocks_the_loop_the_others_answer() -> None:
    """As threads do: who waited for a target that is well must not hear that it was late."""
    traffic, clock = Traffic(), SimulatedClock()
    well = SimulatedLane("well", clock, lambda: 4.0, traffic=traffic)
    hung = SimulatedLane("hung", clock, lambda: math.inf, traffic=traffic)
    done: list[float] = []
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(partial(
                well.run, lambda: done.append(trio.current_time()), deadline_s=10))
        await trio.sleep(1)
        began = trio.current_time() - 1
        with raises(Fault.TIMEOUT):
            hung.run_sync(done.clear, deadline_s=10)
        assert trio.current_time() - began == pytest.approx(11)
        assert [moment - began for moment in done] == pytest.approx([4, 8])
        nursery.cancel_scope.cancel()
    assert well.busy_since_ns() == pytest.approx((began + 8) * 1e9)
    await trio.sleep(2)
    assert [moment - began for moment in done] == pytest.approx([4, 8, 12])
