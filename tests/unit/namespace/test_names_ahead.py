"""Names that are looked up in order are read some at once, and never told as they were before."""

import errno
import itertools
import random
from collections.abc import Callable

import pytest

from ecfs.base.errors import Damage, FsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.metadata import TreeTables
from ecfs.metadata.database import Row
from ecfs.namespace import Tree
from ecfs.namespace.names_ahead import DIRECTORIES_MAX

NAMES = [b"name%04d" % number for number in range(300)]


class Counted:
    """How often the tables were asked for one name, and for many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.one_count = self.many_count = self.inode_count = 0
        one, many = TreeTables.entry_row, TreeTables.entry_rows
        inode = TreeTables.entry

        def entry(tables: TreeTables, parent: InodeId, name: bytes) -> InodeId | None:
            self.inode_count += 1
            return inode(tables, parent, name)

        def entry_row(tables: TreeTables, parent: InodeId, name: bytes) -> Row | None:
            self.one_count += 1
            return one(tables, parent, name)

        def entry_rows(tables: TreeTables, parent: InodeId, name: bytes,
                       limit: int) -> dict[bytes, Row]:
            self.many_count += 1
            return many(tables, parent, name, limit)

        monkeypatch.setattr(TreeTables, "entry", entry)
        monkeypatch.setattr(TreeTables, "entry_row", entry_row)
        monkeypatch.setattr(TreeTables, "entry_rows", entry_rows)


@pytest.fixture
def full(tree: Tree) -> Tree:
    for name in NAMES:
        tree.create(ROOT_INODE, name, mode=0o100644, uid=0, gid=0)
    return tree


def found(tree: Tree, name: bytes) -> InodeId | None:
    attributes = tree.find(ROOT_INODE, name)
    return None if attributes is None else attributes.inode


def test_names_in_order_are_read_some_at_once(full: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    inodes = [found(full, name) for name in NAMES]
    assert inodes == sorted(set(filter(None, inodes))) and len(inodes) == len(NAMES)
    counted = Counted(monkeypatch)
    assert [found(full, name) for name in NAMES] == inodes
    assert counted.one_count + counted.many_count < len(NAMES) // 20


def small_directories(tree: Tree, count: int) -> list[InodeId]:
    folders = []
    for number in range(count):
        folder = tree.create(ROOT_INODE, b"d%d" % number, mode=0o40755, uid=0, gid=0).inode
        for name in NAMES[:12]:
            tree.create(folder, name, mode=0o100644, uid=0, gid=0)
        folders.append(folder)
    return folders


def look_up(tree: Tree, folder: InodeId, names: list[bytes]) -> None:
    for name in names:
        found = tree.find(folder, name)
        assert found is not None and found == tree.attributes(found.inode)


def after_it_has_paid(tree: Tree, count: int) -> list[InodeId]:
    """So many directories that nobody has looked through yet, as others were, name by name."""
    folders = small_directories(tree, 10 + count)
    for folder in folders[:10]:
        look_up(tree, folder, NAMES[:12])
    return folders[10:]


def test_where_it_pays_names_are_read_at_the_first_of_a_directory(
        full: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = after_it_has_paid(full, 10)
    counted = Counted(monkeypatch)
    for folder in folders:
        look_up(full, folder, NAMES[:12])
    assert (counted.one_count, counted.many_count) == (0, 10)


def test_where_it_does_not_pay_any_more_one_is_read_at_a_time(
        full: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = after_it_has_paid(full, 30)
    counted = Counted(monkeypatch)
    for folder in folders:
        look_up(full, folder, [NAMES[3]])
    assert counted.many_count <= 5 and counted.one_count >= 25


@pytest.mark.parametrize("order", [
    lambda: random.Random(1).sample(NAMES, len(NAMES)), lambda: NAMES[::-1], lambda: NAMES[::50],
    lambda: itertools.chain.from_iterable(zip(NAMES[::9], NAMES[5::9], strict=False))])
def test_who_looks_here_and_there_gets_one_at_a_time(
        full: Tree, monkeypatch: pytest.MonkeyPatch,
        order: Callable[[], list[bytes]]) -> None:
    names = list(order())
    counted = Counted(monkeypatch)
    assert None not in [found(full, name) for name in names]
    assert counted.many_count <= len(names) // 4


def test_several_may_look_through_directories_of_their_own(
        full: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are kept account of; that of one more takes the place of the oldest."""
    folders = [full.create(ROOT_INODE, b"d%d" % number, mode=0o040755, uid=0, gid=0).inode
               for number in range(DIRECTORIES_MAX + 1)]
    for folder in folders:
        for name in NAMES[:80]:
            full.create(folder, name, mode=0o100644, uid=0, gid=0)
    counted = Counted(monkeypatch)
    for name in NAMES[:80]:
        for folder in folders[:10]:
            assert full.find(folder, name) is not None
    assert counted.one_count + counted.many_count < 10 * 80 // 10
    for folder in folders:
        for name in NAMES[:80]:
            assert full.find(folder, name) is not None
    assert len(full._names_ahead._walks) == DIRECTORIES_MAX


def test_names_that_are_not_there_are_told_so(full: Tree) -> None:
    for name in NAMES:
        assert found(full, name) is not None
        assert found(full, name + b"x") is None
    with pytest.raises(FsError):
        full.find(ROOT_INODE, b"name0299" + b"n" * 300)


def test_every_change_is_seen_at_once(full: Tree) -> None:
    changes: list[Callable[[bytes], object]] = [
        lambda name: full.unlink(ROOT_INODE, name),
        lambda name: full.set_attributes(full.lookup(ROOT_INODE, name).inode, mode=0o600),
        lambda name: full.rename(ROOT_INODE, name, ROOT_INODE, name + b"renamed", 0),
        lambda name: full.create(ROOT_INODE, name + b"new", mode=0o100600, uid=3, gid=4)]
    for change in changes:
        for name in NAMES[:20]:
            found(full, name)
        there = [name for name in NAMES[20:] if found(full, name) is not None]
        for name in NAMES[:20]:
            found(full, name)
        change(there[0])
        now = full.find(ROOT_INODE, there[0])
        fresh = Tree(full._database, full._clock).find(ROOT_INODE, there[0])
        assert now == fresh
        assert found(full, there[0] + b"new") == (
            None if change is not changes[3] else fresh and full.lookup(
                ROOT_INODE, there[0] + b"new").inode)


def test_what_was_rolled_back_is_not_told(full: Tree) -> None:
    for name in NAMES[:20]:
        found(full, name)
    with pytest.raises(ZeroDivisionError), full._database.change():
        full.unlink(ROOT_INODE, NAMES[20])
        for name in NAMES[:30]:
            assert (found(full, name) is None) is (name == NAMES[20])
        raise ZeroDivisionError
    assert found(full, NAMES[20]) is not None


def test_a_lost_row_that_nobody_asked_for_costs_nobody_else_the_answer(
        full: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(tables: TreeTables, parent: InodeId, name: bytes, limit: int) -> dict[bytes, Row]:
        raise Damage("a page is lost")

    monkeypatch.setattr(TreeTables, "entry_rows", lost)
    assert None not in [found(full, name) for name in NAMES]


def test_the_same_names_in_two_directories_are_told_apart(full: Tree) -> None:
    other = full.create(ROOT_INODE, b"other", mode=0o040755, uid=0, gid=0).inode
    there = {name: full.create(other, name, mode=0o100644, uid=0, gid=0).inode
             for name in NAMES[:50]}
    for name in NAMES[:20]:
        found(full, name)
    for name in NAMES[20:50]:
        attributes = full.find(other, name)
        assert attributes is not None and attributes.inode == there[name]
    assert full.find(other, NAMES[60]) is None


def test_a_change_of_what_was_just_looked_up_asks_no_more(
        full: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """As each does that comes through a kernel."""
    counted = Counted(monkeypatch)
    for number, name in enumerate(NAMES[:50]):
        assert found(full, name + b"new") is None
        created = full.create(ROOT_INODE, name + b"new", mode=0o100644, uid=0, gid=0).inode
        assert found(full, name) is not None
        assert found(full, name + b"newer") is None
        full.rename(ROOT_INODE, name, ROOT_INODE, name + b"newer", 0)
        assert found(full, name + b"new") == created
        full.unlink(ROOT_INODE, name + b"new")
        folder = full.create(ROOT_INODE, b"d%d" % number, mode=0o040755, uid=0, gid=0).inode
        assert found(full, b"d%d" % number) == folder
        full.rmdir(ROOT_INODE, b"d%d" % number)
    assert counted.inode_count == 50, "that of the directory, which nobody looked up before"
    assert [name for name, _, _ in full.list_directory(ROOT_INODE)] == sorted(
        [name + b"newer" for name in NAMES[:50]] + NAMES[50:])


def test_a_change_of_what_was_looked_up_before_another_asks_again(
        full: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (b"x", b"y"):
        assert found(full, name) is None
    full.create(ROOT_INODE, b"x", mode=0o100644, uid=0, gid=0)
    full.link(full.lookup(ROOT_INODE, b"x").inode, ROOT_INODE, b"y")
    for name in (b"x", b"y"):
        with pytest.raises(FsError) as caught:
            full.create(ROOT_INODE, name, mode=0o100644, uid=0, gid=0)
        assert caught.value.errno == errno.EEXIST
    assert found(full, b"x") == found(full, b"y")
    full.unlink(ROOT_INODE, b"x")
    with pytest.raises(FsError):
        full.unlink(ROOT_INODE, b"x")
    assert found(full, b"y") is not None
    with pytest.raises(ZeroDivisionError), full._database.change():
        full.unlink(ROOT_INODE, b"y")
        assert found(full, b"y") is None
        raise ZeroDivisionError
    full.unlink(ROOT_INODE, b"y")
    folder = full.create(ROOT_INODE, b"folder", mode=0o040755, uid=0, gid=0).inode
    counted = Counted(monkeypatch)
    assert found(full, NAMES[0]) is not None
    assert full.find(folder, NAMES[1]) is None
    full.create(folder, NAMES[0], mode=0o100644, uid=0, gid=0)
    assert counted.inode_count == 1, "of another directory"


@pytest.mark.parametrize("looked_up", [0, 1, 20])
def test_a_name_without_an_inode_is_no_free_name(full: Tree, looked_up: int) -> None:
    """Only a fault makes one, and fsck takes it away: it is not there and cannot be made."""
    lost = found(full, NAMES[20])
    assert lost is not None
    with full._database.change():
        full._database.run("DELETE FROM inodes WHERE id=?", (lost,))
    full._cache.drop(lost)
    for name in NAMES[21 - looked_up : 21]:
        assert (found(full, name) is None) == (name == NAMES[20])
    with pytest.raises(FsError) as made:
        full.create(ROOT_INODE, NAMES[20], mode=0o100644, uid=0, gid=0)
    assert made.value.errno == errno.EEXIST
    assert looked_up == 0 or found(full, NAMES[20]) is None
    for old, new in ((NAMES[20], b"new"), (NAMES[1], NAMES[20])):
        with pytest.raises(FsError) as renamed:
            full.rename(ROOT_INODE, old, ROOT_INODE, new, 0)
        assert renamed.value.errno == errno.ENOENT
