"""A SQLite VFS whose one file is a `PageStore`.

SQLite writes pages only while it commits (cache_spill is off), and `COMMIT_PHASETWO` is where the
batch is frozen: xSync would also come after a spill that is rolled back. xRead raises NotADBError,
the one error that fails its statement and nothing else: IOError would roll back the whole
transaction even from a SELECT, and after a CorruptError inside a transaction the next COMMIT fails
and rolls everything back. Any second file is refused: a sort or a journal on disk would hold names
in plaintext.
"""

from typing import Any

import apsw

from ecfs.base.errors import Damage
from ecfs.base.units import BLOCK_LEN
from ecfs.metadata.pages import PageStore

MAIN_NAME = "ecfs-metadata"
_COMMIT_PHASETWO = apsw.SQLITE_FCNTL_COMMIT_PHASETWO


class PageVfs(apsw.VFS):
    """The VFS of one page store. Keep a reference to it while its connection is open."""

    def __init__(self, name: str, store: PageStore) -> None:
        self.name = name
        self._store = store
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        """Open the database; refuse everything else."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if not path or not path.endswith(MAIN_NAME):
            raise apsw.CantOpenError("the metadata has one file only")
        flags[1] = flags[0]
        return PageFile(self._store)

    def xFullPathname(self, name: str) -> str:
        """Names are no paths here."""
        return name

    def xAccess(self, pathname: str, flags: int) -> bool:
        """No journal ever exists."""
        return False

    def xDelete(self, filename: str, syncdir: bool) -> None:
        """Nothing to delete."""


class PageFile:
    """The file that SQLite sees."""

    def __init__(self, store: PageStore) -> None:
        self._store = store

    def xRead(self, amount: int, offset: int) -> bytes:
        """`amount` bytes, fewer at the end; NotADBError on damage, which the store remembers."""
        if offset >= self._store.length:
            return b""
        page, within = divmod(offset, BLOCK_LEN)
        try:
            data = self._store.read(page + 1)
        except Damage as damage:
            self._store.damage = damage
            raise apsw.NotADBError(str(damage)) from damage
        return data if amount == BLOCK_LEN else data[within : within + amount]

    def xWrite(self, data: bytes, offset: int) -> None:
        """A whole page."""
        page, within = divmod(offset, BLOCK_LEN)
        if within or len(data) != BLOCK_LEN:
            raise apsw.MisuseError("a write that is not one page")
        self._store.write(page + 1, bytes(data))

    def xTruncate(self, newsize: int) -> None:
        """Shorten to whole pages."""
        self._store.truncate(newsize // BLOCK_LEN)

    def xSync(self, flags: int) -> None:
        """Durability is the commit record's affair."""

    def xFileSize(self) -> int:
        """Length in bytes."""
        return self._store.length

    def xFileControl(self, operation: int, pointer: int) -> bool:
        """Freeze the batch at the second phase of a commit."""
        if operation == _COMMIT_PHASETWO:
            self._store.freeze()
        return False

    def xLock(self, level: int) -> None:
        """One connection only: nothing to lock."""

    def xUnlock(self, level: int) -> None:
        """One connection only: nothing to unlock."""

    def xCheckReservedLock(self) -> bool:
        """Nobody else holds a lock."""
        return False

    def xSectorSize(self) -> int:
        """A page is what is written at once."""
        return BLOCK_LEN

    def xDeviceCharacteristics(self) -> int:
        """A batch is atomic: the commit record holds all of it or none."""
        return int(apsw.SQLITE_IOCAP_ATOMIC4K | apsw.SQLITE_IOCAP_SAFE_APPEND
                   | apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE)

    def xClose(self) -> None:
        """Nothing is held open."""
