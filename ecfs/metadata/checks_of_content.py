"""What must hold of maps, extents, stripes and segments, as queries that find what does not.

See `rowcheck.RowCheck`. A stripe or extent that is of no use is deleted, and the rows that named it
are then what the next check finds, down to the map of the file, which gets a hole.
"""

from ecfs.metadata.rowcheck import RowCheck

# Length of a shard record and the bounds of a column, as in formats.column and base.limits; a test
# holds them together.
RECORD_LEN = "(104 + 32 * (g.data + g.parity) + s.body_len)"
_COLUMN_LEN_MAX = 67108864

_LOST_MAP = ("DELETE FROM maps WHERE inode = ?1 AND offset = ?2",)
_HOLE = "inode {0}: bytes {1} to {2} are lost"

MAP_CHECKS = (
    RowCheck(
        "content-map-invalid", "inode {0} has a map row of {2} bytes at {1}, which means nothing",
        "SELECT inode, offset, len FROM maps WHERE inode < 1 OR offset < 0 OR len <= 0 "
        "OR len > 9223372036854775807 - offset LIMIT ?",
        ("DELETE FROM maps WHERE inode = ?1 AND offset = ?2",)),
    RowCheck(
        "content-dying-alive", "inode {0} is there, but its content is listed to be dropped",
        "SELECT d.inode FROM dying d CROSS JOIN inodes i ON i.id = d.inode WHERE NOT EXISTS "
        "(SELECT 1 FROM orphans o WHERE o.inode = d.inode) LIMIT ?",
        ("DELETE FROM dying WHERE inode = ?1",)),
    RowCheck(
        "content-map-not-regular", "inode {0} is no regular file but has content",
        "SELECT DISTINCT m.inode FROM maps m CROSS JOIN inodes i ON i.id = m.inode "
        "WHERE (i.mode & 61440) <> 32768 LIMIT ?"),
)

CONTENT_CHECKS = (
    RowCheck(
        "content-map-overlap", "inode {0}: map rows at {1} and {3} overlap, the later one is kept",
        "SELECT inode, offset, len, following, following + following_len FROM (SELECT inode, "
        "offset, len, lead(offset) OVER files AS following, lead(len) OVER files AS following_len "
        "FROM maps WINDOW files AS (PARTITION BY inode ORDER BY offset)) "
        "WHERE following < offset + len LIMIT ?",
        ("INSERT OR IGNORE INTO maps SELECT inode, ?5, offset + len - ?5, extent, "
         "extent_offset + ?5 - offset FROM maps WHERE inode = ?1 AND offset = ?2 "
         "AND offset + len > ?5",
         "UPDATE maps SET len = ?4 - ?2 WHERE inode = ?1 AND offset = ?2"),
        gives_up=True),
    RowCheck(
        "content-map-past-size", "inode {0}: {2} bytes at {1} lie past its size {3}",
        "SELECT m.inode, m.offset, m.len, i.size FROM maps m CROSS JOIN inodes i "
        "ON i.id = m.inode WHERE m.offset + m.len > i.size LIMIT ?",
        ("DELETE FROM maps WHERE inode = ?1 AND offset = ?2 AND offset >= ?4",
         "UPDATE maps SET len = ?4 - offset WHERE inode = ?1 AND offset = ?2")),
    RowCheck(
        "content-inline-stray", "bytes of extent {1} are in the database, where they do not belong",
        "SELECT 0, n.extent FROM inline n LEFT JOIN extents e ON e.id = n.extent "
        "WHERE e.id IS NULL OR e.stripe IS NOT NULL LIMIT ?",
        ("DELETE FROM inline WHERE extent = ?2",)),
    RowCheck(
        "content-inline-length", "extent {1} has length {2}, but {3} bytes are in the database",
        "SELECT n.inode, e.id, e.len, length(n.data) FROM inline n CROSS JOIN extents e "
        "ON e.id = n.extent WHERE e.stripe IS NULL AND e.len <> length(n.data) LIMIT ?",
        ("UPDATE extents SET len = ?4 WHERE id = ?2",)),
)

SEGMENT_CHECKS = (
    RowCheck(
        "content-segment-missing", "segment {1} has stripes but no row",
        "SELECT DISTINCT 0, s.segment FROM stripes s WHERE NOT EXISTS "
        "(SELECT 1 FROM segments g WHERE g.id = s.segment) LIMIT ?"),
    RowCheck(
        "content-segment-lost", "nothing is known of segment {1}; its {2} stripes are given up",
        "SELECT 0, s.segment, count(*) FROM stripes s WHERE NOT EXISTS "
        "(SELECT 1 FROM segments g WHERE g.id = s.segment) GROUP BY s.segment LIMIT ?",
        ("DELETE FROM stripes WHERE segment = ?2",), gives_up=True),
    RowCheck(
        "content-stripe-invalid", "stripe {1} has an impossible place, length, salt or digest",
        "SELECT 0, s.id FROM stripes s CROSS JOIN segments g ON g.id = s.segment WHERE "
        f"s.offset < 4096 OR s.offset % 4096 OR s.body_len <= 0 OR {RECORD_LEN} % 4096 "
        f"OR s.offset + {RECORD_LEN} > {_COLUMN_LEN_MAX} "
        "OR length(s.salt) <> 32 OR length(s.digest) <> 32 LIMIT ?",
        ("DELETE FROM stripes WHERE id = ?2",), gives_up=True),
    RowCheck(
        "content-stripe-overlap", "stripes {1} and {2} overlap in segment {3}; "
        "the one that cannot be read is given up",
        "SELECT 0, id, other, segment FROM (SELECT s.id AS id, s.segment AS segment, "
        f"s.offset + {RECORD_LEN} AS finish, lead(s.offset) OVER places AS following, "
        "lead(s.id) OVER places AS other FROM stripes s JOIN segments g ON g.id = s.segment "
        "WINDOW places AS (PARTITION BY s.segment ORDER BY s.offset)) "
        "WHERE following < finish LIMIT ?", gives_up=True),
    RowCheck(
        "content-segment-short", "segment {1} has length {2}, its stripes reach to {3}",
        f"SELECT 0, g.id, g.len, max(s.offset + {RECORD_LEN}) AS reach FROM segments g "
        "CROSS JOIN stripes s ON s.segment = g.id GROUP BY g.id HAVING reach > g.len LIMIT ?",
        ("UPDATE segments SET len = ?4 WHERE id = ?2",)),
)

EXTENT_CHECKS = (
    RowCheck(
        "content-dying-lost", "the deleted inode {0} names extent {2}, which is of no use",
        "SELECT m.inode, m.offset, m.extent FROM dying d CROSS JOIN maps m ON m.inode = d.inode "
        "LEFT JOIN extents e ON e.id = m.extent WHERE e.id IS NULL OR m.extent_offset < 0 "
        "OR m.extent_offset + m.len > e.len LIMIT ?", _LOST_MAP),
    RowCheck(
        "content-stripe-missing", _HOLE + ": stripe {3} is not there",
        "SELECT m.inode, m.offset, m.offset + m.len, e.stripe FROM maps m CROSS JOIN extents e "
        "ON e.id = m.extent WHERE e.stripe IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM stripes s WHERE s.id = e.stripe) LIMIT ?", _LOST_MAP, gives_up=True),
    RowCheck(
        "content-inline-missing", _HOLE + ": they were to be in the database",
        "SELECT m.inode, m.offset, m.offset + m.len FROM maps m CROSS JOIN extents e "
        "ON e.id = m.extent WHERE e.stripe IS NULL AND NOT EXISTS "
        "(SELECT 1 FROM inline n WHERE n.extent = e.id) LIMIT ?", _LOST_MAP, gives_up=True),
    RowCheck(
        "content-extent-missing", _HOLE + ": extent {3} is not there",
        "SELECT m.inode, m.offset, m.offset + m.len, m.extent FROM maps m WHERE NOT EXISTS "
        "(SELECT 1 FROM extents e WHERE e.id = m.extent) LIMIT ?", _LOST_MAP, gives_up=True),
    RowCheck(
        "content-map-outside-extent", "inode {0}: some of the {2} bytes at {1} lie outside of "
        "their extent",
        "SELECT m.inode, m.offset, m.len, m.extent_offset, e.len FROM maps m CROSS JOIN extents e "
        "ON e.id = m.extent WHERE m.extent_offset < 0 OR m.extent_offset + m.len > e.len LIMIT ?",
        ("DELETE FROM maps WHERE inode = ?1 AND offset = ?2 "
         "AND (extent_offset < 0 OR extent_offset >= ?5)",
         "UPDATE maps SET len = ?5 - extent_offset WHERE inode = ?1 AND offset = ?2"),
        gives_up=True),
    RowCheck(
        "content-extent-unused", "no file shows extent {1}",
        "SELECT 0, e.id FROM extents e WHERE e.id NOT IN (SELECT extent FROM maps) LIMIT ?",
        ("DELETE FROM extents WHERE id = ?2", "DELETE FROM inline WHERE extent = ?2")),
    RowCheck(
        "content-extent-live-wrong", "extent {1} counts {2} live bytes, {3} is right",
        "WITH shown AS MATERIALIZED (SELECT extent, sum(len) AS n FROM maps GROUP BY extent) "
        "SELECT 0, e.id, e.live, shown.n FROM shown CROSS JOIN extents e ON e.id = shown.extent "
        "WHERE e.live <> shown.n LIMIT ?",
        ("UPDATE extents SET live = ?4 WHERE id = ?2",)),
    RowCheck(
        "content-stripe-unused", "stripe {1} holds no extent",
        "SELECT 0, s.id FROM stripes s WHERE NOT EXISTS "
        "(SELECT 1 FROM extents e WHERE e.stripe = s.id) LIMIT ?",
        ("DELETE FROM stripes WHERE id = ?2", "DELETE FROM missed WHERE stripe = ?2")),
    RowCheck(
        "content-stripe-live-wrong", "stripe {1} counts {2} live bytes, {3} is right",
        "SELECT 0, s.id, s.live, sum(e.live) AS wanted FROM stripes s CROSS JOIN extents e "
        "ON e.stripe = s.id GROUP BY s.id HAVING s.live <> wanted LIMIT ?",
        ("UPDATE stripes SET live = ?4 WHERE id = ?2",)),
    RowCheck(
        "content-missed-stray", "stripe {1}, of which a shard was missed, is not there",
        "SELECT DISTINCT 0, m.stripe FROM missed m WHERE NOT EXISTS "
        "(SELECT 1 FROM stripes s WHERE s.id = m.stripe) LIMIT ?",
        ("DELETE FROM missed WHERE stripe = ?2",)),
)
