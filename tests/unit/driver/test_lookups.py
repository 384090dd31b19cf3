"""Of which inodes the kernel has the attributes, as time goes by."""

import pytest

from ecfs.base.ids import InodeId
from ecfs.driver.lookups import AGED_AT_ONCE, LookupCounts

FOR_NS = 1000
A, B, C = InodeId(7), InodeId(8), InodeId(9)
ALL = {A, B, C}


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_ns = 5_000

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counts(clock: Clock) -> LookupCounts:
    return LookupCounts(clock, FOR_NS)


def test_who_was_told_of_is_told_for_a_while_and_not_longer(
        counts: LookupCounts, clock: Clock) -> None:
    counts.add(A)
    clock.now_ns += FOR_NS // 2
    assert counts.told(ALL) == {A}
    counts.add(B)
    clock.now_ns += FOR_NS // 2
    assert counts.told(ALL) == {B}, "the first longer than agreed"
    clock.now_ns += FOR_NS
    assert counts.told(ALL) == set()


def test_who_was_told_of_just_now_is_not_forgotten_with_those_of_long_ago(
        counts: LookupCounts, clock: Clock) -> None:
    """Nobody lists for hours, and then who looked at all of it does."""
    counts.add(A)
    clock.now_ns += 100 * FOR_NS
    for number in range(AGED_AT_ONCE):
        counts.add(InodeId(100 + number))
    counts.add(B)
    assert counts.told(ALL) == {B}
    clock.now_ns += FOR_NS // 2
    assert counts.told(ALL) == {B}


def test_who_changes_or_is_forgotten_is_told_of_anew(counts: LookupCounts, clock: Clock) -> None:
    for wait_ns in (0, FOR_NS // 2):
        for inode in ALL:
            counts.add(inode)
        clock.now_ns += wait_ns
        assert counts.told(ALL) == ALL
        counts.changed(A)
        counts.forget(B, 99)
        assert counts.told(ALL) == {C}


def test_who_may_be_kept_for_a_moment_only_is_told_of_anew(counts: LookupCounts) -> None:
    counts.add(A)
    counts.add(A, settled=False)
    assert counts.told(ALL) == set() and counts.is_known(A)
