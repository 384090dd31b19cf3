"""Maps of files against byte arrays: every byte says which byte of which extent it is."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.base.errors import Bug, Damage
from ecfs.formats import SegmentEntry
from ecfs.metadata import ContentTables, Database, ExtentRow, Hidden, StripeRow
from ecfs.metadata.places import in_places

LEN = 60
Byte = tuple[int, int] | None
STEPS = st.lists(st.one_of(
    st.tuples(st.just("stripe"), st.integers(0, 2), st.integers(0, LEN), st.integers(1, 20)),
    st.tuples(st.just("together"), st.integers(0, 2), st.integers(0, LEN), st.integers(1, 20)),
    st.tuples(st.just("scattered"), st.integers(0, 2), st.integers(0, LEN), st.integers(1, 20)),
    st.tuples(st.just("inline"), st.integers(0, 2), st.integers(0, LEN), st.integers(1, 20)),
    st.tuples(st.just("unmap"), st.integers(0, 2), st.integers(0, LEN), st.integers(0, 30)),
    st.tuples(st.just("some"), st.integers(0, 2), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("gone"), st.integers(0, 2), st.integers(0, 4), st.just(0)),
    st.tuples(st.just("move"), st.integers(0, 9), st.just(0), st.just(0)),
    st.tuples(st.just("pieces"), st.integers(0, 2), st.integers(0, LEN), st.integers(0, 40)),
), max_size=30)


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database.in_memory()
    yield database
    database.close()


class Machine:
    """The tables and, beside them, one list of (extent, byte of the extent) for each file."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.tables = ContentTables(database)
        self.files: list[list[Byte]] = [[None] * 200 for _ in range(3)]
        self.next_extent, self.next_stripe = 1, 1
        self.tables.put_segment(SegmentEntry(1, 1, 2, 1, (b"a" * 16, b"b" * 16, b"c" * 16), 9999))

    def stripe(self, file: int, offset: int, length: int) -> None:
        """An extent longer than what is shown of it, in a stripe of its own."""
        stripe, extent = self._next()
        self.tables.add_stripe(StripeRow(stripe, 1, stripe * 4096, 4096, b"s", b"d", length))
        self.tables.add_missed(stripe, [b"a" * 16])
        self.tables.add_extent(ExtentRow(extent, stripe, 0, length + 5, length), birth=1)
        self.tables.map_range(file, offset, length, extent)
        self._show(file, offset, length, extent)

    def together(self, file: int, offset: int, length: int) -> None:
        """Some extents of one stripe, each over a part of the one before, reduced at the end."""
        stripe, _ = self._next()
        spans = [(at, min(length, 200 - at)) for at in range(offset, min(offset + 9, 200), 3)]
        self.tables.add_stripe(StripeRow(stripe, 1, stripe * 4096, 4096, b"s", b"d",
                                         sum(span for _, span in spans)))
        hidden: list[Hidden] = []
        for at, span in spans:
            _, extent = self._next()
            self.tables.add_extent(ExtentRow(extent, stripe, 0, span, span), birth=1)
            self.tables.map_range(file, at, span, extent, hidden)
            self._show(file, at, span, extent)
        self.tables.reduce_extents(hidden)

    def scattered(self, file: int, offset: int, length: int) -> None:
        """Up to nine extents of one stripe, in order and side by side or apart, at once."""
        stripe, _ = self._next()
        size, step = 1 + length // 5, 1 + length % 5
        spans = [(at, size) for at in range(offset, offset + 9 * (size + step - 1),
                                            size + step - 1)]
        self.tables.add_stripe(StripeRow(stripe, 1, stripe * 4096, 4096, b"s", b"d",
                                         sum(span for _, span in spans)))
        extents = [self._next()[1] for _ in spans]
        self.tables.add_extents([(extent, stripe, 0, span, span)
                                 for extent, (_, span) in zip(extents, spans, strict=True)],
                                birth=1)
        hidden: list[Hidden] = []
        self.tables.map_pieces(file, [(at, span, extent) for extent, (at, span)
                                      in zip(extents, spans, strict=True)], hidden)
        for extent, (at, span) in zip(extents, spans, strict=True):
            self._show(file, at, span, extent)
        self.tables.reduce_extents(hidden)

    def inline(self, file: int, offset: int, length: int) -> None:
        _, extent = self._next()
        self.tables.add_inline(extent, bytes(length), inode=file, offset=offset, birth=1)
        self._show(file, offset, length, extent)

    def unmap(self, file: int, low: int, length: int) -> None:
        self.tables.unmap_range(file, low, low + length)
        self.files[file][low : low + length] = [None] * length

    def some(self, file: int, rows_max: int, _: int) -> None:
        rows = self.database.rows("SELECT offset, len FROM maps WHERE inode=? ORDER BY 1 DESC",
                                  (file,))
        assert self.tables.unmap_some(file, rows_max) == (len(rows) < rows_max)
        for offset, length in rows[:rows_max]:
            self.files[file][offset : offset + length] = [None] * length

    def gone(self, file: int, rows_max: int, _: int) -> None:
        files = [file, (file + 1) % len(self.files), 77]
        rows = self.database.rows("SELECT 1 FROM maps WHERE inode IN (?,?,?)", tuple(files))
        assert self.tables.unmap_files(files, rows_max) == (len(rows) <= rows_max)
        if len(rows) <= rows_max:
            for one in files[:2]:
                self.files[one] = [None] * 200

    def move(self, number: int, _: int, __: int) -> None:
        extents = self.database.rows("SELECT id FROM extents ORDER BY id")
        stripe, unused = self._next()
        self.tables.add_stripe(StripeRow(stripe, 1, stripe * 4096, 4096, b"s", b"d", 0))
        chosen = extents[number][0] if number < len(extents) else unused
        assert self.tables.move_extent(chosen, stripe=stripe, start=77) == (number < len(extents))
        if number < len(extents):
            row = self.tables.extent(chosen)
            assert row is not None and (row.stripe, row.start) == (stripe, 77)
        else:
            self.tables.drop_stripe(stripe)

    def pieces(self, file: int, low: int, length: int) -> None:
        seen: list[Byte] = [None] * 200
        end = 0
        for piece in self.tables.pieces(file, low, low + length):
            assert piece.offset >= end and piece.length > 0
            assert piece.offset < low + length and piece.offset + piece.length > low
            end = piece.offset + piece.length
            for at in range(piece.length):
                seen[piece.offset + at] = (piece.extent, piece.extent_offset + at)
        assert seen[low : low + length] == self.files[file][low : low + length]

    def _next(self) -> tuple[int, int]:
        self.next_stripe, self.next_extent = self.next_stripe + 1, self.next_extent + 1
        return self.next_stripe, self.next_extent

    def _show(self, file: int, offset: int, length: int, extent: int) -> None:
        self.files[file][offset : offset + length] = [(extent, at) for at in range(length)]

    def check(self) -> None:
        live: dict[int, int] = {}
        for number, file in enumerate(self.files):
            self.pieces(number, 0, 200)
            assert self.tables.mapped_len(number) == sum(byte is not None for byte in file)
            for byte in file:
                if byte is not None:
                    live[byte[0]] = live.get(byte[0], 0) + 1
        rows = self.database.rows("SELECT id, stripe, live FROM extents")
        assert {row[0]: row[2] for row in rows} == live
        stripes: dict[int, int] = {}
        for extent, stripe, count in rows:
            if stripe is None:
                self.tables.inline_data(extent)
            else:
                stripes[stripe] = stripes.get(stripe, 0) + count
        assert dict(self.database.rows("SELECT id, live FROM stripes")) == stripes
        assert self.tables.stripes_count() == len(stripes)
        assert self.tables.live_by_segment() == ({1: sum(stripes.values())} if stripes else {})
        assert self.tables.empty_segments() == ([] if stripes else [1])
        missed = self.database.rows("SELECT stripe FROM missed")
        assert {row[0] for row in missed} <= set(stripes)
        inline = sum(row[1] is None for row in rows)
        assert self.database.value("SELECT count(*) FROM inline") == inline


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_maps_say_which_byte_is_where(steps: list[tuple[str, int, int, int]]) -> None:
    database = Database.in_memory()
    machine = Machine(database)
    for what, one, two, three in steps:
        with database.change():
            getattr(machine, what)(one, two, three)
        machine.check()
    assert database.integrity_findings() == []
    database.close()


def test_a_read_of_very_many_pieces_gets_them_all(database: Database) -> None:
    machine = Machine(database)
    with database.change():
        for number in range(5000):
            machine.tables.add_extent(ExtentRow(number + 1, None, 0, 1, 1), birth=1)
            machine.tables.map_range(0, number * 2, 1, number + 1)
    assert len(machine.tables.pieces(0, 0, 10_000)) == 5000
    assert len(machine.tables.pieces(0, 0, 10_000, limit=64)) == 64


@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 64, 65, 200])
def test_many_rows_are_named_at_once(database: Database, count: int) -> None:
    tables = ContentTables(database)
    with database.change():
        for number in range(1, 202):
            tables.add_extent(ExtentRow(number, None, 0, 1, 1), birth=1)
    numbers = list(range(1, count + 1))
    assert sorted(row[0] for row in in_places(
        database, "SELECT id FROM extents WHERE id IN {}", [*numbers, 999])) == numbers
    with database.change():
        in_places(database, "DELETE FROM extents WHERE id IN {}", numbers)
    assert database.value("SELECT count(*) FROM extents") == 201 - count
    assert database.value("SELECT min(id) FROM extents") == count + 1


class Undone(Exception):
    """Lets a change come to nothing."""


def test_every_range_shows_and_loses_just_its_own_bytes(database: Database) -> None:
    machine = Machine(database)
    with database.change():
        for offset, length in ((0, 5), (5, 1), (6, 1), (9, 4), (14, 1)):
            machine.stripe(0, offset, length)
    whole = list(machine.files[0])
    for low in range(17):
        for high in range(low, 17):
            machine.pieces(0, low, high - low)
            with pytest.raises(Undone), database.change():
                machine.unmap(0, low, high - low)
                machine.check()
                raise Undone
            machine.files[0] = list(whole)


def test_what_another_file_shows_stays_when_many_go(database: Database) -> None:
    """And a stripe of several extents goes with the last of them."""
    tables = ContentTables(database)
    with database.change():
        for stripe, live in ((1, 60), (2, 3)):
            tables.add_stripe(StripeRow(stripe, 1, stripe * 4096, 4096, b"s", b"d", live))
        for number in (1, 2, 3):
            tables.add_extent(ExtentRow(number, 1, 0, 20, 20), birth=1)
            tables.map_range(number, 0, 20, number)
        tables.add_extent(ExtentRow(4, 2, 0, 2, 3), birth=1)
        for inode, length in ((1, 1), (2, 1), (3, 1)):
            tables.map_range(inode, 30, length, 4)
    with database.change():
        assert tables.unmap_files([1, 2], 9)
    assert database.rows("SELECT id, stripe, live FROM extents ORDER BY id") == [
        (3, 1, 20), (4, 2, 1)]
    assert database.rows("SELECT id, live FROM stripes ORDER BY id") == [(1, 20), (2, 1)]
    assert [len(tables.pieces(inode, 0, 99)) for inode in (1, 2, 3)] == [0, 0, 2]
    with database.change():
        assert tables.unmap_files([3], 9)
    assert tables.stripes_count() == 0
    assert database.value("SELECT count(*) FROM extents") == 0


def test_accounting_that_does_not_add_up_is_noticed_and_undone(database: Database) -> None:
    tables = ContentTables(database)
    with database.change():
        tables.add_extent(ExtentRow(1, None, 0, 10, 5), birth=1)
        tables.map_range(7, 0, 10, 1)
    unmaps: list[Callable[[], object]] = [
        lambda: tables.unmap_range(7, 0, 10), lambda: tables.unmap_some(7, 9),
        lambda: tables.unmap_files([7, 8], 9)]
    for unmap in unmaps:
        with pytest.raises(Bug, match="negative"), database.change():
            unmap()
        assert tables.mapped_len(7) == 10
    with database.change():
        database.run("DELETE FROM extents")
    for unmap in unmaps:
        with pytest.raises(Damage), database.change():
            unmap()
        assert tables.mapped_len(7) == 10
    with pytest.raises(Damage):
        tables.stripe(1)
    with pytest.raises(Damage):
        tables.inline_data(1)


def test_segments_only_grow(database: Database) -> None:
    tables = ContentTables(database)
    entry = SegmentEntry(9, 2, 1, 1, (b"a" * 16, b"b" * 16), 8192)
    tables.put_segment(entry)
    tables.put_segment(SegmentEntry(9, 2, 1, 1, (b"a" * 16, b"c" * 16), 4096))
    assert tables.segment(9) == SegmentEntry(9, 2, 1, 1, (b"a" * 16, b"c" * 16), 8192)
    assert tables.segments() == [tables.segment(9)]
    tables.drop_segment(9)
    assert tables.segment(9) is None


def test_who_missed_what(database: Database) -> None:
    tables = ContentTables(database)
    tables.add_stripe(StripeRow(1, 1, 4096, 500, b"s", b"d", 1))
    tables.add_stripe(StripeRow(2, 1, 8192, 700, b"s", b"d", 1))
    tables.add_missed(1, [b"x" * 16, b"y" * 16])
    tables.add_missed(1, [b"x" * 16])
    tables.add_missed(2, [b"x" * 16])
    assert sorted(tables.missed_by(b"x" * 16, 10)) == [1, 2]
    assert tables.missed_len(b"x" * 16) == 1200
    assert tables.was_missed(b"y" * 16, 1) and not tables.was_missed(b"y" * 16, 2)
    tables.forget_missed(b"x" * 16, 1)
    tables.drop_stripe(2)
    assert tables.missed_by(b"x" * 16, 10) == []
