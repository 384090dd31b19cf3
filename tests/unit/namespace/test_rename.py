"""Every rename: kinds of source and target x same or other parent x flags."""

import errno
import itertools
import stat
from dataclasses import dataclass

import pytest

from ecfs.base.errors import FsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.namespace import RENAME_EXCHANGE, RENAME_NOREPLACE, Tree
from ecfs.namespace.renaming import Renamed

SOURCES = ("none", "file", "empty", "full")
TARGETS = ("none", "file", "empty", "full")


@dataclass(frozen=True)
class Place:
    old: InodeId
    new: InodeId


def make(tree: Tree, parent: InodeId, name: bytes, kind: str) -> InodeId | None:
    if kind == "none":
        return None
    mode = stat.S_IFREG | 0o644 if kind == "file" else stat.S_IFDIR | 0o755
    inode = tree.create(parent, name, mode=mode, uid=0, gid=0).inode
    if kind == "full":
        tree.create(inode, b"inside", mode=stat.S_IFREG | 0o644, uid=0, gid=0)
    return inode


def expected_errno(source: str, target: str, flags: int) -> int:
    if source == "none":
        return errno.ENOENT
    if flags == RENAME_NOREPLACE and target != "none":
        return errno.EEXIST
    if flags == RENAME_EXCHANGE:
        return errno.ENOENT if target == "none" else 0
    if target == "none":
        return 0
    if source != "file" and target == "file":
        return errno.ENOTDIR
    if source == "file" and target != "file":
        return errno.EISDIR
    return errno.ENOTEMPTY if target == "full" else 0


def links(tree: Tree, inode: InodeId) -> int:
    subdirectories = sum(stat.S_ISDIR(mode) for _, _, mode in tree.list_directory(inode))
    return 2 + subdirectories


@pytest.mark.parametrize(
    ("source", "target", "same", "flags"),
    list(itertools.product(SOURCES, TARGETS, (True, False),
                           (0, RENAME_NOREPLACE, RENAME_EXCHANGE))))
def test_every_rename(tree: Tree, source: str, target: str, same: bool, flags: int) -> None:
    old = tree.create(ROOT_INODE, b"old", mode=stat.S_IFDIR | 0o755, uid=0, gid=0).inode
    new = old if same else tree.create(
        ROOT_INODE, b"new", mode=stat.S_IFDIR | 0o755, uid=0, gid=0).inode
    source_inode = make(tree, old, b"s", source)
    target_inode = make(tree, new, b"t", target)
    before = {parent: tree.list_directory(parent) for parent in (old, new)}
    wanted = expected_errno(source, target, flags)
    if wanted:
        with pytest.raises(FsError) as caught:
            tree.rename(old, b"s", new, b"t", flags)
        assert caught.value.errno == wanted
        assert {parent: tree.list_directory(parent) for parent in (old, new)} == before
        return
    assert source_inode is not None
    ctime_ns = tree.attributes(source_inode).ctime_ns
    victim = tree.rename(old, b"s", new, b"t", flags).victim
    assert tree.lookup(new, b"t").inode == source_inode
    assert tree.attributes(source_inode).ctime_ns > ctime_ns
    for parent in {old, new}:
        assert tree.attributes(parent).nlink == links(tree, parent)
        assert tree.attributes(parent).mtime_ns == tree.attributes(source_inode).ctime_ns
    if source != "file":
        assert tree.parent_of(source_inode) == new
    if flags == RENAME_EXCHANGE:
        assert victim is None
        assert target_inode is not None
        assert tree.lookup(old, b"s").inode == target_inode
        if target != "file":
            assert tree.parent_of(target_inode) == old
        return
    with pytest.raises(FsError):
        tree.lookup(old, b"s")
    if target_inode is None:
        assert victim is None
        assert tree.orphans(9) == []
    else:
        assert victim is not None
        assert (victim.inode, victim.nlink) == (target_inode, 0)
        assert tree.orphans(9) == [target_inode]


def directory(tree: Tree, parent: InodeId, name: bytes) -> InodeId:
    return tree.create(parent, name, mode=stat.S_IFDIR | 0o755, uid=0, gid=0).inode


@pytest.mark.parametrize("flags", [0, RENAME_NOREPLACE])
def test_a_directory_never_moves_beneath_itself(tree: Tree, flags: int) -> None:
    a = directory(tree, ROOT_INODE, b"a")
    b = directory(tree, a, b"b")
    c = directory(tree, b, b"c")
    for parent in (a, b, c):
        with pytest.raises(FsError) as caught:
            tree.rename(ROOT_INODE, b"a", parent, b"new", flags)
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(FsError) as caught:
        tree.rename(b, b"c", ROOT_INODE, b"a", 0)
    assert caught.value.errno == errno.ENOTEMPTY
    for old, old_name, new, new_name in ((b, b"c", ROOT_INODE, b"a"), (ROOT_INODE, b"a", b, b"c")):
        with pytest.raises(FsError) as caught:
            tree.rename(old, old_name, new, new_name, RENAME_EXCHANGE)
        assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("flags", [0, RENAME_EXCHANGE])
def test_two_names_of_one_inode_stay(tree: Tree, flags: int) -> None:
    inode = tree.create(ROOT_INODE, b"a", mode=0o644, uid=0, gid=0).inode
    tree.link(inode, ROOT_INODE, b"b")
    before = tree.attributes(inode)
    assert tree.rename(ROOT_INODE, b"a", ROOT_INODE, b"b", flags) == Renamed()
    assert [name for name, _, _ in tree.list_directory(ROOT_INODE)] == [b"a", b"b"]
    assert tree.attributes(inode) == before
    assert tree.rename(ROOT_INODE, b"a", ROOT_INODE, b"a", flags) == Renamed()


def test_a_victim_with_another_name_is_no_orphan(tree: Tree) -> None:
    victim = tree.create(ROOT_INODE, b"v", mode=0o644, uid=0, gid=0).inode
    tree.link(victim, ROOT_INODE, b"w")
    tree.create(ROOT_INODE, b"s", mode=0o644, uid=0, gid=0)
    found = tree.rename(ROOT_INODE, b"s", ROOT_INODE, b"v", 0).victim
    assert found is not None
    assert (found.inode, found.nlink) == (victim, 1)
    assert tree.orphans(9) == []


@pytest.mark.parametrize("flags", [3, 6, 8, -1])
def test_unknown_flags(tree: Tree, flags: int) -> None:
    with pytest.raises(FsError) as caught:
        tree.rename(ROOT_INODE, b"a", ROOT_INODE, b"b", flags)
    assert caught.value.errno == errno.EINVAL


def test_nothing_enters_a_removed_directory(tree: Tree) -> None:
    gone = directory(tree, ROOT_INODE, b"gone")
    tree.create(ROOT_INODE, b"s", mode=0o644, uid=0, gid=0)
    tree.rmdir(ROOT_INODE, b"gone")
    with pytest.raises(FsError) as caught:
        tree.rename(ROOT_INODE, b"s", gone, b"t", 0)
    assert caught.value.errno == errno.ENOENT
