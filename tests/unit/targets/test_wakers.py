"""How threads wake tasks of the loop: by descriptors that are used again, and without any."""

import os
import threading
from collections.abc import Iterator
from functools import partial

import pytest
import trio
import trio.testing

from ecfs.targets import LoopWaiter, Wakers


@pytest.fixture
def wakers() -> Iterator[Wakers]:
    opened = Wakers()
    yield opened
    opened.close()


def in_a_thread(waiter: LoopWaiter, go: threading.Event | None = None) -> threading.Thread:
    def note() -> None:
        if go is not None:
            go.wait()
        waiter.note()

    thread = threading.Thread(target=note)
    thread.start()
    return thread


def open_count() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_last_of_many_threads_wakes_the_task(wakers: Wakers) -> None:
    async def scenario() -> None:
        before = 0
        for number in range(200):
            waiter = LoopWaiter(3, wakers)
            threads = [in_a_thread(waiter) for _ in range(3)]
            with trio.fail_after(10):
                await waiter.wait()
            assert waiter._left_count == 0
            for thread in threads:
                thread.join()
            before = before or open_count()
            assert open_count() <= before, number

    trio.run(scenario)


def test_each_task_is_woken_by_its_own(wakers: Wakers) -> None:
    woken: list[int] = []

    async def wait(number: int, waiter: LoopWaiter) -> None:
        await waiter.wait()
        woken.append(number)

    async def scenario() -> None:
        waiters = [LoopWaiter(1, wakers) for _ in range(5)]
        async with trio.open_nursery() as nursery:
            for number, waiter in enumerate(waiters):
                nursery.start_soon(wait, number, waiter)
            await trio.testing.wait_all_tasks_blocked()
            for number in (3, 0, 4, 1, 2):
                in_a_thread(waiters[number]).join()
                await trio.testing.wait_all_tasks_blocked()
                assert woken[-1] == number

    trio.run(scenario)


def test_who_was_told_before_it_waits_does_not(wakers: Wakers) -> None:
    async def scenario() -> None:
        waiter = LoopWaiter(1, wakers)
        waiter.note()
        await waiter.wait()
        assert not wakers._free

    trio.run(scenario)


@pytest.mark.parametrize("told", ["never", "after", "as it gives up"])
def test_who_gave_up_leaves_nothing_for_the_next(wakers: Wakers, told: str) -> None:
    """A descriptor that is readable would wake whoever has it next at once."""
    async def scenario() -> None:
        waiter, go = LoopWaiter(1, wakers), threading.Event()
        thread = in_a_thread(waiter, go)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(waiter.wait)
                await trio.testing.wait_all_tasks_blocked()
                if told == "as it gives up":
                    go.set()
                    thread.join()
                scope.cancel()
        if told == "after":
            go.set()
            thread.join()
        (fd,) = wakers._free
        following = LoopWaiter(1, wakers)
        with trio.move_on_after(0.05) as scope:
            await following.wait()
        assert scope.cancelled_caught and wakers._free == [fd]
        with pytest.raises(BlockingIOError):
            os.eventfd_read(fd)
        go.set()
        thread.join()

    trio.run(scenario)


def test_without_descriptors_the_loop_is_called(
        wakers: Wakers, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*args: int) -> int:
        raise OSError("no more descriptors")

    async def scenario() -> None:
        for made in (partial(LoopWaiter, 1), partial(LoopWaiter, 1, wakers)):
            waiter, go = made(), threading.Event()
            thread = in_a_thread(waiter, go)
            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(waiter.wait)
                    await trio.testing.wait_all_tasks_blocked()
                    go.set()
            thread.join()

    monkeypatch.setattr(os, "eventfd", none_left)
    trio.run(scenario)
    assert not wakers._free


def test_what_is_on_loan_is_closed_when_it_comes_back() -> None:
    before = open_count()
    wakers = Wakers()
    lent, other = wakers.take(), wakers.take()
    assert lent is not None and other is not None
    wakers.give_back(other)
    wakers.close()
    assert open_count() == before + 1
    wakers.give_back(lent)
    assert open_count() == before


def test_so_many_are_kept_and_no_more() -> None:
    wakers = Wakers()
    lent = [wakers.take() for _ in range(40)]
    before = open_count()
    for fd in lent:
        assert fd is not None
        wakers.give_back(fd)
    assert len(wakers._free) == 16 and open_count() == before - 24
    wakers.close()
