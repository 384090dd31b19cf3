"""Single rules of the tree."""

import errno
import stat
from collections.abc import Callable
from functools import partial

import pytest

from ecfs.base.errors import FsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.base.limits import LINKS_MAX
from ecfs.metadata.database import Database
from ecfs.namespace import XATTR_CREATE, XATTR_REPLACE, Attributes, Tree

FILE = stat.S_IFREG | 0o644
DIRECTORY = stat.S_IFDIR | 0o755


def make(tree: Tree, name: bytes, mode: int = FILE, parent: InodeId = ROOT_INODE) -> Attributes:
    return tree.create(parent, name, mode=mode, uid=1, gid=2)


def refused(number: int, action: Callable[[], object]) -> None:
    with pytest.raises(FsError) as caught:
        action()
    assert caught.value.errno == number


def test_the_root_is_its_own_parent(tree: Tree) -> None:
    root = tree.attributes(ROOT_INODE)
    assert (root.mode, root.nlink, root.size) == (stat.S_IFDIR | 0o755, 2, 0)
    assert tree.parent_of(ROOT_INODE) == ROOT_INODE
    assert tree.lookup(ROOT_INODE, b"..") == tree.lookup(ROOT_INODE, b".") == root
    assert tree.path_of(ROOT_INODE) == b"/"


def test_times_of_a_new_file_and_its_parent(tree: Tree) -> None:
    made = make(tree, b"f")
    assert made.atime_ns == made.mtime_ns == made.ctime_ns == made.btime_ns
    root = tree.attributes(ROOT_INODE)
    assert root.mtime_ns == root.ctime_ns == made.btime_ns
    assert root.atime_ns < root.mtime_ns


@pytest.mark.parametrize("name", [b"", b"a/b", b"a\0b"])
def test_impossible_names(tree: Tree, name: bytes) -> None:
    refused(errno.EINVAL, lambda: make(tree, name))


def test_name_lengths(tree: Tree) -> None:
    longest, longer = b"x" * 255, b"x" * 256
    made = make(tree, longest)
    assert tree.lookup(ROOT_INODE, longest) == made
    refused(errno.ENAMETOOLONG, lambda: make(tree, longer))
    refused(errno.ENAMETOOLONG, lambda: tree.lookup(ROOT_INODE, longer))
    refused(errno.ENAMETOOLONG, lambda: tree.unlink(ROOT_INODE, longer))
    refused(errno.ENAMETOOLONG, lambda: tree.rename(ROOT_INODE, longest, ROOT_INODE, longer, 0))


def test_symlink_targets(tree: Tree) -> None:
    def link(name: bytes, target: bytes | None, mode: int = stat.S_IFLNK | 0o777) -> Attributes:
        return tree.create(ROOT_INODE, name, mode=mode, uid=0, gid=0, symlink=target)

    made = link(b"l", b"x" * 4095)
    assert made.size == 4095
    assert tree.readlink(made.inode) == b"x" * 4095
    refused(errno.ENAMETOOLONG, lambda: link(b"m", b"x" * 4096))
    refused(errno.ENOENT, lambda: link(b"m", b""))
    refused(errno.EINVAL, lambda: link(b"m", b"a\0"))
    refused(errno.EINVAL, lambda: link(b"m", None))
    refused(errno.EINVAL, lambda: link(b"m", b"t", FILE))
    refused(errno.EINVAL, lambda: tree.readlink(make(tree, b"f").inode))


def test_a_set_group_id_directory_hands_down(tree: Tree) -> None:
    parent = tree.create(ROOT_INODE, b"d", mode=DIRECTORY | stat.S_ISGID, uid=0, gid=50).inode
    assert make(tree, b"f", parent=parent).gid == 50
    child = make(tree, b"c", DIRECTORY, parent)
    assert child.gid == 50
    assert child.mode & stat.S_ISGID
    assert not make(tree, b"g", FILE, parent).mode & stat.S_ISGID


def test_files_as_directories(tree: Tree) -> None:
    inode = make(tree, b"f").inode
    for action in (lambda: make(tree, b"x", FILE, inode), lambda: tree.lookup(inode, b"x"),
                   lambda: tree.list_directory(inode), lambda: tree.unlink(inode, b"x"),
                   lambda: tree.rmdir(inode, b"x"), lambda: tree.link(inode, inode, b"x"),
                   lambda: tree.rename(inode, b"x", ROOT_INODE, b"y", 0)):
        refused(errno.ENOTDIR, action)


def test_links_are_counted_and_bounded(tree: Tree, database: Database) -> None:
    inode = make(tree, b"f").inode
    assert tree.link(inode, ROOT_INODE, b"g").nlink == 2
    database.run("UPDATE inodes SET nlink=? WHERE id=?", (LINKS_MAX, inode))
    database.undo_count += 1
    refused(errno.EMLINK, lambda: tree.link(inode, ROOT_INODE, b"h"))


def test_inode_numbers_are_not_used_again(tree: Tree) -> None:
    first = make(tree, b"f").inode
    tree.unlink(ROOT_INODE, b"f")
    tree.drop_orphans([first])
    assert make(tree, b"f").inode > first


def test_an_orphan_lives_until_dropped(tree: Tree) -> None:
    inode = make(tree, b"f").inode
    tree.set_xattr(inode, b"user.a", b"1")
    refused(errno.EBUSY, lambda: tree.drop_orphans([inode]))
    victim = tree.unlink(ROOT_INODE, b"f")
    assert victim.nlink == 0
    assert victim.ctime_ns > victim.mtime_ns
    assert tree.orphans(1) == [inode]
    assert tree.attributes(inode) == victim
    assert tree.path_of(inode) is None
    refused(errno.ENOENT, lambda: tree.link(inode, ROOT_INODE, b"again"))
    tree.set_attributes(inode, mode=0o600)
    tree.drop_orphans([inode])
    refused(errno.ENOENT, lambda: tree.attributes(inode))
    assert tree.orphans(1) == []


def test_set_user_id_goes_with_the_owner(tree: Tree) -> None:
    inode = make(tree, b"f", stat.S_IFREG | 0o6755).inode
    assert tree.set_attributes(inode, uid=9).mode == stat.S_IFREG | 0o755
    tree.set_attributes(inode, mode=0o6745)
    assert tree.set_attributes(inode, gid=9).mode == stat.S_IFREG | 0o2745
    assert tree.set_attributes(inode, mode=0o4755, gid=8).mode == stat.S_IFREG | 0o4755
    directory = make(tree, b"d", stat.S_IFDIR | 0o6755).inode
    assert tree.set_attributes(directory, uid=9).mode == stat.S_IFDIR | 0o6755


def test_a_write_takes_privileges_away(tree: Tree) -> None:
    inode = make(tree, b"f", stat.S_IFREG | 0o6755).inode
    assert tree.drop_privileges(inode)
    assert tree.attributes(inode).mode == stat.S_IFREG | 0o755
    assert not tree.drop_privileges(inode)


def test_flushed_content_keeps_mode_and_newer_ctime(tree: Tree) -> None:
    inode = make(tree, b"f", stat.S_IFREG | 0o4755).inode
    changed = tree.set_attributes(inode, mode=0o4711)
    found = tree.record_content(inode, size=9, mtime_ns=5, ctime_ns=5)
    assert (found.size, found.mtime_ns, found.ctime_ns) == (9, 5, changed.ctime_ns)
    assert found.mode == stat.S_IFREG | 0o4711
    found = tree.record_content(inode, size=10, mtime_ns=None, ctime_ns=None)
    assert (found.size, found.mtime_ns, found.ctime_ns) == (10, 5, changed.ctime_ns)


def test_sizes(tree: Tree) -> None:
    made = make(tree, b"f")
    found = tree.set_attributes(made.inode, size=(1 << 63) - 1)
    assert found.mtime_ns == found.ctime_ns > made.mtime_ns
    refused(errno.EFBIG, lambda: tree.set_attributes(made.inode, size=1 << 63))
    refused(errno.EINVAL, lambda: tree.set_attributes(made.inode, size=-1))
    refused(errno.EISDIR, lambda: tree.set_attributes(ROOT_INODE, size=0))


def test_times_before_1970(tree: Tree) -> None:
    inode = make(tree, b"f").inode
    tree.set_attributes(inode, atime_ns=-1, mtime_ns=-(10**18), ctime_ns=7)
    found = tree.attributes(inode)
    assert (found.atime_ns, found.mtime_ns, found.ctime_ns) == (-1, -(10**18), 7)


def test_xattr_flags_and_limits(tree: Tree) -> None:
    inode = make(tree, b"f").inode
    refused(errno.ENODATA, lambda: tree.set_xattr(inode, b"user.a", b"", XATTR_REPLACE))
    tree.set_xattr(inode, b"user.a", b"", XATTR_CREATE)
    refused(errno.EEXIST, lambda: tree.set_xattr(inode, b"user.a", b"", XATTR_CREATE))
    tree.set_xattr(inode, b"user.a", b"x" * 65536, XATTR_REPLACE)
    refused(errno.E2BIG, lambda: tree.set_xattr(inode, b"user.b", b"x" * 65537))
    refused(errno.ERANGE, lambda: tree.set_xattr(inode, b"user." + b"x" * 251, b""))
    for name in (b"system.other", b"nothing", b"USER.a"):
        refused(errno.ENOTSUP, partial(tree.set_xattr, inode, name, b""))
        refused(errno.ENOTSUP, partial(tree.get_xattr, inode, name))
    refused(errno.ENODATA, lambda: tree.get_xattr(inode, b"security.capability"))
    ctime_ns = tree.attributes(inode).ctime_ns
    tree.remove_xattr(inode, b"user.a")
    assert tree.attributes(inode).ctime_ns > ctime_ns
    refused(errno.ENODATA, lambda: tree.remove_xattr(inode, b"user.a"))


def test_the_list_of_xattr_names_is_bounded(tree: Tree) -> None:
    inode = make(tree, b"f").inode
    for number in range(256):
        tree.set_xattr(inode, b"user.%0250d" % number, b"")
    refused(errno.ENOSPC, lambda: tree.set_xattr(inode, b"user.x", b""))
    tree.set_xattr(inode, b"user.%0250d" % 7, b"changed")


def test_a_failed_change_leaves_no_trace_in_the_cache(tree: Tree, database: Database) -> None:
    inode = make(tree, b"f").inode
    before, root = tree.attributes(inode), tree.attributes(ROOT_INODE)
    count = tree.count()

    def undone() -> None:
        with database.change():
            tree.set_attributes(inode, mode=0)
            make(tree, b"g")
            raise FsError(errno.EIO)

    refused(errno.EIO, undone)
    assert tree.attributes(inode) == before
    assert tree.attributes(ROOT_INODE) == root
    assert tree.count() == count
    refused(errno.ENOENT, lambda: tree.lookup(ROOT_INODE, b"g"))


def test_paths_and_hints(tree: Tree) -> None:
    a = make(tree, b"a", DIRECTORY).inode
    b = make(tree, b"b", DIRECTORY, a).inode
    inode = make(tree, b"f", FILE, b).inode
    assert tree.path_of(inode) == b"/a/b/f"
    assert tree.name_hint(inode) == (b, b"f")
    tree.link(inode, ROOT_INODE, b"g")
    tree.unlink(b, b"f")
    assert tree.path_of(inode) == b"/g"
    tree.rename(a, b"b", ROOT_INODE, b"c", 0)
    assert tree.path_of(b) == b"/c"
    assert tree.name_hint(b) == (ROOT_INODE, b"c")


def test_a_second_tree_reads_what_the_first_wrote(tree: Tree, database: Database) -> None:
    made = make(tree, b"f")
    other = Tree(database, ConstantClock())
    assert other.lookup(ROOT_INODE, b"f") == made
    assert other.count() == 2


class Undone(Exception):
    """Takes a change back."""


def promised(database: Database) -> bool:
    return database.promises.due is not None


def change_and_undo(tree: Tree, database: Database) -> None:
    with database.change():
        tree.set_xattr(ROOT_INODE, b"user.a", b"x")
        raise Undone


def test_a_change_that_was_promised_is_seen_by_whoever_looks(
        tree: Tree, database: Database) -> None:
    database.promises.postpones = True
    before = tree.version
    made = make(tree, b"f")
    version = tree.version
    assert promised(database) and version != before
    assert Tree(database, ConstantClock()).lookup(ROOT_INODE, b"f") == made
    assert not promised(database) and tree.version == version
    tree.unlink(ROOT_INODE, b"f")
    assert database.in_transaction
    assert not promised(database)
    tree.set_attributes(made.inode, mode=0o600)
    database.commit()
    assert not promised(database)
    assert tree.orphans(9) == [made.inode] and tree.attributes(made.inode).mode == 0o100600


def test_an_access_time_is_noted_at_once(tree: Tree, database: Database) -> None:
    """Who reads would not know what to make of an error that comes later."""
    database.promises.postpones = True
    tree.record_access(ROOT_INODE)
    assert not promised(database)


def test_a_promise_that_cannot_be_kept_leaves_nothing_behind_and_its_number_to_nobody(
        tree: Tree, database: Database) -> None:
    """The kernel was told of that number."""
    def fail() -> None:
        with database.change():
            raise Undone

    database.promises.postpones = True
    lost = make(tree, b"f")
    database.promises.due = fail
    with pytest.raises(Undone):
        database.promises.keep()
    assert tree.find(ROOT_INODE, b"f") is None and tree.count() == 1
    with pytest.raises(FsError):
        tree.attributes(lost.inode)
    assert make(tree, b"f").inode > lost.inode


def test_what_fails_before_any_statement_is_not_remembered_either(
        tree: Tree, database: Database) -> None:
    made = make(tree, b"f")
    database.promises.postpones = True
    tree.set_attributes(made.inode, atime_ns=1 << 70)
    with pytest.raises(OverflowError):
        database.promises.keep()
    assert tree.attributes(made.inode) == made


def test_the_number_of_an_inode_that_is_gone_is_never_given_again(
        tree: Tree, database: Database) -> None:
    gone = make(tree, b"f").inode
    tree.unlink(ROOT_INODE, b"f")
    tree.drop_orphans([gone])
    assert make(Tree(database, ConstantClock()), b"g").inode > gone


def test_a_promise_is_not_undone_with_a_change_that_follows(
        tree: Tree, database: Database) -> None:
    database.promises.postpones = True
    made = make(tree, b"f")
    with pytest.raises(Undone):
        change_and_undo(tree, database)
    assert tree.lookup(ROOT_INODE, b"f") == made
    assert not tree.list_xattrs(ROOT_INODE)


class ConstantClock:
    def wall_ns(self) -> int:
        return 1

    def monotonic_ns(self) -> int:
        return 1
