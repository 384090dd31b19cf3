"""One SQLite connection over any VFS: pragmas, savepoints, and the one transaction that is open.

Changes run inside `change()`, a savepoint of the open transaction: an error inside it undoes it and
nothing else. `commit()` ends the transaction; what that makes durable is the VFS's affair.

A change that nothing can refuse any more is promised (`ecfs.base.promises`), and made before
anything else is asked of the database.
"""

from collections.abc import Callable
from functools import cache, partial
from types import TracebackType
from typing import Any

import apsw

from ecfs.base.errors import Bug, Damage, UnknownFormat
from ecfs.base.promises import Promises
from ecfs.base.units import BLOCK_LEN, KIB
from ecfs.metadata.schema import SCHEMA_VERSION, TABLES

Row = tuple[Any, ...]

STATEMENT_CACHE_COUNT = 256
_UNKNOWN_FORMAT = "unsupported file format"
"""Of page 1 with a later schema format. SQLite has no code of its own for it, only these words."""


@cache
def _schema_made() -> list[Row]:
    """The tables as they are when they are new."""
    database = Database.in_memory()
    try:
        return database._schema()
    finally:
        database.close()


class Change:
    """See `Database.change`. A class, not a generator: this is on the path of every system call."""

    __slots__ = ("_database",)

    def __init__(self, database: "Database") -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.begin_change()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._database.end_change(failed=kind is not None)


class Database:
    """The metadata of one pool. Not thread-safe: one thread, the event loop's, owns it.

    `undo_count` grows whenever statements may have been undone: who caches rows compares it.
    """

    def __init__(self, path: str, *, vfs: str | None = None, cache_len: int = 32 * KIB * KIB,
                 damage_of: Callable[[], Damage | None] = lambda: None) -> None:
        self._damage_of = damage_of
        self._depth = 0
        self.promises = self._promises = Promises()
        self.change_count = 0
        self.undo_count = 0
        try:
            self._connection = apsw.Connection(path, vfs=vfs,
                                               statementcachesize=STATEMENT_CACHE_COUNT)
            # Else a statement is planned anew each time that the bound of a range is another.
            self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        except apsw.Error as error:
            raise self._translated(error) from error
        for pragma in (
            f"page_size={BLOCK_LEN}", "locking_mode=EXCLUSIVE", "journal_mode=MEMORY",
            "cache_spill=OFF", "temp_store=MEMORY", "synchronous=NORMAL", "foreign_keys=OFF",
            f"cache_size=-{cache_len // KIB}", "trusted_schema=OFF",
        ):
            self._execute("PRAGMA " + pragma)

    @classmethod
    def in_memory(cls) -> "Database":
        """A fresh database that nothing stores, with its tables."""
        database = cls(":memory:")
        database.create_tables()
        return database

    def create_tables(self) -> None:
        """Lay out an empty database."""
        self.begin()
        self._connection.execute(TABLES)
        self.set_setting("schema_version", SCHEMA_VERSION)

    def check_version(self) -> None:
        """Raise UnknownFormat unless the tables are of the version that this program writes, Damage
        unless they are the tables of that version, to the last word. `settings` says which version
        it is, and is the same in all."""
        present, made = self._schema(), _schema_made()
        if not any(row in present for row in made if row[1] == b"settings"):
            raise Damage("the metadata has no settings")
        found = self.setting("schema_version")
        if found != SCHEMA_VERSION:
            raise UnknownFormat(
                f"the metadata has schema version {found}, this program knows {SCHEMA_VERSION}; "
                "use the ecfs version that wrote it")
        if present != made:
            raise Damage("the metadata has other tables than its version makes")

    def _schema(self) -> list[Row]:
        """Kind, name and words of all tables and indexes, but those that SQLite makes itself."""
        rows = self.rows("SELECT CAST(type AS BLOB), CAST(name AS BLOB), CAST(sql AS BLOB) "
                         "FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*' ORDER BY name")
        return [(kind, name, (sql or b"").split()) for kind, name, sql in rows]

    def begin(self) -> None:
        """Open the transaction if none is open."""
        if self._promises.due is not None:
            self._promises.keep()
        if not self._connection.in_transaction:
            self._execute("BEGIN IMMEDIATE")

    @property
    def in_transaction(self) -> bool:
        """Whether changes wait for `commit`."""
        if self._promises.due is not None:
            self._promises.keep()
        return self._connection.in_transaction

    def commit(self) -> None:
        """End the transaction: its dirty pages go to the VFS in one batch."""
        if self._depth:
            raise Bug("commit inside a change")
        if self.in_transaction:
            self._execute("COMMIT")

    def change(self) -> "Change":
        """Make several statements one step: all of them happen, or an exception undoes them."""
        return Change(self)

    @property
    def is_changing(self) -> bool:
        """Whether a change has begun and not ended."""
        return self._depth > 0

    def promise(self, make: Callable[[], None]) -> None:
        """Make a change that was decided and that nothing can refuse any more, or promise it.

        `make` is one `change` or `step`, and asks the database nothing.
        """
        if self._depth:
            make()
            return
        self._promises.make(partial(self._make, make))
        self.change_count += 1

    def _make(self, make: Callable[[], None]) -> None:
        try:
            make()
        except BaseException:
            # Others have seen it in memory, as it never was.
            self.undo_count += 1
            raise
        # It is counted when it is promised: who reads the count then has it with this change.
        self.change_count -= 1

    def begin_change(self) -> None:
        """The beginning of a change; `Change` calls it."""
        self.begin()
        self._execute(f"SAVEPOINT c{self._depth}")
        self._depth += 1
        self.change_count += 1

    def end_change(self, *, failed: bool) -> None:
        """The end of a change; `Change` calls it."""
        self._depth -= 1
        name = f"c{self._depth}"
        if not failed:
            self._execute("RELEASE " + name)
            return
        self.undo_count += 1
        if self._connection.in_transaction:
            self._execute("ROLLBACK TO " + name)
            self._execute("RELEASE " + name)

    def step(self, statement: str, values: Row = ()) -> None:
        """A change of one statement: it needs no savepoint of its own."""
        self.begin()
        self.change_count += 1
        self._execute(statement, values)

    def run(self, statement: str, values: Row = ()) -> None:
        """Execute a statement that returns nothing."""
        if self._promises.due is not None:
            self._promises.keep()
        self._execute(statement, values)

    def run_many(self, statement: str, rows: list[Row]) -> None:
        """Execute a statement once for each row."""
        if self._promises.due is not None:
            self._promises.keep()
        try:
            self._connection.executemany(statement, rows)
        except apsw.Error as error:
            raise self._translated(error) from error

    def one(self, statement: str, values: Row = ()) -> Row | None:
        """The first row, or None."""
        if self._promises.due is not None:
            self._promises.keep()
        try:
            return next(iter(self._connection.execute(statement, values)), None)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._translated(error) from error

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        """All rows; use a LIMIT where their number is not bounded otherwise."""
        if self._promises.due is not None:
            self._promises.keep()
        try:
            return list(self._connection.execute(statement, values))
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._translated(error) from error

    def value(self, statement: str, values: Row = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.one(statement, values)
        return row[0] if row else None

    def setting(self, name: str) -> Any:
        """The value of a setting, or None."""
        return self.value("SELECT value FROM settings WHERE name=?", (name,))

    def set_setting(self, name: str, value: int | str | bytes | None) -> None:
        """Store a setting."""
        self.run("INSERT INTO settings VALUES(?,?) ON CONFLICT DO UPDATE SET value=excluded.value",
                 (name, value))

    def changed_rows(self) -> int:
        """How many rows the last statement changed."""
        return self._connection.changes()

    def last_row_id(self) -> int:
        """The rowid of the last insert."""
        return self._connection.last_insert_rowid()

    def integrity_findings(self, limit: int = 100) -> list[str]:
        """What SQLite's own check of the structure finds; empty when all is well."""
        rows = self.rows(f"PRAGMA integrity_check({limit})")
        return [] if rows == [("ok",)] else [str(row[0]) for row in rows]

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        self._connection.close()

    def _execute(self, statement: str, values: Row = ()) -> None:
        try:
            for _ in self._connection.execute(statement, values):
                pass
        except apsw.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: apsw.Error | UnicodeDecodeError) -> Exception:
        self.undo_count += 1
        damage = self._damage_of()
        if damage is not None:
            return damage
        if (isinstance(error, (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError))
                or str(error).endswith(_UNKNOWN_FORMAT)):
            return Damage(f"metadata is damaged: {error}")
        return Bug(f"SQLite refused a statement: {type(error).__name__}: {error}")
