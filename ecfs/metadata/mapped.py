"""How many bytes of a file are mapped, remembered until its map changes."""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice

from ecfs.base.units import KIB
from ecfs.metadata.database import Database

MAPPED_LENS_MAX = 32 * KIB
LOADED_AT_ONCE = 64


class MappedLens:
    """Mapped bytes by inode. Whoever changes the map of a file has to `forget` it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._undo_count = database.undo_count
        self._lens: OrderedDict[int, int] = OrderedDict()

    def of(self, inode: int) -> int:
        """Bytes of a file that are not holes. Costs nothing while they stay the same."""
        self._check()
        known = self._lens.get(inode)
        if known is None:
            known = int(self._database.value(
                "SELECT ifnull(sum(len), 0) FROM maps WHERE inode=?", (inode,)))
            self._remember(inode, known)
        return known

    def load(self, inodes: Iterable[int]) -> None:
        """Find out about many inodes at once, for what one each would cost several times."""
        self._check()
        wanted = iter([inode for inode in inodes if inode not in self._lens])
        while some := list(islice(wanted, LOADED_AT_ONCE)):
            # Always as many places, so that the statement is compiled once.
            places = (*some, *[0] * (LOADED_AT_ONCE - len(some)))
            found: dict[int, int] = dict(self._database.rows(
                "SELECT inode, sum(len) FROM maps WHERE inode IN "
                f"({','.join('?' * LOADED_AT_ONCE)}) GROUP BY inode", places))
            for inode in some:
                self._remember(inode, found.get(inode, 0))

    def forget(self, inode: int) -> None:
        """The map of a file changes, or has changed."""
        self._lens.pop(inode, None)

    def _remember(self, inode: int, length: int) -> None:
        self._lens[inode] = length
        if len(self._lens) > MAPPED_LENS_MAX:
            self._lens.popitem(last=False)

    def _check(self) -> None:
        if self._undo_count != self._database.undo_count:
            self._undo_count = self._database.undo_count
            self._lens.clear()
