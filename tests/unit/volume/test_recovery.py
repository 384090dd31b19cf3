"""Which history is adopted: pure, over records made by hand."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.base.errors import TooFewReachable
from ecfs.formats import NO_PARENT, Commit, PageDelta, Root
from ecfs.volume.records import Found, LogView
from ecfs.volume.recovery import adopt, bad_records, chains

WRITER = bytes(16)


class Log:
    """Builds records. `at`: the newest of them."""

    def __init__(self) -> None:
        self.records: dict[tuple[int, int], Found] = {}
        self.at: Found | None = None
        self.epoch = 1
        self._number = 0

    def add(self, *, after: Found | None = None, epoch: int = 0, more: bool = False,
            base: Found | None = None) -> Found:
        """The next record, or one after another record; with `base` it is a checkpoint."""
        before = after or self.at
        self._number += 1
        seq = before.commit.seq + 1 if before else 1
        root = None
        if base is not None or before is None:
            root = Root(base.commit.seq if base else 0, base.hash if base else NO_PARENT, 1, (),
                        (), (), 1, 1, 1, 1, 0, 0, 4, 2, 1, (), (), 1)
        commit = Commit(epoch or self.epoch, seq, before.hash if before else NO_PARENT, WRITER, 0,
                        1, 1, (PageDelta(1, False, b"%d" % self._number),), more=more, root=root)
        found = Found(commit, self._number.to_bytes(32, "big"), 4096 * self._number, 4096)
        self.records[(commit.epoch, seq)] = found
        self.at = found
        return found

    def view(self, *without: Found) -> LogView:
        return LogView(records={key: found for key, found in self.records.items()
                                if found not in without})


def run_of(count: int) -> tuple[Log, list[Found]]:
    log = Log()
    return log, [log.add() for _ in range(count)]


def test_nothing_is_nothing() -> None:
    assert adopt(LogView(), drop_tail=False) is None


def test_a_plain_chain() -> None:
    log, made = run_of(5)
    chain = adopt(log.view(), drop_tail=False)
    assert chain is not None and chain.records == tuple(made) and chain.dropped == ()
    assert chain.tip == made[-1]


def test_the_newer_checkpoint_begins_the_replay() -> None:
    log, made = run_of(4)
    checkpoint = log.add(base=made[2])
    last = log.add()
    chain = adopt(log.view(), drop_tail=False)
    assert chain is not None and chain.checkpoint == checkpoint
    assert chain.records == (made[3], checkpoint, last)
    older = adopt(log.view(checkpoint), drop_tail=True)
    assert older is not None and older.checkpoint == made[0] and older.tip == made[3]


def test_records_before_the_base_are_not_needed() -> None:
    log, made = run_of(6)
    checkpoint = log.add(base=made[4])
    chain = adopt(log.view(*made[:5]), drop_tail=False)
    assert chain is not None and chain.records == (made[5], checkpoint)


@pytest.mark.parametrize("lost", range(1, 6))
def test_a_gap_waits_for_targets(lost: int) -> None:
    log, made = run_of(7)
    with pytest.raises(TooFewReachable, match="7"):
        adopt(log.view(made[lost]), drop_tail=False)
    chain = adopt(log.view(made[lost]), drop_tail=True)
    assert chain is not None and chain.tip == made[lost - 1]
    assert set(chain.dropped) == set(made[lost + 1 :])


def test_a_lost_last_record_is_not_seen() -> None:
    log, made = run_of(7)
    chain = adopt(log.view(made[6]), drop_tail=False)
    assert chain is not None and chain.tip == made[5]


def test_a_straggler_of_an_older_epoch_is_ignored() -> None:
    log, made = run_of(4)
    straggler = log.add()
    later = log.add(after=made[3], epoch=2)
    chain = adopt(log.view(), drop_tail=False)
    assert chain is not None and chain.tip == later and straggler not in chain.records
    assert chain.dropped == ()


def test_a_straggler_is_ignored_however_long_its_branch() -> None:
    """It cannot have been acknowledged, but a reader must not follow it for its length."""
    log, made = run_of(4)
    for _ in range(3):
        log.add()
    later = log.add(after=made[3], epoch=2)
    chain = adopt(log.view(), drop_tail=False)
    assert chain is not None and chain.tip == later


def test_a_dead_end_of_a_younger_epoch_does_not_hide_what_was_built_later() -> None:
    """A writer adopted the record of epoch 1 without having seen the lone first one of epoch 2."""
    log, made = run_of(4)
    adopted = log.add()
    log.add(after=made[3], epoch=2)
    newest = log.add(after=adopted, epoch=3)
    chain = adopt(log.view(), drop_tail=False)
    assert chain is not None and chain.records == (*made, adopted, newest)
    assert chain.dropped == ()


def test_an_epoch_that_adopted_the_straggler_keeps_it() -> None:
    log, made = run_of(4)
    last = log.add()
    opening = log.add(epoch=2)
    chain = adopt(log.view(), drop_tail=False)
    assert chain is not None and chain.records == (*made, last, opening)


def test_an_epoch_that_a_later_one_did_not_see_is_ignored() -> None:
    """Two writers crashed, each with its record on one member; the third saw the older one."""
    log, made = run_of(4)
    straggler = log.add()
    unseen = log.add(after=made[3], epoch=2)
    opening = log.add(after=straggler, epoch=3)
    chain = adopt(log.view(), drop_tail=False)
    assert chain is not None and chain.records == (*made, straggler, opening)
    assert unseen not in chain.records and chain.dropped == ()
    last = log.add(epoch=3)
    chain = adopt(log.view(), drop_tail=False)
    assert chain is not None and chain.tip == last


def test_losing_the_adopted_straggler_is_a_gap() -> None:
    log, made = run_of(4)
    last = log.add()
    log.add(epoch=2)
    with pytest.raises(TooFewReachable):
        adopt(log.view(last), drop_tail=False)
    assert made


def test_an_unfinished_step_is_cut_off_whole() -> None:
    log, made = run_of(3)
    log.add(more=True)
    log.add(more=True)
    chain = adopt(log.view(), drop_tail=False)
    assert chain is not None and chain.tip == made[2] and chain.dropped == ()


def test_a_finished_step_counts_whole() -> None:
    log, _ = run_of(3)
    first, second = log.add(more=True), log.add(more=True)
    last = log.add()
    chain = adopt(log.view(), drop_tail=False)
    assert chain is not None and chain.records[-3:] == (first, second, last)


def test_the_next_epoch_goes_on_before_an_unfinished_step() -> None:
    log, made = run_of(3)
    unfinished = [log.add(more=True), log.add(more=True)]
    opening = log.add(after=made[2], epoch=2)
    chain = adopt(log.view(), drop_tail=False)
    assert chain is not None and chain.tip == opening
    assert not set(unfinished) & set(chain.records) and chain.dropped == ()


def test_a_gap_within_a_step_waits() -> None:
    log, made = run_of(3)
    log.add(more=True)
    middle = log.add(more=True)
    log.add()
    with pytest.raises(TooFewReachable):
        adopt(log.view(middle), drop_tail=False)
    chain = adopt(log.view(middle), drop_tail=True)
    assert chain is not None and chain.tip == made[2]


def test_a_checkpoint_cut_off_from_its_base_gives_way_to_the_one_before() -> None:
    log, made = run_of(6)
    checkpoint = log.add(base=made[3])
    tail = log.add()
    chain = adopt(log.view(made[5]), drop_tail=True)
    assert chain is not None and chain.checkpoint == made[0] and chain.tip == made[4]
    with pytest.raises(TooFewReachable):
        adopt(log.view(made[5]), drop_tail=False)
    with pytest.raises(TooFewReachable, match="base"):
        adopt(log.view(made[5], made[0]), drop_tail=False)
    assert {checkpoint, tail} == set(chain.dropped)


def test_records_without_any_checkpoint_wait() -> None:
    log, made = run_of(4)
    with pytest.raises(TooFewReachable, match="checkpoint"):
        adopt(log.view(made[0]), drop_tail=False)


def test_a_clean_end_is_the_tip() -> None:
    log, made = run_of(2)
    assert [chain.tip for chain in chains(log.view())] == [made[1]]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 32))
def test_what_a_quorum_holds_is_adopted(seed: int) -> None:
    """Epochs that crash and take over: of 6 members 4 hold each acknowledged record; 2 are lost.

    The adopted tip is at or past every acknowledged record, and every acknowledged record is in
    the chain, unless a gap is reported.
    """
    chance = random.Random(seed)
    log = Log()
    members = range(6)
    holders: dict[bytes, set[int]] = {}
    acknowledged: list[Found] = []
    first = log.add()
    holders[first.hash] = set(members)
    acknowledged.append(first)
    tip, more = first, False
    for epoch in range(1, 4):
        log.epoch = epoch
        for _ in range(chance.randrange(1, 5)):
            more = chance.random() < 0.3
            tip = log.add(after=tip, more=more)
            held = set(chance.sample(members, chance.randrange(1, 7)))
            holders[tip.hash] = held
            if len(held) < 4:
                break
            acknowledged.append(tip)
        seen = set(chance.sample(members, 4))
        view = LogView(records={key: found for key, found in log.records.items()
                                if holders[found.hash] & seen})
        try:
            chain = adopt(view, drop_tail=False)
        except TooFewReachable:
            # A record that one member held was adopted before, and that member is not here.
            return
        assert chain is not None
        whole = list(acknowledged)
        while whole and whole[-1].commit.more:
            whole.pop()
        assert {found.hash for found in whole} <= {found.hash for found in chain.records}
        tip = chain.tip
        acknowledged = [found for found in acknowledged if found in chain.records]


def test_only_who_acknowledged_a_record_is_held_to_it() -> None:
    log, made = run_of(3)
    told = log.records[(1, 3)]
    log.records[(1, 3)] = replace(told, commit=replace(told.commit, missed=(b"away",)))
    view = log.view()
    second, third = made[1], made[2]
    view.bad = [(b"liar", 1, second.offset), (b"away", 1, second.offset),
                (b"torn", 1, third.offset), (b"junk", 1, 4096 * 900), (b"junk", 7, 0)]
    assert [(bad.member, bad.offset, bad.acknowledged) for bad in bad_records(view)] == [
        (b"liar", second.offset, True), (b"away", second.offset, False),
        (b"torn", third.offset, False), (b"junk", 4096 * 900, False), (b"junk", 0, False)]
