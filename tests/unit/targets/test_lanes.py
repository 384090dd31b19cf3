"""What only lanes with threads can do: hang, fill up, be given up."""

import gc
import queue
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest
import trio
import trio.testing

from ecfs.base.errors import Bug, Fault, TargetError
from ecfs.base.units import NS_PER_S
from ecfs.base.world import SystemClock, SystemThreads
from ecfs.targets import AnyLane, Lane, run_all
from ecfs.targets.lanes import LATE_NS
from ecfs.testing.target_contract import raises

LONG_S = 1000.0


class Hang:
    """A job that hangs until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self._go = threading.Event()

    def __call__(self) -> str:
        self.began.set()
        self._go.wait(30)
        self.ended.set()
        return "late"

    def let_go(self, lane: Lane) -> None:
        """Let it end, and wait until the lane has noticed."""
        self._go.set()
        assert self.ended.wait(30)
        while lane.busy_since_ns() is not None:
            pass


@pytest.fixture
def hang() -> Hang:
    return Hang()


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane("one", SystemThreads(), SystemClock(), queue_len_max=4)
    yield lane
    assert lane.close(30)


@pytest.fixture
def other() -> Iterator[Lane]:
    lane = Lane("other", SystemThreads(), SystemClock())
    yield lane
    assert lane.close(30)


async def jump_after(clock: trio.testing.MockClock, event: threading.Event) -> None:
    await trio.to_thread.run_sync(event.wait, 30)
    clock.jump(LONG_S)


async def get_stuck(lane: Lane, hang: Hang, clock: trio.testing.MockClock) -> None:
    """Give up on a job that has begun."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jump_after, clock, hang.began)
        with raises(Fault.TIMEOUT):
            await lane.run(hang, deadline_s=LONG_S)


async def test_a_hanging_job_is_given_up(
        lane: Lane, hang: Hang, mock_clock: trio.testing.MockClock) -> None:
    await get_stuck(lane, hang, mock_clock)
    assert trio.current_time() == pytest.approx(LONG_S)
    since_ns = lane.busy_since_ns()
    assert since_ns is not None and since_ns <= SystemClock().monotonic_ns()
    while not lane.is_late():
        assert SystemClock().monotonic_ns() - since_ns < LATE_NS + NS_PER_S
    assert SystemClock().monotonic_ns() - since_ns > LATE_NS
    hang.let_go(lane)
    assert not lane.is_late()


async def test_a_stuck_lane_fails_fast_until_it_returns(
        lane: Lane, hang: Hang, mock_clock: trio.testing.MockClock) -> None:
    done: list[int] = []
    await get_stuck(lane, hang, mock_clock)
    for _ in range(10):
        with raises(Fault.TIMEOUT):
            await lane.run(done.append, 1, deadline_s=LONG_S)
        with raises(Fault.TIMEOUT):
            lane.run_sync(done.append, 1, deadline_s=LONG_S)
    assert trio.current_time() == pytest.approx(LONG_S)
    hang.let_go(lane)
    await lane.run(done.append, 2, deadline_s=LONG_S)
    assert done == [2]


def test_a_caller_that_blocks_gives_up_as_well(lane: Lane, hang: Hang) -> None:
    done: list[int] = []
    with raises(Fault.TIMEOUT):
        lane.run_sync(hang, deadline_s=0.01)
    with raises(Fault.TIMEOUT):
        lane.run_sync(done.append, 1, deadline_s=LONG_S)
    hang.let_go(lane)
    lane.run_sync(done.append, 2, deadline_s=LONG_S)
    assert done == [2]


async def test_the_deadline_of_the_machine_counts_without_a_waiter(
        lane: Lane, hang: Hang) -> None:
    class Skewed(SystemClock):
        ahead_ns = 0

        def monotonic_ns(self) -> int:
            return super().monotonic_ns() + self.ahead_ns

    clock = Skewed()
    skewed = Lane("skewed", SystemThreads(), clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_when_begun, nursery.cancel_scope, hang)
        await skewed.run(hang, deadline_s=10.0)
    clock.ahead_ns = 11 * 10**9
    with raises(Fault.TIMEOUT):
        await skewed.run(str, deadline_s=LONG_S)
    hang.let_go(skewed)
    assert await skewed.run(str, deadline_s=LONG_S) == ""
    assert skewed.close(30)


async def cancel_when_begun(scope: trio.CancelScope, hang: Hang) -> None:
    await trio.to_thread.run_sync(hang.began.wait, 30)
    scope.cancel()


async def test_cancelling_the_waiter_leaves_the_lane_whole(lane: Lane, hang: Hang) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_when_begun, nursery.cancel_scope, hang)
        await lane.run(hang, deadline_s=LONG_S)
    assert lane.busy_since_ns() is not None
    hang.let_go(lane)
    assert await lane.run(lambda: 1, deadline_s=LONG_S) == 1


async def test_a_job_given_up_before_it_began_is_never_done(
        lane: Lane, other: Lane, hang: Hang) -> None:
    done: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, lane, hang, done)
        await trio.to_thread.run_sync(hang.began.wait, 30)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(run_append, lane, done)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        hang.let_go(lane)
    await lane.run(str, deadline_s=LONG_S)
    assert done == [0]


async def collect(lane: Lane, hang: Hang, done: list[int]) -> None:
    assert await lane.run(hang, deadline_s=LONG_S) == "late"
    done.append(0)


async def run_append(lane: Lane, done: list[int]) -> None:
    await lane.run(done.append, 1, deadline_s=LONG_S)


async def test_what_was_done_while_the_loop_was_blocked_counts(
        lane: Lane, hang: Hang, mock_clock: trio.testing.MockClock) -> None:
    """SQLite waits for a hanging target past everybody's deadline: the others were not late."""
    async def block() -> None:
        await trio.testing.wait_all_tasks_blocked()
        assert hang.began.wait(30)
        hang.let_go(lane)
        mock_clock.jump(2 * LONG_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(block)
        assert await lane.run(hang, deadline_s=LONG_S) == "late"
    assert trio.current_time() >= 2 * LONG_S
    assert await lane.run(lambda: "next", deadline_s=LONG_S) == "next"


async def test_run_all_does_not_wait_for_the_late(
        lane: Lane, other: Lane, hang: Hang, mock_clock: trio.testing.MockClock) -> None:
    functions: list[Callable[[], str]] = [hang, lambda: "in time"]

    async def jump_after_the_other() -> None:
        await trio.to_thread.run_sync(hang.began.wait, 30)
        # Posted after this one, so that its end is the end of the prompt job as well.
        await other.run(str, deadline_s=LONG_S)
        mock_clock.jump(LONG_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(jump_after_the_other)
        results = await run_all([lane, other], functions, LONG_S)
    assert isinstance(results[0], TargetError) and results[0].fault is Fault.TIMEOUT
    assert results[1] == "in time"
    results = await run_all([lane, other], functions, LONG_S)
    assert isinstance(results[0], TargetError) and results[1] == "in time"
    assert trio.current_time() == pytest.approx(LONG_S)
    hang.let_go(lane)


async def test_run_all_wakes_the_loop_once(lane: Lane, other: Lane) -> None:
    wakes = 0

    class Wakes(trio.abc.Instrument):
        def task_scheduled(self, task: trio.lowlevel.Task) -> None:
            nonlocal wakes
            wakes += task is me

    me = trio.lowlevel.current_task()
    instrument = Wakes()
    trio.lowlevel.add_instrument(instrument)
    lanes: list[AnyLane] = [lane, other] * 2
    await run_all(lanes, [lambda: None] * 4, LONG_S)
    trio.lowlevel.remove_instrument(instrument)
    assert wakes == 1


async def test_a_full_queue_holds_up_who_posts(lane: Lane, hang: Hang) -> None:
    done: list[int] = []

    async def append(number: int) -> None:
        await lane.run(done.append, number, deadline_s=LONG_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, lane, hang, done)
        await trio.to_thread.run_sync(hang.began.wait, 30)
        for number in range(1, 21):
            nursery.start_soon(append, number)
        await trio.testing.wait_all_tasks_blocked()
        assert lane.is_full()
        assert lane._queue.qsize() == 4
        hang.let_go(lane)
    assert sorted(done) == list(range(21))


async def test_waiting_for_room_ends_with_the_deadline(
        lane: Lane, hang: Hang, mock_clock: trio.testing.MockClock) -> None:
    done: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, lane, hang, done)
        await trio.to_thread.run_sync(hang.began.wait, 30)
        for _ in range(4):
            nursery.start_soon(run_append, lane, done)
        await trio.testing.wait_all_tasks_blocked()
        assert lane.is_full()
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_when_blocked, scope)
            await lane.run(done.append, 2, deadline_s=LONG_S)
        assert scope.cancelled_caught
        nursery.start_soon(jump, mock_clock, LONG_S / 2)
        with raises(Fault.TIMEOUT):
            await lane.run(done.append, 2, deadline_s=LONG_S / 4)
        with raises(Fault.TIMEOUT):
            lane.run_sync(done.append, 2, deadline_s=0.01)
        hang.let_go(lane)
    assert done.count(1) == 4 and 2 not in done


async def jump(clock: trio.testing.MockClock, seconds: float) -> None:
    await trio.testing.wait_all_tasks_blocked()
    clock.jump(seconds)


async def cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


def test_callers_that_block_wait_for_room(lane: Lane, hang: Hang) -> None:
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    callers = [threading.Thread(target=lane.run_sync, args=(hang,),
                                kwargs={"deadline_s": LONG_S})]
    callers[0].start()
    assert hang.began.wait(30)
    for number in range(20):
        callers.append(threading.Thread(
            target=lane.run_sync, args=(done.put, number), kwargs={"deadline_s": LONG_S}))
        callers[-1].start()
    hang.let_go(lane)
    for caller in callers:
        caller.join()
    assert sorted(done.get() for _ in range(20)) == list(range(20))


async def test_a_lane_does_not_wait_for_itself(lane: Lane) -> None:
    def ask_itself() -> None:
        lane.run_sync(str, deadline_s=LONG_S)

    with pytest.raises(Bug):
        await lane.run(ask_itself, deadline_s=LONG_S)


async def test_close_does_not_wait_for_a_hanging_job(
        hang: Hang, mock_clock: trio.testing.MockClock) -> None:
    lane = Lane("one", SystemThreads(), SystemClock())
    await get_stuck(lane, hang, mock_clock)
    assert not lane.close(0.0)
    hang.let_go(lane)
    assert lane.close(30)


def test_a_late_result_after_the_loop_has_ended(lane: Lane, hang: Hang) -> None:
    async def give_up() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when_begun, scope, hang)
                await lane.run(hang, deadline_s=LONG_S)

    trio.run(give_up)
    hang.let_go(lane)
    assert lane.run_sync(lambda: 1, deadline_s=LONG_S) == 1


async def test_an_idle_lane_keeps_nothing_alive(lane: Lane) -> None:
    class Bytes:
        pass

    def fail(data: Bytes) -> None:
        raise TargetError(Fault.IO, "planned")

    gc.collect()
    gc.disable()
    try:
        data = Bytes()
        gone = weakref.ref(data)
        try:
            await lane.run(fail, data, deadline_s=LONG_S)
        except TargetError:
            pass
        del data
        # The thread lets go of the job just after it has woken the loop.
        for _ in range(100_000):
            if gone() is None:
                break
            await trio.lowlevel.checkpoint()
        assert gone() is None
    finally:
        gc.enable()
