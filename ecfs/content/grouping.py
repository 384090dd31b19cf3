"""Which pieces go into one stripe."""

from collections.abc import Callable

from ecfs.base.limits import (
    EXTENTS_PER_STRIPE_MAX,
    STRIPE_CONTENT_LEN_MAX,
    STRIPE_DIRECTORY_MAX,
)
from ecfs.content.state import Piece

NOTE_LEN = 80


def pack(pieces: list[Piece], name_len_of: Callable[[int], int]) -> list[list[Piece]]:
    """Group pieces, in order, into stripes within the limits of payload and directory."""
    groups: list[list[Piece]] = []
    payload = directory = 0
    for piece in pieces:
        note_len = NOTE_LEN + name_len_of(piece.inode)
        if not groups or payload + len(piece.data) > STRIPE_CONTENT_LEN_MAX or (
                directory + note_len > STRIPE_DIRECTORY_MAX
                or len(groups[-1]) >= EXTENTS_PER_STRIPE_MAX - 1):
            groups.append([])
            payload = directory = 0
        groups[-1].append(piece)
        payload += len(piece.data)
        directory += note_len
    return groups
