"""Which pages, chunks and segments a checkpoint takes along, seen at the checkpointer by itself."""

from collections.abc import Callable

import pytest
import trio

from ecfs.base.errors import AppendRefused, Damage, Fault, ReadOnly
from ecfs.base.units import BLOCK_LEN
from ecfs.erasure import Geometry
from ecfs.formats import NO_PARENT, Root
from ecfs.metadata import CHUNK_PLACES, PageStore
from ecfs.volume.checkpointing import Checkpointed, Checkpointer
from ecfs.volume.committing import Tip
from ecfs.volume.recovery import MetadataTable, load_map
from tests.unit.stripes.simulated import World
from tests.unit.volume.test_downgrades import LABEL


class Ledger:
    """Stands for the committer: every batch and every root is one more record."""

    def __init__(self, pages: PageStore) -> None:
        self.lock = trio.Lock()
        self.tip = Tip(1, NO_PARENT, 0, BLOCK_LEN)
        self.roots: list[Root] = []
        self.before_root: Callable[[], None] = lambda: None
        self._pages = pages

    def note_history(self) -> None:
        """There is no history here."""

    def carry_again(self) -> None:
        """No record here carries anything but pages."""

    async def commit_locked(self) -> None:
        for _ in self._pages.take_frozen():
            self._add()

    async def send_root(self, root: Root, *, clean: bool) -> Tip:
        self.before_root()
        self.roots.append(root)
        self._add()
        return self.tip

    def _add(self) -> None:
        self.tip = Tip(self.tip.seq + 1, bytes(32), self.tip.offset + BLOCK_LEN, BLOCK_LEN)


class Bench:
    """Pages, six targets, and a checkpointer between them."""

    def __init__(self) -> None:
        self.world = World(Geometry(4, 2), 6)
        self.pages = PageStore(lambda place: self.read(place >> 32, place & 0xFFFFFFFF, BLOCK_LEN))
        self.ledger = Ledger(self.pages)
        self.table = MetadataTable({}, {})
        self.noted: list[set[bytes]] = []
        self.checkpointer = Checkpointer(
            pages=self.pages, store=self.world.store,
            committer=self.ledger,  # type: ignore[arg-type]
            table=self.table, chunks={}, next_stripe=1, note_behind=self.note_behind)

    def late(self) -> set[bytes]:
        """Who is behind."""
        return {member.id for member in self.world.fleet if member.behind}

    def note_behind(self) -> None:
        self.noted.append(self.late())

    def read(self, number: int, start: int, length: int) -> bytes:
        ref = self.table.ref(number)
        store = self.world.store
        return bytes(store.read_sync(ref, store.layout(ref).units_of(start, length)).data)

    def put(self, *pages: int, text: bytes = b"a") -> None:
        """One transaction that writes these pages."""
        for page in pages:
            self.pages.write(page, text * BLOCK_LEN)
        self.pages.freeze()

    def cut(self, page_count: int) -> None:
        """One transaction that makes the database this short."""
        self.pages.truncate(page_count)
        self.pages.freeze()

    async def checkpoint(self) -> Checkpointed:
        async def nothing() -> None:
            """There is no content to move."""

        done = await self.checkpointer.write(LABEL, clean=False, before=nothing)
        self.world.store.close_segments()
        return done

    def holds(self, expected: dict[int, bytes]) -> None:
        """A mount reads these pages through the newest root, and no others are placed."""
        root = self.ledger.roots[-1]
        found = load_map(root, self.read)
        assert len(found) == root.page_count == self.pages.page_count
        assert {page for page in range(1, len(found) + 1) if found.place(page)} == set(expected)
        for page, text in expected.items():
            place = found.place(page)
            assert self.read(place >> 32, place & 0xFFFFFFFF, BLOCK_LEN) == text * BLOCK_LEN

    def chunk_segments(self) -> list[int]:
        """The segment of each chunk of the newest page map."""
        root = self.ledger.roots[-1]
        return [self.table.stripes[chunk.stripe].segment for chunk in root.chunks]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_chunks_of_the_map_that_scattered_come_together(bench: Bench) -> None:
    """Each segment that holds one of them stays for it alone."""
    firsts = [1 + number * CHUNK_PLACES for number in range(4)]
    bench.put(*firsts)
    await bench.checkpoint()
    for page in firsts[:2]:
        bench.put(page, text=b"b")
        await bench.checkpoint()
    assert len(set(bench.chunk_segments())) == 3
    bench.put(firsts[3], text=b"b")
    await bench.checkpoint()
    assert len(set(bench.chunk_segments())) == 1
    bench.holds({firsts[0]: b"b", firsts[1]: b"b", firsts[2]: b"a", firsts[3]: b"b"})


async def test_pages_past_the_end_are_in_no_checkpoint(bench: Bench) -> None:
    last = CHUNK_PLACES + 3
    bench.put(1, 2, last)
    await bench.checkpoint()
    bench.cut(2)
    await bench.checkpoint()
    bench.holds({1: b"a", 2: b"a"})
    assert len(bench.pages.map) == 2
    # A page that comes back is zeros until it is written again.
    bench.put(4, text=b"c")
    assert bench.pages.read(3) == bytes(BLOCK_LEN)
    await bench.checkpoint()
    bench.holds({1: b"a", 2: b"a", 4: b"c"})


async def test_a_checkpoint_moves_so_many_pages_and_no_more(
        bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a checkpoint does not wait for all that is sparse."""
    monkeypatch.setattr("ecfs.volume.checkpointing.SPARSE_SLACK_LEN", 0)
    monkeypatch.setattr("ecfs.volume.checkpointing.MOVED_PAGES_MAX", 3)
    bench.put(*range(1, 101))
    await bench.checkpoint()
    first = set(bench.table.segments)
    bench.put(*range(9, 101), text=b"b")
    await bench.checkpoint()
    places = [bench.pages.map.place(page) for page in range(1, 9)]
    bench.put(100, text=b"c")
    await bench.checkpoint()
    moved = [page for page in range(1, 9) if bench.pages.map.place(page) != places[page - 1]]
    assert moved == [1, 2, 3] and first <= set(bench.table.segments)
    expected = {page: b"a" for page in range(1, 9)} | {page: b"b" for page in range(9, 100)}
    bench.holds(expected | {100: b"c"})


async def test_a_page_in_a_stripe_that_no_checkpoint_names_holds_up_none(bench: Bench) -> None:
    """It is lost, and said to be when it is read; whatever else there is goes on."""
    bench.put(1, 2)
    await bench.checkpoint()
    lost = bench.pages.map.place(1)
    bench.put(2, text=b"b")
    await bench.checkpoint()
    del bench.table.stripes[lost >> 32]
    bench.put(3, text=b"c")
    await bench.checkpoint()
    bench.pages._clean.clear()
    with pytest.raises(Damage, match="not in the checkpoint"):
        bench.pages.read(1)
    assert [bench.pages.read(page)[:1] for page in (2, 3)] == [b"b", b"c"]


async def test_a_stripe_that_did_not_become_durable_is_written_to_another_segment(
        bench: Bench) -> None:
    failed: list[str] = []

    def once(method: str, name: str, offset: int) -> Fault | None:
        if method == "sync" and "/" in name and (not failed or failed[0] == name):
            failed.append(name)
            return Fault.IO
        return None

    for number in range(3):
        bench.world.fail[number] = once
    bench.put(1, 2)
    done = await bench.checkpoint()
    assert failed and done.tip.seq == bench.ledger.tip.seq
    bench.holds({1: b"a", 2: b"a"})


async def test_where_no_stripe_becomes_durable_nothing_changes(bench: Bench) -> None:
    bench.put(1)
    await bench.checkpoint()
    roots = list(bench.ledger.roots)
    bench.put(1, text=b"b")
    for number in range(6):
        bench.world.fail[number] = lambda method, name, offset: (
            Fault.IO if method == "sync" and "/" in name else None)
    with pytest.raises(AppendRefused, match="put off"):
        await bench.checkpoint()
    assert bench.ledger.roots == roots and bench.pages.overlay == {1: b"b" * BLOCK_LEN}
    bench.world.heal()
    await bench.checkpoint()
    bench.holds({1: b"b"})


async def test_who_lacks_shards_of_a_checkpoint_is_noted_before_its_record(bench: Bench) -> None:
    """Also one that caught up with everything else meanwhile: nobody finds these before."""
    lacking = bench.world.ids[1]
    member = bench.world.fleet[lacking]
    bench.world.fail[1] = lambda method, name, offset: (
        Fault.IO if method == "write" and "/" in name else None)
    seen: list[tuple[list[set[bytes]], bool, int]] = []
    bench.ledger.before_root = lambda: seen.append(
        (list(bench.noted), member.unnamed, member.missed_count))
    bench.put(1)
    await bench.checkpoint()
    ((noted, unnamed, missed_count),) = seen
    assert noted == [{lacking}] and unnamed
    assert bench.late() == {lacking} and not member.unnamed
    assert member.missed_count > missed_count


async def test_shards_of_a_checkpoint_that_failed_are_not_forgotten(bench: Bench) -> None:
    """Its record waits to be sent again, and its stripes lie in a segment that the next uses."""
    member = bench.world.fleet[bench.world.ids[1]]
    bench.world.fail[1] = lambda method, name, offset: (
        Fault.IO if method == "write" and "/" in name else None)

    def refuse() -> None:
        raise ReadOnly("too few took it")

    bench.ledger.before_root = refuse
    bench.put(1)
    with pytest.raises(ReadOnly):
        await bench.checkpoint()
    bench.world.heal()
    assert [one.id for one in bench.world.fleet if one.behind and one.unnamed] == [member.id]
    bench.ledger.before_root = lambda: None
    await bench.checkpoint()
    assert bench.late() == {member.id} and not any(one.unnamed for one in bench.world.fleet)


async def test_a_checkpoint_is_behind_when_records_follow_it(bench: Bench) -> None:
    assert bench.checkpointer.is_behind()
    bench.put(1)
    await bench.checkpoint()
    assert not bench.checkpointer.is_behind()
    bench.put(1, text=b"b")
    await bench.ledger.commit_locked()
    assert bench.checkpointer.is_behind()


async def test_segments_are_released_after_two_checkpoints_without_them(bench: Bench) -> None:
    bench.put(1)
    first = await bench.checkpoint()
    (entry,) = bench.table.segments.values()
    assert first.released == []
    bench.put(1, text=b"b")
    assert (await bench.checkpoint()).released == []
    assert (entry.epoch, entry.id) in bench.checkpointer.known_segments()
    bench.put(1, text=b"c")
    assert [one.id for one in (await bench.checkpoint()).released] == [entry.id]
    assert (entry.epoch, entry.id) not in bench.checkpointer.known_segments()
