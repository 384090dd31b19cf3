"""Membership: labels propose, the root decides; and what an exchange that was cut short leaves."""

from dataclasses import replace

import pytest

from ecfs.base.errors import TooFewReachable
from ecfs.formats import NO_PARENT, Root, SegmentEntry, TargetEntry
from ecfs.metadata import Database
from ecfs.stripes import Member
from ecfs.volume.adopting import (
    Exchange,
    adopted,
    blank_below,
    exchange_left,
    last_exchange,
    note_exchange,
    note_filled,
)
from ecfs.volume.membership import replaced
from tests.unit.volume.test_downgrades import LABEL

IDS = [bytes([number]) * 16 for number in range(8)]
ENTRIES = tuple(TargetEntry(one, f"t{one[0]}", f"/t{one[0]}") for one in IDS)
SIX = replace(LABEL, members=tuple(IDS[:6]), targets=ENTRIES[:6])
ROOT = Root(1, NO_PARENT, 1, (), (), (), 1, 1, 1, 1, 0, 0, 4, 2, 1, tuple(IDS[:6]),
            tuple(IDS[:6]), 1)


def test_the_root_says_who_belongs_to_the_pool_and_in_which_order() -> None:
    turned = replace(ROOT, members=tuple(IDS[5:0:-1]), targets=tuple(IDS[5:0:-1]))
    label = adopted(SIX, turned)
    assert label.members == turned.members
    assert label.targets == tuple(ENTRIES[number] for number in (5, 4, 3, 2, 1))
    assert adopted(replace(SIX, targets=ENTRIES[:7]), ROOT) == SIX


@pytest.mark.parametrize("changes", [{"targets": tuple(IDS[1:7])}, {"members": tuple(IDS[1:7])}])
def test_labels_that_know_too_few_wait_for_newer_ones(changes: dict[str, tuple[bytes, ...]],
                                                      ) -> None:
    with pytest.raises(TooFewReachable, match="no label here names"):
        adopted(SIX, replace(ROOT, **changes))  # type: ignore[arg-type]


def test_an_exchange_that_was_cut_short_is_found() -> None:
    database = Database.in_memory()
    assert exchange_left(database, SIX, ENTRIES[:7]) is None
    with database.change():
        note_exchange(database, Member(IDS[2], "old", "/old"), Member(IDS[6], "new", "/new"), 9)
    assert last_exchange(database) == (IDS[2], IDS[6], "/old")
    assert (blank_below(database, IDS[6]), blank_below(database, IDS[2])) == (9, 0)
    assert exchange_left(database, SIX, ENTRIES[:7]) == Exchange(IDS[2], ENTRIES[6])
    # No label names the new one; it is a member already; the old one is none any more.
    assert exchange_left(database, SIX, ENTRIES[:6]) is None
    done = replace(SIX, targets=(*ENTRIES[:2], *ENTRIES[3:7]))
    assert exchange_left(database, done, ENTRIES[:7]) is None
    gone = replace(SIX, targets=(*ENTRIES[:2], *ENTRIES[3:6]))
    assert exchange_left(database, gone, ENTRIES[:7]) is None


@pytest.mark.parametrize("value", [None, 5, "text", bytes(31), bytes(33)])
def test_a_note_that_is_none_is_no_exchange(value: int | str | bytes | None) -> None:
    database = Database.in_memory()
    with database.change():
        database.set_setting("exchange", value)
    assert exchange_left(database, SIX, ENTRIES[:7]) is None
    assert last_exchange(database) is None


def test_an_exchange_of_an_older_program_tells_no_path() -> None:
    database = Database.in_memory()
    with database.change():
        database.set_setting("exchange", IDS[2] + IDS[6])
    assert last_exchange(database) == (IDS[2], IDS[6], "")
    assert blank_below(database, IDS[6]) == 0


def test_what_was_filled_is_held_to_everything() -> None:
    database = Database.in_memory()
    with database.change():
        note_exchange(database, Member(IDS[2], "old", "/old"), Member(IDS[6], "new", "/new"), 9)
        note_filled(database, IDS[6])
    assert blank_below(database, IDS[6]) == 0


def test_columns_of_one_target_become_anothers() -> None:
    entry = SegmentEntry(1, 1, 2, 1, (IDS[0], IDS[1], IDS[2]), 8192)
    assert replaced(entry, IDS[1], IDS[7]).columns == (IDS[0], IDS[7], IDS[2])
    assert replaced(entry, IDS[5], IDS[7]) == entry
