"""How to cause each finding of fsck that is about the database, and the least mode that repairs it.

Inodes of the pool in conftest: 1 root, 2 docs, 3 docs/deep, 4 docs/small, 5 big, 6 link.
"""

from dataclasses import dataclass

from ecfs.metadata import (
    ATTRIBUTE_CHECKS,
    CONTENT_CHECKS,
    EXTENT_CHECKS,
    MAP_CHECKS,
    ROOT_CHECKS,
    SEGMENT_CHECKS,
    TREE_CHECKS,
)
from ecfs.volume import Volume

ROW_CHECKS = (*ROOT_CHECKS, *MAP_CHECKS, *TREE_CHECKS, *ATTRIBUTE_CHECKS, *CONTENT_CHECKS,
              *SEGMENT_CHECKS, *EXTENT_CHECKS)


@dataclass(frozen=True)
class Breakage:
    """Statements that cause a finding. `gives_up`: only YES repairs it."""

    id: str
    statements: tuple[str, ...]
    gives_up: bool = False

    @property
    def seen_as(self) -> str:
        """The id that it has before anything is given up."""
        return "content-segment-missing" if self.id == "content-segment-lost" else self.id


def break_database(volume: Volume, case: Breakage) -> None:
    """Run the statements in the open transaction."""
    volume.database.begin()
    for statement in case.statements:
        volume.database.run(statement)


def _safe(name: str, *statements: str) -> Breakage:
    return Breakage(name, statements)


def _lossy(name: str, *statements: str) -> Breakage:
    return Breakage(name, statements, gives_up=True)


_INLINE = ("UPDATE inodes SET size = size + 10 WHERE id = 4",
           "INSERT INTO maps SELECT 4, size - 10, 10, 9000, 0 FROM inodes WHERE id = 4")
_HIDE_INDEX = (
    "CREATE TEMP TABLE hidden AS SELECT * FROM sqlite_schema WHERE name = 'stripes_of_segment'",
    "PRAGMA writable_schema = ON",
    "DELETE FROM sqlite_schema WHERE name = 'stripes_of_segment'",
    "PRAGMA writable_schema = RESET",
    "INSERT INTO stripes SELECT 99, segment, offset + 8388608, body_len, salt, digest, live "
    "FROM stripes LIMIT 1",
    "PRAGMA writable_schema = ON",
    "INSERT INTO sqlite_schema SELECT * FROM hidden",
    "PRAGMA writable_schema = RESET",
    "DROP TABLE hidden",
)

BREAKAGES = (
    _safe("tree-root-missing", "DELETE FROM inodes WHERE id = 1"),
    _safe("tree-root-not-directory", "UPDATE inodes SET mode = 33188 WHERE id = 1"),
    _safe("tree-number-reused", "UPDATE sqlite_sequence SET seq = 2"),
    _safe("tree-mode-invalid", "UPDATE inodes SET mode = 420 WHERE id = 4"),
    _safe("content-map-invalid", "INSERT INTO maps VALUES(5, -4096, 10, 1, 0)"),
    _safe("content-dying-alive", "INSERT INTO dying VALUES(5)"),
    _safe("content-map-not-regular", "UPDATE maps SET inode = 3 WHERE inode = 4"),
    _safe("tree-inode-lost", "DELETE FROM inodes WHERE id = 5"),
    _safe("tree-directory-lost", "DELETE FROM inodes WHERE id = 2"),
    _safe("tree-entry-without-inode", "INSERT INTO entries VALUES(2, x'67', 999)"),
    _safe("tree-root-named", "INSERT INTO entries VALUES(2, x'72', 1)"),
    _safe("tree-entry-in-file", "UPDATE entries SET parent = 5 WHERE inode = 3"),
    _safe("tree-name-invalid", "UPDATE entries SET name = x'612f62' WHERE inode = 5"),
    _safe("tree-directory-named-twice", "INSERT INTO entries VALUES(1, x'7a', 3)"),
    _safe("tree-parent-wrong", "UPDATE inodes SET parent = 77 WHERE id = 3"),
    _safe("tree-orphan-without-inode", "INSERT INTO orphans VALUES(555)"),
    _safe("tree-orphan-named", "INSERT INTO orphans VALUES(4)"),
    _safe("tree-inode-unreachable", "DELETE FROM entries WHERE inode = 5"),
    _safe("tree-directory-cycle", "UPDATE entries SET parent = 3 WHERE inode = 2",
          "UPDATE inodes SET parent = 3 WHERE id = 2"),
    _lossy("tree-symlink-lost", "UPDATE inodes SET symlink = NULL WHERE id = 6"),
    _safe("tree-symlink-stray", "UPDATE inodes SET symlink = x'61' WHERE id = 4"),
    _safe("tree-size-wrong", "UPDATE inodes SET size = -1 WHERE id = 5"),
    _safe("tree-nlink-wrong", "UPDATE inodes SET nlink = 9 WHERE id = 4"),
    _safe("tree-xattr-without-inode", "INSERT INTO xattrs VALUES(999, x'61', x'62')"),
    _lossy("content-map-overlap",
           "UPDATE maps SET len = len + 4096 WHERE inode = 5 AND offset = 0"),
    _safe("content-map-past-size", "UPDATE inodes SET size = 100000 WHERE id = 5"),
    _safe("content-inline-stray", "INSERT INTO inline VALUES(9999, 5, 0, 0, x'00')"),
    _safe("content-inline-length", *_INLINE,
          "INSERT INTO extents VALUES(9000, NULL, 0, 20, 10, 1)",
          "INSERT INTO inline VALUES(9000, 4, 0, 0, zeroblob(10))"),
    _safe("content-segment-missing", "DELETE FROM segments"),
    _lossy("content-segment-lost", "UPDATE stripes SET segment = 777 WHERE id = 1"),
    _safe("content-segment-invalid", "UPDATE segments SET columns = x'00'"),
    _lossy("content-stripe-invalid", "UPDATE stripes SET salt = x'00' WHERE id = 1"),
    _lossy("content-stripe-overlap", "UPDATE stripes SET offset = offset + 4096 WHERE id = 1"),
    _safe("content-segment-short", "UPDATE segments SET len = 4096"),
    _safe("content-dying-lost", "INSERT INTO maps VALUES(800, 0, 10, 12345, 0)",
          "INSERT INTO dying VALUES(800)"),
    _lossy("content-stripe-missing", "DELETE FROM stripes WHERE id = 1"),
    _lossy("content-inline-missing", *_INLINE,
           "INSERT INTO extents VALUES(9000, NULL, 0, 10, 10, 1)"),
    _lossy("content-extent-missing", "DELETE FROM extents WHERE id = 1"),
    _lossy("content-map-outside-extent", "UPDATE maps SET extent_offset = 8192 WHERE inode = 4"),
    _safe("content-extent-unused", "INSERT INTO extents VALUES(9000, 1, 0, 4096, 5, 1)"),
    _safe("content-extent-live-wrong", "UPDATE extents SET live = live + 5"),
    _safe("content-stripe-unused", "INSERT INTO stripes SELECT 99, segment, offset + 8388608, "
          "body_len, salt, digest, live FROM stripes LIMIT 1"),
    _safe("content-stripe-live-wrong", "UPDATE stripes SET live = live + 7"),
    _safe("content-missed-stray", "INSERT INTO missed VALUES(zeroblob(16), 4242)"),
    _safe("content-missed-stranger", "INSERT INTO missed VALUES(zeroblob(16), 1)"),
    _lossy("content-extent-outside-stripe",
           "UPDATE extents SET start = start + 99999999 WHERE id = 1"),
    _safe("database-corrupt", *_HIDE_INDEX),
)
