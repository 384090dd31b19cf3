"""What tables remember of rows is what the rows say, also after a change that was undone."""

from collections.abc import Callable

import pytest

from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.formats import SegmentEntry
from ecfs.metadata import ContentTables, Database, ExtentRow, StripeRow, TreeTables
from ecfs.metadata.database import Row
from ecfs.metadata.mapped import AHEAD_COUNT


class Undone(Exception):
    """Takes a change back."""


@pytest.fixture
def database() -> Database:
    return Database.in_memory()


@pytest.fixture
def tree(database: Database) -> TreeTables:
    tables = TreeTables(database)
    with database.change():
        tables.insert_root(ROOT_INODE, 0o40755, 0, 0, 1)
    return tables


def made(database: Database, tree: TreeTables) -> InodeId:
    inode = tree.new_inode()
    with database.change():
        tree.insert_inode(ROOT_INODE, inode, mode=0o100644, nlink=1, uid=0, gid=0, rdev=0, size=0,
                          now_ns=1, symlink=None)
    return inode


def test_an_attribute_is_seen_once_it_is_there(database: Database, tree: TreeTables) -> None:
    inode = made(database, tree)
    assert tree.xattr(inode, b"user.a") is None
    with database.change():
        tree.put_xattr(inode, b"user.a", b"x")
    assert tree.xattr(inode, b"user.a") == b"x"
    assert tree.xattr(inode, b"user.b") is None
    with database.change():
        assert tree.delete_xattr(inode, b"user.a")
    assert tree.xattr(inode, b"user.a") is None
    assert TreeTables(database).xattr(inode, b"user.a") is None


def test_an_attribute_whose_removal_is_undone_is_there_and_goes_with_its_inode(
        database: Database, tree: TreeTables) -> None:
    inode = made(database, tree)
    with database.change():
        tree.put_xattr(inode, b"user.a", b"x")
    with pytest.raises(Undone), database.change():
        tree.delete_xattr(inode, b"user.a")
        assert tree.xattr(inode, b"user.a") is None
        raise Undone
    with pytest.raises(Undone), database.change():
        tree.delete_inodes([inode])
        assert database.value("SELECT count(*) FROM xattrs") == 0
        raise Undone
    assert tree.xattr(inode, b"user.a") == b"x"
    with database.change():
        tree.delete_inodes([inode])
    assert database.value("SELECT count(*) FROM xattrs") == 0


def test_the_length_of_a_map_follows_its_rows(database: Database) -> None:
    tables = ContentTables(database)
    with database.change():
        tables.put_segment(SegmentEntry(1, 1, 1, 0, (bytes(16),), 4096))
        tables.add_stripe(StripeRow(1, 1, 0, 4096, bytes(32), bytes(32), 0))
        tables.add_extent(ExtentRow(1, 1, 0, 100, 100), birth=1)
        assert tables.mapped_len(7) == 0
        tables.map_range(7, 0, 100, 1)
        assert tables.mapped_len(7) == 100
    with pytest.raises(Undone), database.change():
        tables.unmap_range(7, 10, 30)
        assert tables.mapped_len(7) == 80
        raise Undone
    assert tables.mapped_len(7) == 100
    with database.change():
        assert tables.unmap_some(7, 10)
    assert tables.mapped_len(7) == 0


def test_several_that_go_through_files_in_order_are_told_of_some_at_once(
        database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the threads of `git status` do, each through its part."""
    tables = ContentTables(database)
    asked: list[str] = []
    value, rows = database.value, database.rows

    def counted(ask: Callable[..., object]) -> Callable[..., object]:
        def asking(statement: str, values: Row = ()) -> object:
            asked.append(statement)
            return ask(statement, values)

        return asking

    monkeypatch.setattr(database, "value", counted(value))
    monkeypatch.setattr(database, "rows", counted(rows))
    walks = [range(1000 * walker, 1000 * walker + 3 * AHEAD_COUNT) for walker in range(20)]
    for inodes in zip(*walks, strict=True):
        for inode in inodes:
            assert tables.mapped_len(inode) == 0
    assert len(asked) <= 20 * 5


def test_lengths_that_were_read_ahead_follow_their_rows(database: Database) -> None:
    tables = ContentTables(database)
    inodes = range(10, 10 + 3 * AHEAD_COUNT)
    with database.change():
        tables.put_segment(SegmentEntry(1, 1, 1, 0, (bytes(16),), 4096))
        tables.add_stripe(StripeRow(1, 1, 0, 4096, bytes(32), bytes(32), 0))
        tables.add_extent(ExtentRow(1, 1, 0, 100, 100), birth=1)
        for inode in inodes[::2]:
            tables.map_range(inode, 0, 100, 1)
    read = [tables.mapped_len(inode) for inode in inodes[:4]]
    assert read == [100, 0, 100, 0]
    with database.change():
        tables.unmap_range(inodes[4], 10, 30)
        tables.map_range(inodes[5], 0, 40, 1)
    assert [tables.mapped_len(inode) for inode in inodes[4:8]] == [80, 40, 100, 0]
    assert tables.mapped_len(inodes[-1] + 5) == 0
    assert [tables.mapped_len(inode) for inode in reversed(inodes[8:])] == [
        100 * ((inode - inodes[0]) % 2 == 0) for inode in reversed(inodes[8:])]
