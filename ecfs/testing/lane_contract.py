"""What every lane does: subclass `LaneContract` and say how to make one."""

import threading
from collections.abc import Iterator

import pytest
import trio

from ecfs.base.errors import Fault, TargetError
from ecfs.targets import AnyLane, Job, run_all
from ecfs.testing.target_contract import raises

DEADLINE_S = 60.0


class Planned(Exception):
    """Raised by a job of a test."""


class LaneContract:
    """The contract as tests. A subclass overrides `make_lane`."""

    def make_lane(self, name: str) -> AnyLane:
        """A new lane."""
        raise NotImplementedError

    @pytest.fixture
    def lane(self) -> Iterator[AnyLane]:
        """The lane under test."""
        lane = self.make_lane("one")
        yield lane
        assert lane.close(5.0)

    @pytest.fixture
    def lanes(self) -> Iterator[list[AnyLane]]:
        """Six of them."""
        lanes = [self.make_lane(f"lane-{number}") for number in range(6)]
        yield lanes
        for lane in lanes:
            assert lane.close(5.0)

    async def test_results_come_back(self, lane: AnyLane) -> None:
        """With arguments, from both kinds of call."""
        assert await lane.run(divmod, 17, 5, deadline_s=DEADLINE_S) == (3, 2)
        assert lane.run_sync(divmod, 17, 5, deadline_s=DEADLINE_S) == (3, 2)

    async def test_errors_come_back(self, lane: AnyLane) -> None:
        """As they were raised; the lane goes on."""
        def fail(error: BaseException) -> None:
            raise error

        for error in (Planned("x"), TargetError(Fault.FULL, "x"), SystemExit(3)):
            with pytest.raises(type(error)) as caught:
                await lane.run(fail, error, deadline_s=DEADLINE_S)
            assert caught.value is error
            with pytest.raises(type(error)):
                lane.run_sync(fail, error, deadline_s=DEADLINE_S)
        assert await lane.run(str, deadline_s=DEADLINE_S) == ""

    async def test_an_exception_may_be_a_result(self, lane: AnyLane) -> None:
        """What is returned is not raised."""
        error = Planned("returned")
        assert await lane.run(lambda: error, deadline_s=DEADLINE_S) is error

    async def test_jobs_keep_their_order(self, lane: AnyLane) -> None:
        """One after another, as they were posted."""
        done: list[int] = []
        await run_all([lane] * 100, [lambda n=n: done.append(n) for n in range(100)],  # type: ignore[misc]
                      DEADLINE_S)
        assert done == list(range(100))

    async def test_run_all_gathers(self, lanes: list[AnyLane]) -> None:
        """Results in the order of the lanes, TargetErrors among them."""
        def work(number: int) -> int:
            if number == 2:
                raise TargetError(Fault.IO, "planned")
            return number

        results = await run_all(lanes, [lambda n=n: work(n) for n in range(6)], DEADLINE_S)  # type: ignore[misc]
        assert isinstance(results[2], TargetError) and results[2].fault is Fault.IO
        assert results[:2] + results[3:] == [0, 1, 3, 4, 5]
        assert await run_all([], [], DEADLINE_S) == []

    async def test_run_all_raises_what_is_no_target_error(self, lanes: list[AnyLane]) -> None:
        """Once all have ended."""
        done: list[int] = []

        def work(number: int) -> None:
            if number == 0:
                raise Planned("x")
            done.append(number)

        with pytest.raises(Planned):
            await run_all(lanes, [lambda n=n: work(n) for n in range(6)], DEADLINE_S)  # type: ignore[misc]
        assert sorted(done) == [1, 2, 3, 4, 5]

    async def test_many_tasks_share_a_lane(self, lane: AnyLane) -> None:
        """Each gets its own result."""
        wrong: list[int] = []

        async def ask(number: int) -> None:
            if await lane.run(lambda: number * 2, deadline_s=DEADLINE_S) != number * 2:
                wrong.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(600):
                nursery.start_soon(ask, number)
        assert wrong == []

    async def test_a_cancelled_task_posts_nothing(self, lane: AnyLane) -> None:
        """Its job is not done, and the lane serves the next one."""
        done: list[int] = []
        with trio.CancelScope() as scope:
            scope.cancel()
            await lane.run(done.append, 1, deadline_s=DEADLINE_S)
        assert scope.cancelled_caught
        assert await lane.run(lambda: 5, deadline_s=DEADLINE_S) == 5
        assert done == []

    async def test_an_idle_lane_is_not_busy(self, lane: AnyLane) -> None:
        """Nor after a job."""
        assert lane.busy_since_ns() is None
        await lane.run(str, deadline_s=DEADLINE_S)
        assert lane.busy_since_ns() is None

    async def test_who_blocks_is_let_go_by_a_job(self, lane: AnyLane) -> None:
        """Or by the time; in the loop's thread, as a callback of SQLite does."""
        ended = threading.Lock()
        ended.acquire()
        assert not lane.block(ended, 0.01)
        job = Job(lambda: 7, (), DEADLINE_S, ended.release)
        lane.post(job)
        assert lane.block(ended, DEADLINE_S)
        assert job.take_outcome("")[0] == 7

    async def test_from_another_thread(self, lane: AnyLane) -> None:
        """run_sync works without a loop."""
        results: list[int] = []
        thread = threading.Thread(
            target=lambda: results.append(lane.run_sync(lambda: 7, deadline_s=DEADLINE_S)))
        thread.start()
        await trio.to_thread.run_sync(thread.join)
        assert results == [7]

    async def test_after_close(self, lane: AnyLane) -> None:
        """Every call is AWAY; closing again is fine."""
        assert lane.close(5.0)
        assert lane.close(5.0)
        with raises(Fault.AWAY):
            await lane.run(str, deadline_s=DEADLINE_S)
        with raises(Fault.AWAY):
            lane.run_sync(str, deadline_s=DEADLINE_S)
        [result] = await run_all([lane], [str], DEADLINE_S)
        assert isinstance(result, TargetError) and result.fault is Fault.AWAY
