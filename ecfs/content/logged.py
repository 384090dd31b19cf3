"""Small synced writes: in commit records first, in rows and stripes later.

Who waits for a little data to be durable waits for a record that carries it, not for pages of the
database. Until their rows are entered such pieces stay in memory, as dirty bytes do; a mount that
finds them in records puts them back there. What a record with pages leaves out it says again.
"""

from collections.abc import Callable, Iterable, Iterator

from ecfs.base.limits import INLINE_RECORD_LEN_MAX, LOGGED_COUNT_MAX, LOGGED_LEN_MAX
from ecfs.base.rope import copied
from ecfs.content.state import FileState, Piece
from ecfs.formats import LoggedWrite

WRITE_OVERHEAD_LEN = 64
_Times = tuple[int | None, int | None]


class WriteLog:
    """Pieces that records carry, or are to carry, and that are no rows yet; oldest first.

    `carries`: whether records may carry anything in this pool. `enter` makes rows of what is here,
    as far as that can be done.
    """

    def __init__(self) -> None:
        self.carries = True
        self.enter: Callable[[], None] = lambda: None
        self._pieces: dict[Piece, _Times] = {}
        self._fresh: list[Piece] = []
        self.length = 0
        self.since_ns = 0

    def __iter__(self) -> Iterator[Piece]:
        return iter(self._pieces)

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def may_take(self, count: int, length: int) -> bool:
        """Whether so much more may come in, and into the next record."""
        fresh_len = sum(len(piece.data) for piece in self._fresh) + length
        fresh_count = len(self._fresh) + count
        return (fresh_count <= LOGGED_COUNT_MAX
                and fresh_len + fresh_count * WRITE_OVERHEAD_LEN <= INLINE_RECORD_LEN_MAX
                and len(self._pieces) + count <= 2 * LOGGED_COUNT_MAX
                and self.length + length <= 2 * LOGGED_LEN_MAX)

    @property
    def is_full(self) -> bool:
        """Whether it is time to enter rows."""
        return len(self._pieces) >= LOGGED_COUNT_MAX or self.length >= LOGGED_LEN_MAX

    def add(self, state: FileState, pieces: Iterable[Piece], now_ns: int, order: int, *,
            fresh: bool = True) -> None:
        """Pieces of a file, all before which are here; `order` is their place in that of writing.
        `fresh`: no record carries them yet."""
        if not self._pieces:
            self.since_ns = now_ns
        for piece in pieces:
            piece.logged, piece.order = True, order
            self._pieces[piece] = (state.mtime_ns, state.ctime_ns)
            self.length += len(piece.data)
            if fresh:
                self._fresh.append(piece)

    def drop(self, pieces: Iterable[Piece]) -> None:
        """Their rows are entered, or their file is gone."""
        for piece in pieces:
            if piece.logged and self._pieces.pop(piece, None) is not None:
                self.length -= len(piece.data)

    def forget_times(self, pieces: Iterable[Piece]) -> None:
        """Somebody set the times of their file since."""
        for piece in pieces:
            if piece in self._pieces:
                self._pieces[piece] = (None, None)

    def renew(self) -> None:
        """No record that is kept carries what is here."""
        self._fresh = list(self._pieces)

    def take(self) -> list[tuple[LoggedWrite, ...]]:
        """What no record carries yet: the writes of one record, mostly, or of some."""
        if not self._fresh or not self.carries:
            return []
        groups: list[list[LoggedWrite]] = []
        length = 0
        for piece in self._fresh:
            times = self._pieces.get(piece)
            if times is None or not piece.limit:
                continue
            length += piece.limit + WRITE_OVERHEAD_LEN
            if not groups or length > INLINE_RECORD_LEN_MAX or len(groups[-1]) >= LOGGED_COUNT_MAX:
                groups.append([])
                length = piece.limit + WRITE_OVERHEAD_LEN
            groups[-1].append(LoggedWrite(piece.inode, piece.offset, *times,
                                          copied(piece.data, 0, piece.limit), piece.order))
        self._fresh = []
        return [tuple(group) for group in groups]
