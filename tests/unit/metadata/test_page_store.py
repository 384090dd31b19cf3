"""Page versions, by hand: what a rollback, a shrinking database and a checkpoint leave behind."""

from ecfs.base.units import BLOCK_LEN
from ecfs.metadata import PageStore

ZEROS = bytes(BLOCK_LEN)


def page(filling: str) -> bytes:
    return filling.encode().ljust(BLOCK_LEN, b".")


class Stored:
    """A store whose stripes hold pages by place; `asked` are the places that were read."""

    def __init__(self, cache_pages: int = 100) -> None:
        self.stripes: dict[int, bytes] = {}
        self.asked: list[int] = []
        self.store = PageStore(self._load, cache_len=cache_pages * BLOCK_LEN)

    def _load(self, place: int) -> bytes:
        self.asked.append(place)
        return self.stripes[place]

    def commit(self, count: int, **pages: bytes) -> None:
        """A transaction that writes `p<number>` and leaves so many pages."""
        for name, data in pages.items():
            self.store.write(int(name[1:]), data)
        self.store.truncate(count)
        self.store.freeze()

    def checkpoint(self) -> None:
        """All changed pages go into stripes."""
        draft = {number: (data, (len(self.stripes) + number) << 32)
                 for number, data in self.store.overlay.items()}
        self.stripes.update({place: data for data, place in draft.values()})
        self.store.settle(draft)
        self.store.map.truncate(self.store.page_count)


def test_what_was_rolled_back_is_not_read() -> None:
    stored = Stored()
    stored.commit(2, p1=page("one"), p2=page("two"))
    stored.store.write(1, page("undone"))
    stored.store.write(3, page("undone too"))
    assert stored.store.length == 3 * BLOCK_LEN
    stored.store.abandon()
    assert stored.store.read(1) == page("one") and stored.store.length == 2 * BLOCK_LEN
    frozen = len(stored.store.frozen)
    stored.store.freeze()
    assert len(stored.store.frozen) == frozen


def test_a_page_past_the_end_is_forgotten_before_the_database_grows_again() -> None:
    """A mount that replays the records has zeros there: a delta against anything else would not
    lead it to the same page."""
    stored = Stored()
    stored.commit(4, p1=page("one"), p2=page("two"), p3=page("three"), p4=page("four"))
    stored.checkpoint()
    assert stored.store.read(3) == page("three")
    stored.commit(2)
    stored.checkpoint()
    stored.commit(5, p5=page("five"))
    assert stored.store.read(3) == stored.store.read(4) == ZEROS
    stored.commit(5, p3=page("new"))
    replayed = Stored()
    for batch in stored.store.take_frozen():
        replayed.store.apply(batch.deltas, batch.page_count)
    for number in (1, 2, 3, 4, 5):
        assert replayed.store.committed(number) == stored.store.committed(number)


def test_a_changed_page_past_the_end_is_forgotten_too() -> None:
    stored = Stored()
    stored.commit(3, p1=page("one"), p2=page("two"), p3=page("three"))
    stored.commit(2)
    stored.commit(4, p4=page("four"))
    assert stored.store.read(3) == ZEROS and 3 not in stored.store.overlay


def test_a_page_that_changed_while_a_checkpoint_was_written_keeps_the_change() -> None:
    stored = Stored()
    stored.commit(1, p1=page("old"))
    draft = {1: (stored.store.overlay[1], 7 << 32)}
    stored.commit(1, p1=page("new"))
    stored.stripes[7 << 32] = page("old")
    stored.store.settle(draft)
    assert stored.store.read(1) == page("new") and stored.store.overlay[1] == page("new")


def test_pages_in_memory_are_bounded_and_the_oldest_go_first() -> None:
    stored = Stored(cache_pages=3)
    stored.commit(6, **{f"p{number}": page(str(number)) for number in range(1, 7)})
    stored.checkpoint()
    stored.asked.clear()
    assert [stored.store.read(number) for number in (4, 5, 6)] == [page("4"), page("5"), page("6")]
    assert stored.asked == []
    assert stored.store.read(1) == page("1") and len(stored.asked) == 1
    assert stored.store.read(4) == page("4") and len(stored.asked) == 2
    assert stored.store.read(6) == page("6") and len(stored.asked) == 2
