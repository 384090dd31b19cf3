"""What is promised is done once, in order, and never without anybody hearing of a failure."""

from functools import partial

import pytest

from ecfs.base.promises import Promises, keep_all


class Broken(Exception):
    """What was promised cannot be done."""


def breaking() -> None:
    raise Broken


@pytest.fixture
def promises() -> Promises:
    made = Promises()
    made.postpones = True
    return made


def test_what_fails_before_the_answer_is_no_broken_promise(promises: Promises) -> None:
    """Whoever asked gets the error, as without promises."""
    told: list[Exception] = []
    promises.on_broken = told.append
    promises.answered = True
    promises.make(breaking)
    with pytest.raises(Broken):
        promises.keep()
    assert not told


def test_all_are_kept_though_one_cannot_be_and_only_what_was_answered_is_broken() -> None:
    for answered in (False, True):
        first, second = Promises(), Promises()
        told: list[Exception] = []
        done: list[int] = []
        for each in (first, second):
            each.postpones, each.on_broken = True, told.append
        first.make(breaking)
        second.make(partial(done.append, 1))
        with pytest.raises(Broken):
            keep_all((first, second), answered=answered)
        assert done == [1] and len(told) == answered
        keep_all((first, second), answered=answered)
        assert done == [1] and len(told) == answered


def test_without_postponing_a_thing_is_done_at_once_and_what_it_raises_is_the_callers() -> None:
    promises, done, told = Promises(), [1], [Broken()]
    promises.on_broken = told.append  # type: ignore[assignment]
    promises.make(lambda: done.append(2))
    assert done == [1, 2] and promises.due is None
    with pytest.raises(Broken):
        promises.make(breaking)
    promises.keep()
    assert done == [1, 2] and len(told) == 1


def test_a_promise_is_kept_once_and_the_earlier_before_the_later(promises: Promises) -> None:
    done: list[int] = []
    promises.make(lambda: done.append(1))
    assert not done and promises.due is not None
    promises.make(lambda: done.append(2))
    assert done == [1]
    promises.keep()
    promises.keep()
    assert done == [1, 2] and promises.due is None


def test_a_broken_promise_is_told_of_once_and_is_not_tried_again(promises: Promises) -> None:
    told: list[Exception] = []
    promises.on_broken = told.append
    promises.make(breaking)
    promises.answered = True
    with pytest.raises(Broken):
        promises.keep()
    promises.keep()
    assert [type(error) for error in told] == [Broken]


def test_who_promises_after_a_broken_promise_hears_of_it_and_promises_nothing(
        promises: Promises) -> None:
    done: list[int] = []
    promises.make(breaking)
    with pytest.raises(Broken):
        promises.make(lambda: done.append(1))
    promises.keep()
    assert not done


def test_what_is_done_may_look_at_what_it_changes(promises: Promises) -> None:
    """Whoever looks keeps the promise first, and so does what is being done."""
    done: list[int] = []

    def do() -> None:
        promises.keep()
        done.append(1)

    promises.make(do)
    promises.keep()
    assert done == [1]
