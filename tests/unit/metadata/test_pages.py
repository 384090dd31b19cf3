"""SQLite over page versions, against SQLite in a plain file; replay; checkpoints; damage."""

import itertools
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.base.errors import Damage
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import PageDelta
from ecfs.metadata import (
    CHUNK_PLACES,
    MAIN_NAME,
    Batch,
    Database,
    PageMap,
    PageStore,
    PageVfs,
    decode_delta,
    encode_delta,
)
from ecfs.metadata.database import Row

NAMES = itertools.count()
PAGES = st.binary(min_size=0, max_size=60).map(lambda data: data.ljust(BLOCK_LEN, b"\7"))


class Stripes:
    """Where checkpoints put pages. A place in `lost` cannot be read."""

    def __init__(self) -> None:
        self.pages: dict[int, bytes] = {}
        self.lost: set[int] = set()

    def load(self, place: int) -> bytes:
        if place in self.lost:
            raise Damage(f"the page at {place} is lost")
        return self.pages[place]

    def keep(self, data: bytes) -> int:
        place = (len(self.pages) + 1) << 32
        self.pages[place] = data
        return place


class Opened:
    """A database over a page store."""

    def __init__(self, pages: PageStore) -> None:
        self.pages = pages
        self.vfs = PageVfs(f"test-{next(NAMES)}", pages)
        self.database = Database(MAIN_NAME, vfs=self.vfs.name, damage_of=self._take_damage,
                                 cache_len=64 * 1024)

    def _take_damage(self) -> Damage | None:
        damage, self.pages.damage = self.pages.damage, None
        return damage

    def close(self) -> None:
        self.database.close()


def fresh(stripes: Stripes | None = None) -> Opened:
    return Opened(PageStore((stripes or Stripes()).load, cache_len=64 * BLOCK_LEN))


def dump(database: Database) -> list[Row]:
    return database.rows("SELECT * FROM t ORDER BY id")


def replayed(batches: list[Batch], source: PageStore, stripes: Stripes) -> PageStore:
    """A second store, brought up to date by the batches alone."""
    pages = PageStore(stripes.load)
    pages.map, pages.page_count = source.map, source.page_count
    for batch in batches:
        pages.apply(batch.deltas, batch.page_count)
    return pages


WORK = st.lists(st.one_of(
    st.tuples(st.just("insert"), st.integers(0, 80), st.integers(0, 9000)),
    st.tuples(st.just("delete"), st.integers(0, 80), st.integers(1, 40)),
    st.tuples(st.just("update"), st.integers(0, 80), st.integers(0, 9000)),
    st.tuples(st.just("undone"), st.integers(0, 80), st.integers(0, 9000)),
    st.tuples(st.just("nested"), st.integers(0, 80), st.integers(0, 9000)),
    st.tuples(st.just("commit"), st.just(0), st.just(0)),
    st.tuples(st.just("checkpoint"), st.just(0), st.integers(0, 2)),
    st.tuples(st.just("reopen"), st.just(0), st.just(0)),
), max_size=25)


class Undo(Exception):
    """Undoes a change."""


class Machine:
    """The same statements on a PageStore and in a plain database; a replica follows by batches."""

    def __init__(self) -> None:
        self.stripes = Stripes()
        self.opened = fresh(self.stripes)
        self.plain = Database(":memory:")
        self.base = PageStore(self.stripes.load)
        self.batches: list[Batch] = []
        self.both(lambda database: database.run(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB) STRICT"))

    def both(self, work: Callable[[Database], None]) -> None:
        for database in (self.opened.database, self.plain):
            with database.change():
                work(database)

    def insert(self, row: int, length: int) -> None:
        self.both(lambda database: database.run(
            "INSERT OR REPLACE INTO t VALUES(?,?)", (row, bytes([row]) * length)))

    update = insert

    def delete(self, row: int, count: int) -> None:
        self.both(lambda database: database.run(
            "DELETE FROM t WHERE id>=? AND id<?", (row, row + count)))

    def undone(self, row: int, length: int) -> None:
        for database in (self.opened.database, self.plain):
            with pytest.raises(Undo), database.change():
                database.run("INSERT OR REPLACE INTO t VALUES(?,?)", (row, b"no" * length))
                database.run("DELETE FROM t WHERE id<?", (row,))
                raise Undo

    def nested(self, row: int, length: int) -> None:
        for database in (self.opened.database, self.plain):
            with database.change():
                database.run("INSERT OR REPLACE INTO t VALUES(?,?)", (row, b"yes" * length))
                with pytest.raises(Undo), database.change():
                    database.run("DELETE FROM t")
                    raise Undo

    def commit(self, _: int = 0, __: int = 0) -> None:
        self.opened.database.commit()
        self.plain.commit()
        self.batches += self.opened.pages.take_frozen()

    def checkpoint(self, _: int, later: int) -> None:
        """Pages go into stripes; `later`: work that is committed before they are settled."""
        self.commit()
        pages = self.opened.pages
        changed, count = dict(pages.overlay), pages.page_count
        for row in range(later):
            self.insert(row, 3000)
            self.commit()
        places = {page: (data, self.stripes.keep(data)) for page, data in changed.items()}
        root = PageMap.from_chunks([pages.map.chunk(number)
                                    for number in range(pages.map.chunks_count())],
                                   min(len(pages.map), count))
        for page, (_data, place) in places.items():
            root.set_place(page, place)
        pages.settle(places)
        self.base = PageStore(self.stripes.load)
        self.base.map, self.base.page_count = root, count
        self.batches = self.batches[len(self.batches) - later :] if later else []
        assert all(pages.committed(page) == data for page, data in pages.overlay.items())

    def reopen(self, _: int, __: int) -> None:
        self.commit()
        self.opened.close()
        self.opened = Opened(self.opened.pages)

    def check_replica(self) -> None:
        self.commit()
        copy = Opened(replayed(self.batches, self.base, self.stripes))
        assert dump(copy.database) == dump(self.plain)
        assert copy.database.integrity_findings() == []
        for page in range(1, self.opened.pages.page_count + 1):
            assert copy.pages.committed(page) == self.opened.pages.committed(page)
        copy.close()


@settings(max_examples=60, deadline=None)
@given(WORK)
def test_a_database_over_pages_is_the_database(work: list[tuple[str, int, int]]) -> None:
    machine = Machine()
    for what, one, two in work:
        getattr(machine, what)(one, two)
        assert dump(machine.opened.database) == dump(machine.plain)
    assert machine.opened.database.integrity_findings() == []
    machine.check_replica()
    machine.opened.close()
    machine.plain.close()


def test_a_transaction_larger_than_every_cache_is_one_batch() -> None:
    opened = fresh()
    with opened.database.change():
        opened.database.run("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB) STRICT")
    opened.database.commit()
    opened.pages.take_frozen()
    with opened.database.change():
        for row in range(3000):
            opened.database.run("INSERT INTO t VALUES(?,?)", (row, bytes([row % 251]) * 700))
    assert opened.pages.frozen == []
    opened.database.commit()
    [batch] = opened.pages.take_frozen()
    assert len(batch.deltas) > 400
    assert [delta.page for delta in batch.deltas] == sorted(
        delta.page for delta in batch.deltas)
    opened.close()


def test_what_was_rolled_back_is_in_no_batch() -> None:
    machine = Machine()
    machine.commit()
    for row in range(60):
        machine.insert(row, 2000)
    machine.commit()
    for database in (machine.opened.database, machine.plain):
        with pytest.raises(Undo), database.change():
            database.run("DELETE FROM t")
            for row in range(200):
                database.run("INSERT INTO t VALUES(?,?)", (row, bytes(3000)))
            raise Undo
    machine.check_replica()


def lost_pages(rows: int) -> tuple[Machine, Stripes]:
    machine = Machine()
    for row in range(rows):
        machine.insert(row, 3500)
    machine.checkpoint(0, 0)
    cold = PageStore(machine.stripes.load)
    cold.map, cold.page_count = machine.opened.pages.map, machine.opened.pages.page_count
    machine.opened.close()
    machine.opened = Opened(cold)
    return machine, machine.stripes


def test_a_lost_page_is_damage_and_everything_else_goes_on() -> None:
    machine, stripes = lost_pages(60)
    database = machine.opened.database
    victim = machine.opened.pages.map.place(30)
    stripes.lost.add(victim)
    bad = []
    for row in range(60):
        try:
            assert database.value("SELECT v FROM t WHERE id=?", (row,)) == bytes([row]) * 3500
        except Damage as damage:
            assert "lost" in str(damage)
            bad.append(row)
    assert 1 <= len(bad) <= 2
    with pytest.raises(Damage):
        dump(database)
    good = next(row for row in range(60) if abs(row - bad[0]) > 3)
    with database.change():
        database.run("UPDATE t SET v=? WHERE id=?", (b"changed", good))
    database.commit()
    assert database.value("SELECT v FROM t WHERE id=?", (good,)) == b"changed"


def test_damage_inside_a_change_undoes_that_change_only() -> None:
    machine, stripes = lost_pages(60)
    database = machine.opened.database
    with database.change():
        database.run("UPDATE t SET v=? WHERE id=1", (b"before",))
    stripes.lost.add(machine.opened.pages.map.place(40))
    with pytest.raises(Damage), database.change():
        database.run("UPDATE t SET v=? WHERE id=2", (b"undone",))
        dump(database)
    assert database.in_transaction
    assert database.value("SELECT v FROM t WHERE id=1") == b"before"
    assert database.value("SELECT v FROM t WHERE id=2") == b"\2" * 3500
    database.commit()
    assert database.value("SELECT v FROM t WHERE id=1") == b"before"
    stripes.lost.clear()
    assert len(dump(database)) == 60
    assert database.integrity_findings() == []


def test_a_page_whose_old_version_is_lost_can_be_written_anew() -> None:
    stripes = Stripes()
    pages = PageStore(stripes.load)
    place = stripes.keep(b"a" * BLOCK_LEN)
    pages.map.set_place(1, place)
    pages.page_count = 1
    stripes.lost.add(place)
    pages.write(1, b"b" * BLOCK_LEN)
    pages.freeze()
    [batch] = pages.take_frozen()
    assert not batch.deltas[0].based
    assert pages.read(1) == b"b" * BLOCK_LEN


def test_any_second_file_is_refused(tmp_path: Path) -> None:
    opened = fresh()
    for name in ("", "x-journal", str(tmp_path / "other")):
        with pytest.raises(apsw.CantOpenError):
            apsw.Connection(name or "x", vfs=opened.vfs.name)
    opened.close()


@given(PAGES, st.one_of(st.none(), PAGES))
def test_deltas_lead_back(after: bytes, before: bytes | None) -> None:
    delta = encode_delta(9, before, after)
    assert delta.based == (before is not None)
    assert decode_delta(delta, before) == after


@given(st.binary(max_size=200), st.one_of(st.none(), PAGES))
def test_garbage_is_no_delta(data: bytes, before: bytes | None) -> None:
    try:
        page = decode_delta(PageDelta(1, before is not None, data), before)
    except Damage:
        return
    assert len(page) == BLOCK_LEN


@given(PAGES, PAGES, st.integers(0, 10_000))
def test_a_cut_delta_is_damage(before: bytes, after: bytes, cut: int) -> None:
    delta = encode_delta(1, before, after)
    with pytest.raises(Damage):
        decode_delta(PageDelta(1, True, delta.data[: cut % len(delta.data)]), before)


def test_a_delta_that_would_unpack_to_much_is_refused_before() -> None:
    import zstandard

    for length in (BLOCK_LEN - 1, BLOCK_LEN + 1, 1 << 26):
        bomb = zstandard.ZstdCompressor().compress(bytes(length))
        with pytest.raises(Damage):
            decode_delta(PageDelta(1, False, bomb), None)
    unknown = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 24))
    with pytest.raises(Damage):
        decode_delta(PageDelta(1, False, unknown), None)


MAP_STEPS = st.lists(st.one_of(
    st.tuples(st.just("set"), st.integers(1, 3 * CHUNK_PLACES), st.integers(1, (1 << 64) - 1)),
    st.tuples(st.just("cut"), st.integers(0, 3 * CHUNK_PLACES), st.just(0)),
    st.tuples(st.just("clean"), st.just(0), st.just(0)),
), max_size=12)


@settings(max_examples=60, deadline=None)
@given(MAP_STEPS)
def test_the_page_map_and_its_changed_chunks(steps: list[tuple[str, int, int]]) -> None:
    """Chunks that are not marked as changed are byte for byte what they were when last clean."""
    page_map, model = PageMap(), [0] * 0
    clean: dict[int, bytes] = {}
    for what, page, place in steps:
        if what == "set":
            page_map.set_place(page, place)
            model += [0] * (page - len(model))
            model[page - 1] = place
        elif what == "cut":
            page_map.truncate(page)
            del model[page:]
        else:
            clean = {number: page_map.chunk(number)
                     for number in range(page_map.chunks_count())}
            page_map.changed = set()
        assert len(page_map) == len(model)
        for number in range(page_map.chunks_count()):
            if number not in page_map.changed:
                assert page_map.chunk(number) == clean.get(number), number
    chunks = [page_map.chunk(number) for number in range(page_map.chunks_count())]
    again = PageMap.from_chunks(chunks, len(model))
    assert [again.place(page) for page in range(1, len(model) + 1)] == model
    assert again.place(len(model) + 1) == 0
    live: dict[int, int] = {}
    for place in model:
        if place:
            live[place >> 32] = live.get(place >> 32, 0) + 1
    assert page_map.live_pages() == live
    chosen = set(list(live)[:1]) - {0}
    assert page_map.pages_in(chosen) == [
        number for number, place in enumerate(model, 1) if place >> 32 in chosen]


def test_a_page_map_that_is_too_short_is_damage() -> None:
    with pytest.raises(Damage):
        PageMap.from_chunks([bytes(8)], 2)
    with pytest.raises(Damage):
        PageMap.from_chunks([bytes(7)], 0)
    with pytest.raises(Damage):
        PageMap.from_chunks([bytes(8 * CHUNK_PLACES + 8)], 1)
    with pytest.raises(Damage):
        PageMap.from_chunks([bytes(8), bytes(8)], 2)
