"""Maps kept in memory say what the tables say, and nothing once anything has changed."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.base.errors import Damage
from ecfs.metadata import ContentTables, Database, ExtentRow
from ecfs.metadata.database import Row
from ecfs.metadata.whole_maps import ASKED_MIN, MAPS_MAX, ROWS_MAX, WholeMaps

FILE = 3


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database.in_memory()
    yield database
    database.close()


def fill(tables: ContentTables, inode: int, spans: list[tuple[int, int]]) -> None:
    """A file of these (offset, length), each an extent of its own in the database."""
    extent = tables.next_ids()[1]
    for number, (offset, length) in enumerate(spans):
        tables.add_inline(extent + number, bytes(length), inode=inode, offset=offset, birth=1)


def ask(maps: WholeMaps, inode: int, times: int, at: int = 0) -> None:
    for _ in range(times):
        maps.piece(inode, at, at + 1)


def change(database: Database) -> None:
    with database.change():
        database.run("INSERT INTO dying VALUES(5)")
        database.run("DELETE FROM dying")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), min_size=1, max_size=12),
       st.integers(0, 130), st.integers(0, 12))
def test_what_it_knows_is_what_the_tables_say(gaps: list[tuple[int, int]], low: int,
                                              length: int) -> None:
    database = Database.in_memory()
    try:
        tables, maps = ContentTables(database), WholeMaps(database)
        spans, at = [], 0
        for gap, span in gaps:
            spans.append((at + gap, span))
            at += gap + span
        with database.change():
            fill(tables, FILE, spans)
            fill(tables, FILE + 1, [(0, 200)])
        ask(maps, FILE, ASKED_MIN)
        told = tables.pieces(FILE, low, low + length)
        inside = length and len(told) == 1 and told[0].offset <= low and (
            low + length <= told[0].offset + told[0].length)
        assert maps.piece(FILE, low, low + length) == (told[0] if inside else None)
    finally:
        database.close()


def test_a_map_is_read_once_it_has_paid(database: Database,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    tables, maps = ContentTables(database), WholeMaps(database)
    with database.change():
        fill(tables, FILE, [(0, 10)])
    read: list[str] = []
    real = database.rows

    def rows(statement: str, values: Row = ()) -> list[Row]:
        read.append(statement)
        return real(statement, values)

    monkeypatch.setattr(database, "rows", rows)
    ask(maps, FILE, ASKED_MIN - 1)
    ask(maps, FILE + 1, 5)
    assert not read
    found = maps.piece(FILE, 2, 5)
    assert found is not None and len(read) == 1
    assert (found.offset, found.length, found.extent_offset) == (0, 10, 0)
    ask(maps, FILE, 10 * ASKED_MIN)
    assert len(read) == 1


@pytest.mark.parametrize("undone", [False, True])
def test_any_change_makes_it_forget(database: Database, *, undone: bool) -> None:
    tables, maps = ContentTables(database), WholeMaps(database)
    with database.change():
        fill(tables, FILE, [(0, 10)])
    ask(maps, FILE, ASKED_MIN)
    if undone:
        with pytest.raises(ZeroDivisionError), database.change():
            tables.unmap_range(FILE, 0, 5)
            raise ZeroDivisionError
    else:
        change(database)
    assert maps.piece(FILE, 2, 5) is None
    ask(maps, FILE, ASKED_MIN)
    assert maps.piece(FILE, 2, 5) is not None


def test_nothing_is_kept_of_what_a_change_has_half_done(database: Database) -> None:
    tables, maps = ContentTables(database), WholeMaps(database)
    with database.change():
        fill(tables, FILE, [(0, 10)])
        ask(maps, FILE, 2 * ASKED_MIN)
        tables.unmap_range(FILE, 0, 5)
        assert maps.piece(FILE, 2, 5) is None
    assert maps.piece(FILE, 2, 5) is None
    assert [piece.offset for piece in tables.pieces(FILE, 2, 8)] == [5]


def test_it_keeps_few_maps_and_no_long_ones(database: Database) -> None:
    tables, maps = ContentTables(database), WholeMaps(database)
    with database.change():
        fill(tables, 1, [(2 * at, 1) for at in range(ROWS_MAX)])
        fill(tables, 2, [(2 * at, 1) for at in range(ROWS_MAX + 1)])
        for inode in range(10, 11 + MAPS_MAX):
            fill(tables, inode, [(0, 10)])
    for inode in (1, 2):
        ask(maps, inode, ASKED_MIN)
        assert (maps.piece(inode, 4, 5) is not None) == (inode == 1)
    for inode in range(10, 11 + MAPS_MAX):
        ask(maps, inode, ASKED_MIN)
    assert maps.piece(10, 0, 1) is None
    assert all(maps.piece(inode, 0, 1) for inode in range(11, 11 + MAPS_MAX))
    for inode in range(1000, 3000):
        maps.piece(inode, 0, 1)
    assert len(maps._asked) <= 256


def test_a_map_that_is_damaged_elsewhere_stops_no_read(database: Database,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    tables, maps = ContentTables(database), WholeMaps(database)
    with database.change():
        fill(tables, FILE, [(0, 10)])

    def lost(statement: str, values: Row = ()) -> list[Row]:
        raise Damage("a page is lost")

    monkeypatch.setattr(database, "rows", lost)
    ask(maps, FILE, 2 * ASKED_MIN)
    assert maps.piece(FILE, 0, 5) is None


def test_reads_come_to_the_same_before_and_after(database: Database) -> None:
    tables = ContentTables(database)
    with database.change():
        tables.add_extent(ExtentRow(9, None, 0, 50, 50), birth=1)
        tables.map_range(FILE, 100, 50, 9)
    told = [tables.pieces(FILE, 110, 120) for _ in range(3 * ASKED_MIN)]
    assert all(pieces == told[0] for pieces in told)
    assert told[0][0]._asdict() == {
        "offset": 100, "length": 50, "extent": 9, "extent_offset": 0, "stripe": None, "start": 0,
        "extent_len": 50}
