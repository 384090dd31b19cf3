"""The sealed directory of a stripe: whose bytes its extents are, for salvage without metadata.

msgpack: a list of [start, length, inode, offset in the file, file size, parent inode, name, mode,
modification time, order] in the order in which the extents lie in the stripe. Start and length
count bytes; `order` is 0 for an extent that is as old as its stripe, else the order of the stripe
that it was moved from. The directory of a metadata stripe is empty.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ecfs.base.errors import Damage
from ecfs.base.limits import EXTENTS_PER_STRIPE_MAX
from ecfs.formats.packing import NUMBER_MAX, pack, unpack

POSITION_MAX = (1 << 32) - 1
"""No position in a stripe is larger, and none takes more bytes in a directory."""
LIST_HEAD_LEN_MAX = 5


class ExtentNote(NamedTuple):
    """One extent and its file. `start` is a position in the stripe; lengths in bytes."""

    start: int
    length: int
    inode: int
    offset: int
    size: int
    parent: int
    name: bytes
    mode: int
    mtime_ns: int
    order: int = 0

    @property
    def packed_len(self) -> int:
        """What it takes in a directory."""
        return len(pack(self))

    def of_place(self, start: int, length: int, offset: int) -> "ExtentNote":
        """The note of other bytes of the same file. (`_replace` takes almost twice as long.)"""
        return ExtentNote._make((start, length, self.inode, offset, *self[4:]))


def encode_directory(notes: list[ExtentNote]) -> bytes:
    """Bytes to be sealed with the stripe."""
    return pack(notes)


def directory_len_max(note_lens: Iterable[int]) -> int:
    """The most that a directory of notes of these `packed_len` takes."""
    return LIST_HEAD_LEN_MAX + sum(note_lens)


def decode_directory(data: bytes) -> list[ExtentNote]:
    """The notes; Damage unless well-formed."""
    rows = unpack(data, items_max=EXTENTS_PER_STRIPE_MAX)
    if not isinstance(rows, list):
        raise Damage("stripe directory is not a list")
    return [_note(row) for row in rows]


def _note(row: Any) -> ExtentNote:
    kinds = (int, int, int, int, int, int, bytes, int, int, int)
    if not isinstance(row, list) or len(row) != len(kinds) or not all(
            type(value) is kind for value, kind in zip(row, kinds, strict=True)):
        raise Damage("stripe directory has a malformed entry")
    note = ExtentNote(*row)
    # Only a time can lie before the epoch.
    numbers = [abs(note.mtime_ns), note.start, note.length, note.inode, note.offset, note.size,
               note.parent, note.mode, note.order]
    if not all(0 <= number <= NUMBER_MAX for number in numbers):
        raise Damage("stripe directory has an impossible number")
    return note
