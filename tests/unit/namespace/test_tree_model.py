"""The tree against a model made of dictionaries, errors included."""

import errno
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from ecfs.base.errors import FsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.metadata.database import Database
from ecfs.namespace import Tree

NAMES = st.sampled_from([b"a", b"b", b"c", b"\xff\x01", b"."])
KINDS = st.sampled_from([stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK,
                         stat.S_IFBLK])
XATTRS = st.sampled_from([b"user.a", b"trusted.b", b"security.c", b"system.d", b"user."])


class TickingClock:
    def __init__(self) -> None:
        self.now_ns = 1_000

    def wall_ns(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


@dataclass(eq=False)
class Node:
    mode: int
    uid: int
    gid: int
    rdev: int = 0
    size: int = 0
    nlink: int = 1
    target: bytes | None = None
    entries: dict[bytes, "Node"] = field(default_factory=dict)
    parent: "Node | None" = None
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    dropped: bool = False

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def holds(self, other: "Node | None") -> bool:
        while other is not None:
            if other is self:
                return True
            other = other.parent
        return False


def check_parent(parent: Node) -> None:
    if parent.dropped:
        raise FsError(errno.ENOENT)
    if not parent.is_directory:
        raise FsError(errno.ENOTDIR)


def find(parent: Node, name: bytes) -> Node:
    check_parent(parent)
    if name == b".":
        raise FsError(errno.EINVAL)
    if name not in parent.entries:
        raise FsError(errno.ENOENT)
    return parent.entries[name]


def unname(parent: Node, name: bytes) -> Node:
    victim = parent.entries.pop(name)
    if victim.is_directory:
        victim.nlink = 0
        parent.nlink -= 1
    else:
        victim.nlink -= 1
    return victim


Known = tuple[InodeId, Node]
Result = TypeVar("Result")


class TreeModel(RuleBasedStateMachine):
    nodes: Bundle[Known] = Bundle("nodes")

    def __init__(self) -> None:
        super().__init__()
        self.database = Database.in_memory()
        self.tree = Tree(self.database, TickingClock(), cache_count_max=6)
        self.tree.format_root(5, 6, 0o755)
        self.root = Node(stat.S_IFDIR | 0o755, 5, 6, nlink=2)
        self.ids: dict[InodeId, Node] = {ROOT_INODE: self.root}
        self.seen_ids = {ROOT_INODE}

    @initialize(target=nodes)
    def start(self) -> Known:
        return ROOT_INODE, self.root

    @initialize(postpones=st.booleans())
    def promise(self, postpones: bool) -> None:
        """Changes wait until somebody looks, which the invariant does last."""
        self.database.promises.postpones = postpones

    def both(self, real: Callable[[], Result], model: Callable[[], object]) -> Result | None:
        """Run both: the same errno, or none from either."""
        expected = 0
        try:
            model()
        except FsError as error:
            expected = error.errno
        try:
            result = real()
        except FsError as error:
            assert error.errno == expected, (errno.errorcode[error.errno], expected)
            return None
        assert not expected, errno.errorcode[expected]
        return result

    @rule(target=nodes, parent=nodes, name=NAMES, kind=KINDS, bits=st.integers(0, 0o7777),
          gid=st.integers(0, 3), rdev=st.integers(0, 9))
    def create(self, parent: Known, name: bytes, kind: int, bits: int, gid: int,
               rdev: int) -> Known | MultipleResults[Known]:
        made: list[Node] = []
        target = b"to" if kind == stat.S_IFLNK else None

        def model() -> None:
            directory = parent[1]
            check_parent(directory)
            if name == b"." or name in directory.entries:
                raise FsError(errno.EEXIST)
            if not directory.nlink:
                raise FsError(errno.ENOENT)
            node = Node(kind | bits, 7, gid, parent=directory, target=target)
            if directory.mode & stat.S_ISGID:
                node.gid = directory.gid
                if node.is_directory:
                    node.mode |= stat.S_ISGID
            node.rdev = rdev if kind == stat.S_IFBLK else 0
            node.size = len(target or b"")
            if node.is_directory:
                node.nlink = 2
                directory.nlink += 1
            directory.entries[name] = node
            made.append(node)

        created = self.both(lambda: self.tree.create(
            parent[0], name, mode=kind | bits, uid=7, gid=gid, rdev=rdev, symlink=target), model)
        if created is None:
            return multiple()
        assert created.inode not in self.seen_ids, "an inode number was used twice"
        self.seen_ids.add(created.inode)
        self.ids[created.inode] = made[0]
        return created.inode, made[0]

    @rule(node=nodes, parent=nodes, name=NAMES)
    def link(self, node: Known, parent: Known, name: bytes) -> None:
        def model() -> None:
            check_parent(parent[1])
            if name == b".":
                raise FsError(errno.EEXIST)
            if node[1].dropped:
                raise FsError(errno.ENOENT)
            if name in parent[1].entries:
                raise FsError(errno.EEXIST)
            if node[1].is_directory:
                raise FsError(errno.EPERM)
            if not node[1].nlink or not parent[1].nlink:
                raise FsError(errno.ENOENT)
            parent[1].entries[name] = node[1]
            node[1].nlink += 1

        self.both(lambda: self.tree.link(node[0], parent[0], name), model)

    @rule(parent=nodes, name=NAMES)
    def unlink(self, parent: Known, name: bytes) -> None:
        def model() -> None:
            if find(parent[1], name).is_directory:
                raise FsError(errno.EISDIR)
            unname(parent[1], name)

        self.both(lambda: self.tree.unlink(parent[0], name), model)

    @rule(parent=nodes, name=NAMES)
    def rmdir(self, parent: Known, name: bytes) -> None:
        def model() -> None:
            victim = find(parent[1], name)
            if not victim.is_directory:
                raise FsError(errno.ENOTDIR)
            if victim.entries:
                raise FsError(errno.ENOTEMPTY)
            unname(parent[1], name)

        self.both(lambda: self.tree.rmdir(parent[0], name), model)

    @rule(old=nodes, old_name=NAMES, new=nodes, new_name=NAMES,
          flags=st.sampled_from([0, 0, 0, 1, 2, 2, 3, 6]))
    def rename(self, old: Known, old_name: bytes, new: Known, new_name: bytes,
               flags: int) -> None:
        self.both(lambda: self.tree.rename(old[0], old_name, new[0], new_name, flags),
                  lambda: self.model_rename(old[1], old_name, new[1], new_name, flags))

    def model_rename(self, old: Node, old_name: bytes, new: Node, new_name: bytes,
                     flags: int) -> None:
        if flags > 2:
            raise FsError(errno.EINVAL)
        check_parent(old)
        check_parent(new)
        if b"." in (old_name, new_name):
            raise FsError(errno.EINVAL)
        source = find(old, old_name)
        target = new.entries.get(new_name)
        if target is None and not new.nlink:
            raise FsError(errno.ENOENT)
        if target is not None and flags == 1:
            raise FsError(errno.EEXIST)
        if target is None and flags == 2:
            raise FsError(errno.ENOENT)
        if source.is_directory and source.holds(new):
            raise FsError(errno.EINVAL)
        if target is not None and target.is_directory and target.holds(old):
            raise FsError(errno.EINVAL if flags == 2 else errno.ENOTEMPTY)
        if target is source:
            return
        if target is not None and flags != 2:
            if source.is_directory and not target.is_directory:
                raise FsError(errno.ENOTDIR)
            if target.is_directory and not source.is_directory:
                raise FsError(errno.EISDIR)
            if target.entries:
                raise FsError(errno.ENOTEMPTY)
            unname(new, new_name)
        del old.entries[old_name]
        self.place(new, new_name, source, old)
        if flags == 2 and target is not None:
            self.place(old, old_name, target, new)

    @staticmethod
    def place(parent: Node, name: bytes, node: Node, came_from: Node) -> None:
        parent.entries[name] = node
        if node.is_directory:
            node.parent = parent
            came_from.nlink -= 1
            parent.nlink += 1

    @rule(node=nodes, mode=st.none() | st.integers(0, 0o7777), uid=st.none() | st.integers(0, 3),
          size=st.none() | st.integers(-1, 5000))
    def set_attributes(self, node: Known, mode: int | None, uid: int | None,
                       size: int | None) -> None:
        def model() -> None:
            it = node[1]
            if it.dropped:
                raise FsError(errno.ENOENT)
            if size is not None and not stat.S_ISREG(it.mode):
                raise FsError(errno.EISDIR if it.is_directory else errno.EINVAL)
            if size is not None and size < 0:
                raise FsError(errno.EINVAL)
            if mode is not None:
                it.mode = stat.S_IFMT(it.mode) | mode
            elif uid is not None and not it.is_directory:
                it.mode &= ~(0o6000 if it.mode & 0o010 else 0o4000)
            it.uid = it.uid if uid is None else uid
            it.size = it.size if size is None else size

        self.both(lambda: self.tree.set_attributes(node[0], mode=mode, uid=uid, size=size), model)

    @rule(node=nodes, name=XATTRS, value=st.binary(max_size=3), flags=st.integers(0, 4))
    def set_xattr(self, node: Known, name: bytes, value: bytes, flags: int) -> None:
        def model() -> None:
            if node[1].dropped:
                raise FsError(errno.ENOENT)
            known = node[1].xattrs
            check_xattr(name)
            if flags > 3:
                raise FsError(errno.EINVAL)
            if name in known and flags & 1:
                raise FsError(errno.EEXIST)
            if name not in known and flags & 2:
                raise FsError(errno.ENODATA)
            known[name] = value

        self.both(lambda: self.tree.set_xattr(node[0], name, value, flags), model)

    @rule(node=nodes, name=XATTRS)
    def remove_xattr(self, node: Known, name: bytes) -> None:
        def model() -> None:
            if node[1].dropped:
                raise FsError(errno.ENOENT)
            check_xattr(name)
            if node[1].xattrs.pop(name, None) is None:
                raise FsError(errno.ENODATA)

        self.both(lambda: self.tree.remove_xattr(node[0], name), model)

    @rule(node=nodes)
    def drop_orphan(self, node: Known) -> None:
        def model() -> None:
            if node[1].dropped:
                raise FsError(errno.ENOENT)
            if node[1].nlink:
                raise FsError(errno.EBUSY)
            node[1].dropped = True
            del self.ids[node[0]]

        self.both(lambda: self.tree.drop_orphans([node[0]]), model)

    @rule()
    def commit(self) -> None:
        self.database.commit()

    @rule(parent=nodes, name=NAMES)
    def undone(self, parent: Known, name: bytes) -> None:
        """A change inside a larger one that fails leaves nothing behind, in no cache either."""
        with suppress(ZeroDivisionError), self.database.change():
            with suppress(FsError):
                made = self.tree.create(parent[0], name, mode=0o600, uid=0, gid=0)
                self.tree.set_attributes(made.inode, size=77)
            with suppress(FsError):
                self.tree.set_attributes(parent[0], mode=0, uid=99)
            raise ZeroDivisionError

    @invariant()
    def trees_are_equal(self) -> None:
        assert self.tree.count() == len(self.ids)
        assert set(self.tree.orphans(1000)) == {
            inode for inode, node in self.ids.items() if not node.nlink}
        for inode, node in self.ids.items():
            found = self.tree.attributes(inode)
            assert (found.mode, found.nlink, found.uid, found.gid, found.rdev, found.size) == (
                node.mode, node.nlink, node.uid, node.gid, node.rdev, node.size)
            assert self.tree.list_xattrs(inode) == sorted(node.xattrs)
            for name, value in node.xattrs.items():
                assert self.tree.get_xattr(inode, name) == value
            if node.target is not None:
                assert self.tree.readlink(inode) == node.target
            if node.is_directory:
                listed = {name: (child, mode)
                          for name, child, mode in self.tree.list_directory(inode)}
                assert list(listed) == sorted(node.entries)
                for name, child in node.entries.items():
                    assert self.ids[listed[name][0]] is child
                    assert listed[name][1] == child.mode
                    assert self.ids[self.tree.lookup(inode, name).inode] is child
                if node.parent is not None and not node.parent.dropped:
                    assert self.ids[self.tree.parent_of(inode)] is node.parent

    def teardown(self) -> None:
        for inode, node in self.ids.items():
            path = self.tree.path_of(inode)
            if path is not None and path != b"/":
                at = self.root
                for part in path[1:].split(b"/"):
                    at = at.entries[part]
                assert at is node
        self.database.close()


def check_xattr(name: bytes) -> None:
    if name.startswith(b"system."):
        raise FsError(errno.ENOTSUP)
    if name == b"user.":
        raise FsError(errno.EINVAL)


TestTreeModel = TreeModel.TestCase
TestTreeModel.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None,
    suppress_health_check=[HealthCheck.too_slow])
