"""What must hold of inodes, entries, orphans and xattrs, as queries that find what does not.

See `rowcheck.RowCheck` for the meaning of a row. The order matters: each check may rely on those
before it being repaired.
"""

from ecfs.metadata.rowcheck import RowCheck

_DIRECTORY = "(i.mode & 61440) = 16384"
_NO_INODE = "NOT EXISTS (SELECT 1 FROM inodes x WHERE x.id = {})"
_NEW_INODE = ("INSERT INTO inodes(id, parent, mode, nlink, uid, gid, size, atime_ns, mtime_ns, "
              "ctime_ns, btime_ns) VALUES(?1, 1, {mode}, {nlink}, 0, 0, {size}, 0, 0, 0, 0)")

_REACHED = (
    "WITH RECURSIVE reached(id) AS (SELECT 1 UNION SELECT e.inode FROM reached r CROSS JOIN "
    "entries e ON e.parent = r.id CROSS JOIN inodes i ON i.id = e.inode AND " + _DIRECTORY + ") ")

_LINKS = (
    "WITH names AS MATERIALIZED (SELECT inode, count(*) AS n FROM entries GROUP BY inode), "
    "subs AS MATERIALIZED (SELECT e.parent AS parent, count(*) AS n FROM entries e "
    "CROSS JOIN inodes i ON i.id = e.inode AND " + _DIRECTORY + " GROUP BY e.parent) "
    "SELECT id, nlink, wanted FROM (SELECT i.id AS id, i.nlink AS nlink, CASE "
    "WHEN NOT " + _DIRECTORY + " THEN ifnull(names.n, 0) "
    "WHEN i.id <> 1 AND names.n IS NULL THEN 0 ELSE 2 + ifnull(subs.n, 0) END AS wanted "
    "FROM inodes i LEFT JOIN names ON names.inode = i.id LEFT JOIN subs ON subs.parent = i.id) "
    "WHERE nlink <> wanted LIMIT ?")

ROOT_CHECKS = (
    RowCheck(
        "tree-root-missing", "the root directory has no inode",
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM inodes WHERE id = 1) LIMIT ?",
        (_NEW_INODE.format(mode=16877, nlink=2, size=0),)),
    RowCheck(
        "tree-root-not-directory", "the root has mode {1:#o}, which is no directory's",
        "SELECT id, mode FROM inodes WHERE id = 1 AND (mode & 61440) <> 16384 LIMIT ?",
        ("UPDATE inodes SET mode = 16384 | (?2 & 4095), symlink = NULL, size = 0 WHERE id = ?1",)),
    RowCheck(
        "tree-number-reused", "the next inode number would be {1}, but {2} is taken",
        "SELECT 0, seq + 1, used FROM (SELECT "
        "ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'inodes'), 0) AS seq, "
        "max((SELECT ifnull(max(id), 0) FROM inodes), (SELECT ifnull(max(inode), 0) FROM maps), "
        "(SELECT ifnull(max(inode), 0) FROM dying)) AS used) WHERE seq < used LIMIT ?",
        ("DELETE FROM sqlite_sequence WHERE name = 'inodes'",
         "INSERT INTO sqlite_sequence(name, seq) VALUES('inodes', ?3)")),
    RowCheck(
        "tree-mode-invalid", "inode {0} has the impossible mode {1:#o}",
        "SELECT i.id, i.mode, CASE WHEN EXISTS (SELECT 1 FROM entries e WHERE e.parent = i.id) "
        "THEN 16384 WHEN i.symlink IS NOT NULL THEN 40960 ELSE 32768 END "
        "FROM inodes i WHERE i.mode < 0 OR i.mode > 65535 OR (i.mode & 61440) NOT IN "
        "(4096, 8192, 16384, 24576, 32768, 40960, 49152) LIMIT ?",
        ("UPDATE inodes SET mode = ?3 | (?2 & 4095) WHERE id = ?1",)),
)

TREE_CHECKS = (
    RowCheck(
        "tree-inode-lost", "inode {0} has content of {1} bytes but is not there",
        "SELECT m.inode, max(m.offset + m.len) FROM maps m WHERE "
        + _NO_INODE.format("m.inode")
        + " AND NOT EXISTS (SELECT 1 FROM dying d WHERE d.inode = m.inode) "
        "GROUP BY m.inode LIMIT ?",
        (_NEW_INODE.format(mode=33152, nlink=1, size="?2"),)),
    RowCheck(
        "tree-directory-lost", "directory {0} has entries but no inode",
        "SELECT DISTINCT e.parent FROM entries e WHERE e.parent > 0 AND "
        + _NO_INODE.format("e.parent") + " LIMIT ?",
        (_NEW_INODE.format(mode=16832, nlink=2, size=0),)),
    RowCheck(
        "tree-entry-without-inode", "the name {1!r} stands for inode {2}, which is not there",
        "SELECT e.parent, e.name, e.inode FROM entries e WHERE "
        + _NO_INODE.format("e.inode") + " LIMIT ?",
        ("DELETE FROM entries WHERE parent = ?1 AND name = ?2",)),
    RowCheck(
        "tree-root-named", "the name {1!r} in directory {0} stands for the root",
        "SELECT parent, name FROM entries WHERE inode = 1 LIMIT ?",
        ("DELETE FROM entries WHERE parent = ?1 AND name = ?2",)),
    RowCheck(
        "tree-entry-in-file", "inode {0} is no directory but holds the name {1!r}",
        "SELECT e.parent, e.name, e.inode FROM entries e LEFT JOIN inodes i ON i.id = e.parent "
        "WHERE i.id IS NULL OR NOT " + _DIRECTORY + " LIMIT ?"),
    RowCheck(
        "tree-name-invalid", "directory {0} holds the impossible name {1!r}",
        "SELECT parent, name, inode FROM entries WHERE length(name) NOT BETWEEN 1 AND 255 "
        "OR name IN (x'2e', x'2e2e') OR instr(name, x'2f') OR instr(name, x'00') LIMIT ?"),
    RowCheck(
        "tree-directory-named-twice", "directory {0} has a second name, {2!r} in directory {1}",
        "SELECT id, parent, name FROM (SELECT i.id AS id, e.parent AS parent, e.name AS name, "
        "row_number() OVER (PARTITION BY i.id ORDER BY e.parent <> i.parent, e.parent, e.name) "
        "AS number FROM entries e CROSS JOIN inodes i ON i.id = e.inode AND " + _DIRECTORY + ") "
        "WHERE number > 1 LIMIT ?",
        ("DELETE FROM entries WHERE parent = ?2 AND name = ?3",)),
    RowCheck(
        "tree-parent-wrong", "directory {0} names {1} as its parent, but lies in {2}",
        "SELECT i.id, i.parent, e.parent FROM entries e CROSS JOIN inodes i ON i.id = e.inode "
        "AND " + _DIRECTORY + " WHERE i.parent <> e.parent UNION ALL "
        "SELECT 1, parent, 1 FROM inodes WHERE id = 1 AND parent <> 1 LIMIT ?",
        ("UPDATE inodes SET parent = ?3 WHERE id = ?1",)),
    RowCheck(
        "tree-orphan-without-inode", "the deleted inode {0} is listed but not there",
        "SELECT o.inode FROM orphans o WHERE " + _NO_INODE.format("o.inode") + " LIMIT ?",
        ("DELETE FROM orphans WHERE inode = ?1",)),
    RowCheck(
        "tree-orphan-named", "inode {0} is listed as deleted but has a name",
        "SELECT DISTINCT o.inode FROM entries e CROSS JOIN orphans o ON o.inode = e.inode LIMIT ?",
        ("DELETE FROM orphans WHERE inode = ?1",)),
    RowCheck(
        "tree-inode-unreachable", "inode {0} has no name",
        "SELECT i.id FROM inodes i WHERE i.id <> 1 AND i.id NOT IN (SELECT inode FROM entries) "
        "AND NOT EXISTS (SELECT 1 FROM orphans o WHERE o.inode = i.id) LIMIT ?"),
    RowCheck(
        "tree-directory-cycle", "directory {0} cannot be reached from the root: it holds itself",
        _REACHED + "SELECT i.id FROM inodes i WHERE " + _DIRECTORY + " AND i.id NOT IN "
        "(SELECT id FROM reached) AND NOT EXISTS (SELECT 1 FROM orphans o WHERE o.inode = i.id) "
        "LIMIT ?"),
)

ATTRIBUTE_CHECKS = (
    RowCheck(
        "tree-symlink-lost", "symbolic link {0} has no target; it becomes an empty file",
        "SELECT id FROM inodes WHERE (mode & 61440) = 40960 AND "
        "ifnull(length(symlink), 0) NOT BETWEEN 1 AND 4095 LIMIT ?",
        ("UPDATE inodes SET mode = 33152, symlink = NULL, size = 0 WHERE id = ?1",),
        gives_up=True),
    RowCheck(
        "tree-symlink-stray", "inode {0} is no symbolic link but has a target",
        "SELECT id FROM inodes WHERE (mode & 61440) <> 40960 AND symlink IS NOT NULL LIMIT ?",
        ("UPDATE inodes SET symlink = NULL WHERE id = ?1",)),
    RowCheck(
        "tree-size-wrong", "inode {0} has size {1}, {2} is right",
        "SELECT id, size, wanted FROM (SELECT id, size, CASE (mode & 61440) WHEN 32768 THEN "
        "CASE WHEN size >= 0 THEN size ELSE ifnull((SELECT max(m.offset + m.len) FROM maps m "
        "WHERE m.inode = inodes.id), 0) END WHEN 40960 THEN ifnull(length(symlink), 0) ELSE 0 END "
        "AS wanted FROM inodes) WHERE size <> wanted LIMIT ?",
        ("UPDATE inodes SET size = ?3 WHERE id = ?1",)),
    RowCheck(
        "tree-nlink-wrong", "inode {0} has {1} links, {2} is right", _LINKS,
        ("UPDATE inodes SET nlink = ?3 WHERE id = ?1",)),
    RowCheck(
        "tree-xattr-without-inode", "inode {0} has extended attributes but is not there",
        "SELECT DISTINCT x.inode FROM xattrs x WHERE NOT EXISTS (SELECT 1 FROM inodes i "
        "WHERE i.id = x.inode) LIMIT ?",
        ("DELETE FROM xattrs WHERE inode = ?1",)),
)
