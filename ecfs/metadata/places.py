"""Statements about many rows by their numbers, each compiled once for a few counts of them."""

from collections.abc import Sequence

from ecfs.metadata.database import Database, Row

COUNTS = (1, 8, 64)
NO_ROW = -1
"""No inode, extent or stripe has this number: it fills the places that are left."""


def in_places(database: Database, statement: str, numbers: Sequence[int]) -> list[Row]:
    """The rows of `statement`, which has `{}` where `IN` takes its list, for all of `numbers`.

    It is run once for each 64 of them. Many at once cost a fraction of one each.
    """
    found: list[Row] = []
    at_once = COUNTS[-1]
    for begin in range(0, len(numbers), at_once):
        some = numbers[begin : begin + at_once]
        count = next(count for count in COUNTS if count >= len(some))
        found += database.rows(statement.format(f"({','.join('?' * count)})"),
                               (*some, *[NO_ROW] * (count - len(some))))
    return found
