"""Answers of several lanes are taken as they come, by one who waits in the loop or blocks it."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest
import trio

from ecfs.base.errors import Fault, TargetError
from ecfs.base.world import SystemClock, SystemThreads
from ecfs.targets import Gathering, InlineLane, Lane

LONG_S = 30.0


class Gates:
    """Lanes, each with a job that ends when its gate is opened."""

    def __init__(self, count: int) -> None:
        self.lanes = [Lane(f"g{number}", SystemThreads(), SystemClock(), queue_len_max=1)
                      for number in range(count)]
        self.gates = [threading.Event() for _ in range(count)]
        self.began = [threading.Event() for _ in range(count)]

    def job(self, number: int) -> Callable[[], int]:
        def wait() -> int:
            self.began[number].set()
            self.gates[number].wait(LONG_S)
            return number

        return wait


@pytest.fixture
def gates() -> Iterator[Gates]:
    gates = Gates(3)
    yield gates
    for gate in gates.gates:
        gate.set()
    assert all(lane.close(LONG_S) for lane in gates.lanes)


async def wait(gathering: Gathering[int, int], count: int, timeout_s: float,
               blocking: bool) -> bool:
    return (gathering.wait_sync(count, timeout_s) if blocking
            else await gathering.wait(count, timeout_s))


@pytest.mark.parametrize("blocking", [True, False])
async def test_answers_are_there_as_they_come(gates: Gates, blocking: bool) -> None:
    gathering: Gathering[int, int] = Gathering()
    for number in range(3):
        gathering.begin(number, gates.lanes[number], gates.job(number), LONG_S)
    assert not await wait(gathering, 1, 0.001, blocking) and not gathering.answers()
    gates.gates[2].set()
    assert await wait(gathering, 1, LONG_S, blocking)
    assert gathering.answers() == {2: 2}
    threading.Timer(0.01, gates.gates[0].set).start()
    threading.Timer(0.02, gates.gates[1].set).start()
    assert await wait(gathering, 2, LONG_S, blocking)
    assert gathering.answers() == {0: 0, 1: 1, 2: 2}
    gathering.close()


@pytest.mark.parametrize("blocking", [True, False])
async def test_what_is_given_up_has_timed_out_whatever_comes(gates: Gates,
                                                             blocking: bool) -> None:
    """And what comes of it later is not taken for the answer of another one."""
    gathering: Gathering[int, int] = Gathering()
    gathering.begin(0, gates.lanes[0], gates.job(0), LONG_S)
    gathering.begin(0, gates.lanes[0], gates.job(0), LONG_S)
    gathering.give_up()
    answer = gathering.answers()[0]
    assert isinstance(answer, TargetError) and answer.fault is Fault.TIMEOUT
    gates.gates[0].set()
    await gates.lanes[0].run(str, deadline_s=LONG_S)
    gathering.begin(1, gates.lanes[1], gates.job(1), LONG_S)
    assert not await wait(gathering, 1, 0.001, blocking)
    gates.gates[1].set()
    assert await wait(gathering, 1, LONG_S, blocking)
    assert gathering.answers()[1] == 1 and gathering.answers()[0] is answer


async def test_a_job_for_a_full_lane_is_posted_when_there_is_room(gates: Gates) -> None:
    lane = gates.lanes[0]
    first: Gathering[int, int] = Gathering()
    second: Gathering[int, int] = Gathering()
    third: Gathering[int, int] = Gathering()
    first.begin(0, lane, gates.job(0), LONG_S)
    assert gates.began[0].wait(LONG_S)
    first.begin(1, lane, lambda: 5, LONG_S)
    assert lane.is_full()
    second.begin(1, lane, lambda: 6, LONG_S)
    third.begin(1, lane, lambda: 7, LONG_S)
    # Who goes passes the room on.
    second.close()
    gates.gates[0].set()
    assert await third.wait(1, LONG_S)
    assert third.answers() == {1: 7} and not second.answers()


async def test_errors_of_targets_are_answers_and_others_are_raised() -> None:
    def fail(error: Exception) -> int:
        raise error

    lane, gathering = InlineLane(), Gathering[int, int]()
    error = TargetError(Fault.IO, "planned")
    gathering.begin(0, lane, lambda: fail(error), LONG_S)
    assert gathering.wait_sync(1, 0.0) and gathering.answers() == {0: error}
    gathering.begin(1, lane, lambda: fail(KeyError("x")), LONG_S)
    with pytest.raises(KeyError):
        gathering.answers()


async def test_who_is_cancelled_waits_no_more(gates: Gates) -> None:
    gathering: Gathering[int, int] = Gathering()
    gathering.begin(0, gates.lanes[0], gates.job(0), LONG_S)
    with trio.move_on_after(0.01) as scope:
        await gathering.wait(1, LONG_S)
    assert scope.cancelled_caught


async def test_nothing_that_was_read_is_left_for_the_collector() -> None:
    """A read of a stripe is megabytes, which would lie about until it comes."""
    class Bytes(bytearray):
        pass

    gc.disable()
    try:
        gathering: Gathering[int, Bytes] = Gathering()
        gathering.begin(0, InlineLane(), lambda: Bytes(100), LONG_S)
        answer = weakref.ref(gathering.answers()[0])
        gathering.close()
        del gathering
        assert answer() is None
    finally:
        gc.enable()
