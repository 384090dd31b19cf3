"""Many pieces mapped at once leave behind what they would have one after the other."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.metadata import ContentTables, Database, Hidden, NewPiece
from ecfs.metadata.mapping import ROWS_PER_PIECE_MAX, map_together, remapped

FILE = 7
Spans = list[tuple[int, int]]


def spans_of(edges: list[int], chosen: list[bool]) -> Spans:
    """(offset, length) of some of the ranges between sorted edges: in order, none over another."""
    return [(low, high - low) for (low, high), wanted in zip(
        pairwise(sorted(set(edges))), chosen * len(edges), strict=False) if wanted]


SPANS = st.builds(spans_of, st.lists(st.integers(0, 120), min_size=2, max_size=20),
                  st.lists(st.booleans(), min_size=1, max_size=5))


def filled(rows: Spans) -> Database:
    """A file with these rows, each of an extent of its own, and rows of its neighbours."""
    database = Database.in_memory()
    database.begin()
    for number, (offset, length) in enumerate(rows, 1):
        database.run("INSERT INTO maps VALUES(?,?,?,?,?)",
                     (FILE, offset, length, number, 3 * number))
    for other in (FILE - 1, FILE + 1):
        for offset in (0, 50, 119):
            database.run("INSERT INTO maps VALUES(?,?,?,?,?)", (other, offset, 30, 99, 0))
    return database


def map_of(database: Database) -> list[tuple[int, ...]]:
    return database.rows("SELECT * FROM maps ORDER BY inode, offset")


def by_extent(hidden: list[Hidden]) -> dict[int, int]:
    found: dict[int, int] = {}
    for length, extent in hidden:
        assert length > 0
        found[extent] = found.get(extent, 0) + length
    return found


@settings(max_examples=500, deadline=None)
@given(SPANS, SPANS.filter(bool))
def test_together_is_one_after_another(rows: Spans, spans: Spans) -> None:
    pieces = [(offset, length, 100 + number) for number, (offset, length) in enumerate(spans)]
    one_by_one, together = filled(rows), filled(rows)
    try:
        apart: list[Hidden] = []
        tables = ContentTables(one_by_one)
        for offset, length, extent in pieces:
            tables.map_range(FILE, offset, length, extent, apart)
        hidden: list[Hidden] = []
        done = map_together(together, FILE, pieces, hidden)
        low, high = pieces[0][0], pieces[-1][0] + pieces[-1][1]
        between = sum(offset < high and offset + length > low for offset, length in rows)
        if between > ROWS_PER_PIECE_MAX * len(pieces):
            assert not done
        if done:
            assert map_of(together) == map_of(one_by_one)
            assert by_extent(hidden) == by_extent(apart)
        else:
            assert (map_of(together), hidden) == (map_of(filled(rows)), [])
            assert between >= ROWS_PER_PIECE_MAX * len(pieces)
    finally:
        one_by_one.close()
        together.close()


def test_rows_that_no_piece_touches_are_not_stored_again() -> None:
    rows = [(0, 10, 1, 0), (10, 10, 2, 0), (20, 10, 3, 5), (40, 10, 4, 0)]
    result = remapped(rows, [(2, 3, 8), (22, 2, 9)])
    assert result.stored == [(0, 2, 1, 0), (2, 3, 8, 0), (5, 5, 1, 5),
                             (20, 2, 3, 5), (22, 2, 9, 0), (24, 6, 3, 9)]
    assert (result.dropped, result.hidden) == ([], [(3, 1), (2, 3)])


@pytest.mark.parametrize("count", [1, 3, 4, 40])
def test_a_file_in_many_pieces_is_written_one_by_one(count: int) -> None:
    """The rows between are not read without a bound; what comes out is the same."""
    rows = [(at, 1) for at in range(0, 100 * count, 10)]
    database = filled(rows)
    try:
        pieces: list[NewPiece] = [(100 * number, 1, 1000 + number) for number in range(count)]
        pieces.append((100 * count + 7, 1, 5000))
        hidden: list[Hidden] = []
        assert not map_together(database, FILE, pieces, hidden)
        ContentTables(database).map_pieces(FILE, pieces, hidden)
        shown = {offset: extent for offset, extent in database.rows(
            "SELECT offset, extent FROM maps WHERE inode=?", (FILE,))}
        assert {offset: shown[offset] for offset, _, _ in pieces} == {
            offset: extent for offset, _, extent in pieces}
        assert len(shown) == len(rows) + 1
        assert len(hidden) == count
    finally:
        database.close()
