"""The tables. Names and values that users choose are BLOBs; everything is STRICT.

`inodes` and `entries` are the tree; an inode number is never used twice. `inodes.parent` is the one
directory that holds a directory; for other inodes it is a hint: a directory that held a name of it.
`maps` says which bytes of a file are which bytes of which extent; `extents` says where an extent
lies. Only `extents` knows places, so an extent can move without touching a file.
"""

SCHEMA_VERSION = 1

TABLES = """
CREATE TABLE settings(
  name TEXT PRIMARY KEY,
  value ANY
) STRICT, WITHOUT ROWID;

CREATE TABLE inodes(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  parent INTEGER NOT NULL,
  mode INTEGER NOT NULL,
  nlink INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  gid INTEGER NOT NULL,
  rdev INTEGER NOT NULL DEFAULT 0,
  size INTEGER NOT NULL DEFAULT 0,
  atime_ns INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  ctime_ns INTEGER NOT NULL,
  btime_ns INTEGER NOT NULL,
  symlink BLOB
) STRICT;

CREATE TABLE entries(
  parent INTEGER NOT NULL,
  name BLOB NOT NULL,
  inode INTEGER NOT NULL,
  PRIMARY KEY(parent, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE xattrs(
  inode INTEGER NOT NULL,
  name BLOB NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY(inode, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE orphans(
  inode INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE maps(
  inode INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  len INTEGER NOT NULL,
  extent INTEGER NOT NULL,
  extent_offset INTEGER NOT NULL,
  PRIMARY KEY(inode, offset)
) STRICT, WITHOUT ROWID;

CREATE TABLE extents(
  id INTEGER PRIMARY KEY,
  stripe INTEGER,
  start INTEGER NOT NULL,
  len INTEGER NOT NULL,
  live INTEGER NOT NULL,
  birth INTEGER NOT NULL
) STRICT;

CREATE INDEX extents_of_stripe ON extents(stripe);

CREATE TABLE inline(
  extent INTEGER PRIMARY KEY,
  inode INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  written INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;

CREATE TABLE stripes(
  id INTEGER PRIMARY KEY,
  segment INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  body_len INTEGER NOT NULL,
  salt BLOB NOT NULL,
  digest BLOB NOT NULL,
  live INTEGER NOT NULL
) STRICT;

CREATE INDEX stripes_of_segment ON stripes(segment, offset);

CREATE TABLE segments(
  id INTEGER PRIMARY KEY,
  epoch INTEGER NOT NULL,
  data INTEGER NOT NULL,
  parity INTEGER NOT NULL,
  columns BLOB NOT NULL,
  len INTEGER NOT NULL
) STRICT;

CREATE TABLE missed(
  target BLOB NOT NULL,
  stripe INTEGER NOT NULL,
  PRIMARY KEY(target, stripe)
) STRICT, WITHOUT ROWID;

CREATE TABLE dying(
  inode INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE targets(
  id BLOB PRIMARY KEY,
  state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE history(
  seq INTEGER PRIMARY KEY,
  hash BLOB NOT NULL
) STRICT;
"""
