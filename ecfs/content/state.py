"""What is known of a file beyond the database: dirty bytes, bytes on their way, and errors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ecfs.base.ids import InodeId
from ecfs.base.rope import Buffer, Rope, copied
from ecfs.content.runs import Runs


@dataclass(frozen=True, slots=True)
class FileNote:
    """What a stripe's directory says of a file, for salvage."""

    parent: int
    name: bytes
    mode: int


class InodeTable(Protocol):
    """What content needs of the tree."""

    def size_of(self, inode: InodeId) -> int:
        """Size in the database."""
        ...

    def settle(self, inode: InodeId, *, size: int, mtime_ns: int | None,
               ctime_ns: int | None) -> None:
        """Content reached the database: its size and times."""
        ...

    def note_of(self, inode: InodeId) -> FileNote:
        """Where the file is, as far as that is known without a search."""
        ...


@dataclass(slots=True, eq=False)
class Piece:
    """Frozen bytes on their way into a stripe. Only the first `limit` bytes still count.

    `logged`: a commit record carries them, or will; `order`: since when, in the order of writing.
    """

    inode: int
    offset: int
    data: Buffer | Rope
    limit: int
    logged: bool = False
    order: int = 0

    @property
    def end(self) -> int:
        """Where the bytes that count end in the file."""
        return self.offset + self.limit


@dataclass(slots=True)
class FileState:
    """One file with changes that are not in the database yet. `is_sized`: `size` takes account of
    what the database says."""

    inode: int
    size: int
    since_ns: int
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    is_sized: bool = True
    runs: Runs = field(default_factory=Runs)
    frozen: list[Piece] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Whether everything has reached the database."""
        return not self.runs and not self.frozen

    @property
    def dirty_len(self) -> int:
        """Bytes in memory that are to be written, or on their way."""
        return self.runs.length + sum(len(piece.data) for piece in self.frozen)

    def snapshot(self, low: int, high: int) -> list[tuple[int, bytes]]:
        """Bytes within [low, high) that the database does not have, oldest first."""
        found = []
        for piece in self.frozen:
            if piece.offset < high and piece.end > low:
                begin, end = max(low, piece.offset), min(high, piece.end)
                found.append((begin, copied(piece.data, begin - piece.offset,
                                            end - piece.offset)))
        return found + self.runs.overlapping(low, high)

    def spans(self) -> list[tuple[int, int]]:
        """`(begin, end)` of all bytes that the database does not have; they may overlap."""
        return [(piece.offset, piece.end) for piece in self.frozen if piece.limit] + (
            self.runs.spans())

    def freeze(self, taken: Sequence[tuple[int, Buffer | Rope]]) -> list[Piece]:
        """Turn runs that were taken out into pieces; later writes go to new runs."""
        pieces = [Piece(self.inode, offset, data, len(data)) for offset, data in taken]
        self.frozen += pieces
        return pieces

    def settle(self, pieces: list[Piece]) -> list[Piece]:
        """Let go of pieces that have reached the database; those that were here."""
        if self.frozen[: len(pieces)] == pieces:
            # In order, as they were taken: no search for each of thousands.
            del self.frozen[: len(pieces)]
            return pieces
        gone = set(map(id, pieces))
        found = [piece for piece in self.frozen if id(piece) in gone]
        self.frozen = [piece for piece in self.frozen if id(piece) not in gone]
        return found

    def cut(self, size: int) -> int:
        """The file ends at `size` now; by how much the dirty bytes that count shrank."""
        for piece in self.frozen:
            piece.limit = max(0, min(piece.limit, size - piece.offset))
        return self.runs.cut(size)
