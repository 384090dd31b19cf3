"""How long something is asked for again before somebody sleeps."""

import pytest

from ecfs.base.patience import WINDOW_NS_MIN, Patience
from ecfs.base.units import NS_PER_US

WINDOW_NS_MAX = 50 * NS_PER_US


class Ticking:
    """A clock that goes on by a microsecond at each look, and a device with answers at times."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.answer_ns: int | None = None
        self.asked_count = 0

    def monotonic_ns(self) -> int:
        self.now_ns += NS_PER_US
        return self.now_ns

    def wall_ns(self) -> int:
        raise NotImplementedError

    def ask(self) -> int | None:
        self.asked_count += 1
        if self.answer_ns is None or self.now_ns < self.answer_ns:
            return None
        self.answer_ns = None
        return 7


@pytest.fixture
def world() -> Ticking:
    return Ticking()


@pytest.fixture
def patience(world: Ticking) -> Patience:
    return Patience(world, cores_count=2, window_ns_max=WINDOW_NS_MAX)


def spent_in_vain(world: Ticking, patience: Patience) -> int:
    began_ns = world.now_ns
    assert patience.ask(world.ask) is None
    return world.now_ns - began_ns


def test_an_answer_that_comes_soon_is_taken(world: Ticking, patience: Patience) -> None:
    world.answer_ns = WINDOW_NS_MAX // 2
    assert patience.ask(world.ask) == 7
    assert world.now_ns <= WINDOW_NS_MAX // 2 + 2 * NS_PER_US


def test_what_is_spent_in_vain_shrinks_and_never_ends(world: Ticking, patience: Patience) -> None:
    spent = [spent_in_vain(world, patience) for _ in range(10)]
    assert WINDOW_NS_MAX <= spent[0] <= WINDOW_NS_MAX + 2 * NS_PER_US
    assert spent == sorted(spent, reverse=True)
    assert WINDOW_NS_MIN <= spent[-1] <= WINDOW_NS_MIN + 2 * NS_PER_US


@pytest.mark.parametrize(("asleep_ns", "long"), [(WINDOW_NS_MAX // 2, True),
                                                 (WINDOW_NS_MAX * 2, False)])
def test_it_grows_again_when_the_sleep_was_short(world: Ticking, patience: Patience,
                                                 asleep_ns: int, long: bool) -> None:
    for _ in range(10):
        spent_in_vain(world, patience)
    world.now_ns += asleep_ns
    patience.woke()
    assert (spent_in_vain(world, patience) >= WINDOW_NS_MAX) == long


def test_an_answer_makes_it_long_again(world: Ticking, patience: Patience) -> None:
    for _ in range(10):
        spent_in_vain(world, patience)
    world.answer_ns = world.now_ns + 2 * NS_PER_US
    assert patience.ask(world.ask) == 7
    assert spent_in_vain(world, patience) >= WINDOW_NS_MAX


def test_with_one_core_it_does_not_ask_at_all(world: Ticking) -> None:
    patience = Patience(world, cores_count=1, window_ns_max=WINDOW_NS_MAX)
    assert patience.ask(world.ask) is None
    patience.woke()
    assert world.asked_count == 0
