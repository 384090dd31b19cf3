"""The log of small synced writes by itself: what records carry, and how much of it."""

import pytest

from ecfs.base.limits import INLINE_RECORD_LEN_MAX, LOGGED_COUNT_MAX, LOGGED_LEN_MAX
from ecfs.base.rope import copied
from ecfs.content.logged import WRITE_OVERHEAD_LEN, WriteLog
from ecfs.content.state import FileState, Piece
from ecfs.formats import LoggedWrite


def pieces_of(*parts: bytes, inode: int = 5) -> list[Piece]:
    return [Piece(inode, 100 * number, part, len(part)) for number, part in enumerate(parts)]


def logged(*parts: bytes, fresh: bool = True) -> tuple[WriteLog, list[Piece]]:
    log, pieces = WriteLog(), pieces_of(*parts)
    log.add(FileState(5, 1000, 0, mtime_ns=7, ctime_ns=8), pieces, 9, 1, fresh=fresh)
    return log, pieces


def test_each_piece_is_taken_once() -> None:
    log, pieces = logged(b"a", b"bc")
    assert log.take() == [(LoggedWrite(5, 0, 7, 8, b"a", 1), LoggedWrite(5, 100, 7, 8, b"bc", 1))]
    assert log.take() == [] and list(log) == pieces and log.length == 3
    log.renew()
    assert [write.data for write in log.take()[0]] == [b"a", b"bc"]
    assert log.take() == []


def test_what_a_record_carried_before_is_taken_only_again() -> None:
    log, _ = logged(b"a", fresh=False)
    assert log.take() == []
    log.renew()
    assert len(log.take()) == 1


def test_what_was_cut_off_or_entered_is_not_carried() -> None:
    log, pieces = logged(b"abcdef", b"gone", b"entered", b"last")
    pieces[0].limit, pieces[1].limit = 3, 0
    log.drop([pieces[2]])
    log.drop(pieces_of(b"of others"))
    assert [write.data for write in log.take()[0]] == [b"abc", b"last"]
    assert log.length == len(b"abcdefgonelast") and len(list(log)) == 3
    log.drop(pieces)
    assert not log and log.length == 0 and log.take() == []


@pytest.mark.parametrize("length", [1, 4096, 30_000])
def test_more_than_a_record_holds_is_several(length: int) -> None:
    log, pieces = logged(*[bytes([number % 256]) * length for number in range(600)])
    groups = log.take()
    assert [write.data for group in groups for write in group] == [
        copied(piece.data, 0, length) for piece in pieces]
    for group in groups:
        assert len(group) <= LOGGED_COUNT_MAX
        assert sum(len(write.data) + WRITE_OVERHEAD_LEN for write in group) <= INLINE_RECORD_LEN_MAX
    in_one = min(LOGGED_COUNT_MAX, INLINE_RECORD_LEN_MAX // (length + WRITE_OVERHEAD_LEN))
    assert len(groups) == -(-600 // in_one)


def test_bounds_of_a_record_and_of_the_log() -> None:
    log, _ = logged(*[b"x"] * 200)
    assert log.may_take(56, 56) and not log.may_take(57, 57)
    assert not log.may_take(1, INLINE_RECORD_LEN_MAX)
    log.take()
    assert (log.may_take(256, 256), log.is_full) == (True, False)
    log.add(FileState(5, 0, 0), pieces_of(*[b"y"] * 256), 9, 1)
    log.take()
    assert (log.may_take(56, 56), log.may_take(57, 57), log.is_full) == (True, False, True)
    long, _ = logged(*[bytes(32_768)] * 32)
    long.take()
    assert (long.may_take(1, 32_768), long.is_full) == (True, True)
    long.add(FileState(5, 0, 0), pieces_of(*[bytes(32_768)] * 31), 9, 1)
    long.take()
    assert 2 * LOGGED_LEN_MAX - long.length == 32_768
    assert long.may_take(1, 32_768) and not long.may_take(1, 32_769)


def test_what_was_entered_takes_no_room_in_the_next_record() -> None:
    """As where every commit has pages: nothing is ever taken then."""
    log = WriteLog()
    for _ in range(100):
        assert log.may_take(1, 32_768)
        log.add(FileState(5, 0, 0), pieces_of(bytes(32_768)), 9, 1)
        log.drop(list(log))
        log.renew()
        assert log.take() == []


def test_its_age_is_that_of_the_oldest() -> None:
    log, pieces = logged(b"a")
    state = FileState(5, 0, 0)
    log.add(state, pieces_of(b"b"), 20, 1)
    assert log.since_ns == 9
    log.drop(list(log))
    log.add(state, pieces, 30, 1)
    assert log.since_ns == 30
