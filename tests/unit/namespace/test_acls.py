"""Access control lists by themselves, and what the tree makes of them."""

import errno
import stat
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecfs.base.errors import FsError
from ecfs.base.ids import ROOT_INODE
from ecfs.namespace import RENAME_WHITEOUT, Tree, acls

NO_ID = 0xFFFFFFFF
BITS = st.integers(0, 7)
NAMED = st.lists(st.tuples(st.sampled_from([2, 8]), BITS, st.integers(0, NO_ID - 1)), max_size=6)


def packed(*entries: tuple[int, int, int]) -> bytes:
    """The bytes of a list: by tag, as they must be, and else in the order given."""
    return unsorted(*sorted(entries, key=lambda entry: entry[0]))


def unsorted(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def base(user: int = 7, group: int = 5, other: int = 4) -> list[tuple[int, int, int]]:
    return [(1, user, NO_ID), (4, group, NO_ID), (32, other, NO_ID)]


LISTS = st.builds(lambda user, group, other, mask, named: packed(
    *base(user, group, other), (16, mask, NO_ID), *named), BITS, BITS, BITS, BITS, NAMED)


@given(LISTS, st.integers(0, 0o777))
def test_modes_and_lists_agree(value: bytes, mode: int) -> None:
    acl = acls.parse(value)
    assert acl is not None
    assert acl.to_bytes() == value
    assert acl.with_mode(acl.mode_bits()) == acl
    assert acl.with_mode(mode).mode_bits() == mode
    made, access, default = acls.inherited(acl, stat.S_IFREG | mode)
    assert made == stat.S_IFREG | (mode & acl.mode_bits())
    assert access is not None and access.mode_bits() == made & 0o777
    assert default is None
    assert acls.inherited(acl, stat.S_IFDIR | mode)[2] == acl


@pytest.mark.parametrize("value", [
    b"", b"\2\0\0", packed() + b"x", packed((1, 7, NO_ID)), packed(*base(), (1, 7, NO_ID)),
    packed(*base(), (2, 7, 5)), unsorted(*base(), (16, 7, NO_ID), (2, 7, 5)),
    unsorted((4, 7, NO_ID), (1, 7, NO_ID), (32, 7, NO_ID)),
    packed(*base(), (16, 7, NO_ID), (16, 7, NO_ID)),
    packed(*base(8)), packed(*base(), (64, 7, NO_ID)), packed(*base(), (16, 7, NO_ID),
                                                              (2, 7, NO_ID))])
def test_what_is_no_list_is_refused(value: bytes) -> None:
    with pytest.raises(FsError) as caught:
        acls.parse(value)
    assert caught.value.errno == errno.EINVAL


def test_a_list_is_kept_as_it_was_given() -> None:
    value = packed(*base(), (16, 7, NO_ID), (2, 7, 5), (2, 1, 5), (2, 6, 4), (8, 7, 9), (8, 2, 3))
    acl = acls.parse(value)
    assert acl is not None
    assert acl.to_bytes() == value


def test_ids_of_what_has_none_are_not_kept() -> None:
    acl = acls.parse(packed((1, 6, 5), (4, 4, 6), (16, 7, 7), (32, 0, 8)))
    assert acl is not None
    assert acl.to_bytes() == packed(*base(6, 4, 0), (16, 7, NO_ID))


def test_an_unknown_version_and_an_empty_list() -> None:
    with pytest.raises(FsError) as caught:
        acls.parse(b"\1\0\0\0")
    assert caught.value.errno == errno.EOPNOTSUPP
    assert acls.parse(packed()) is None


def test_a_list_that_says_no_more_than_the_mode_is_not_kept(tree: Tree) -> None:
    inode = tree.create(ROOT_INODE, b"f", mode=0o600, uid=1, gid=1).inode
    tree.set_xattr(inode, acls.ACCESS, packed(*base(6, 4, 0), (16, 6, NO_ID), (2, 7, 9)))
    assert stat.S_IMODE(tree.attributes(inode).mode) == 0o660
    assert tree.list_xattrs(inode) == [acls.ACCESS]
    tree.set_xattr(inode, acls.ACCESS, packed(*base(6, 4, 1)))
    assert stat.S_IMODE(tree.attributes(inode).mode) == 0o641
    assert tree.list_xattrs(inode) == []
    tree.remove_xattr(inode, acls.ACCESS)
    for name, number in ((acls.DEFAULT, errno.EACCES), (b"system.other", errno.EOPNOTSUPP)):
        with pytest.raises(FsError) as caught:
            tree.set_xattr(inode, name, packed(*base()))
        assert caught.value.errno == number


def test_a_default_list_takes_the_place_of_the_umask(tree: Tree) -> None:
    assert stat.S_IMODE(tree.create(ROOT_INODE, b"a", mode=0o666, uid=1, gid=1,
                                    umask=0o027).mode) == 0o640
    tree.set_xattr(ROOT_INODE, acls.DEFAULT, packed(*base(7, 7, 5), (16, 6, NO_ID), (2, 7, 9)))
    made = tree.create(ROOT_INODE, b"b", mode=0o666, uid=1, gid=1, umask=0o077)
    assert stat.S_IMODE(made.mode) == 0o664
    assert tree.list_xattrs(made.inode) == [acls.ACCESS]
    inner = tree.create(ROOT_INODE, b"d", mode=stat.S_IFDIR | 0o700, uid=1, gid=1, umask=0o077)
    assert tree.list_xattrs(inner.inode) == [acls.ACCESS, acls.DEFAULT]
    unnamed = tree.create_unnamed(ROOT_INODE, mode=0o600, uid=1, gid=1, umask=0o077)
    assert stat.S_IMODE(unnamed.mode) == 0o600 and unnamed.nlink == 0
    link = tree.create(ROOT_INODE, b"l", mode=stat.S_IFLNK | 0o777, uid=1, gid=1, symlink=b"x")
    assert tree.list_xattrs(link.inode) == []


def test_a_file_without_a_name_gets_one(tree: Tree) -> None:
    inode = tree.create_unnamed(ROOT_INODE, mode=0o600, uid=1, gid=1).inode
    assert tree.orphans(9) == [inode]
    with pytest.raises(FsError):
        tree.link(inode, ROOT_INODE, b"f")
    assert tree.link(inode, ROOT_INODE, b"f", unnamed=True).nlink == 1
    assert tree.orphans(9) == []
    assert tree.lookup(inode, b".").inode == inode
    assert tree.unlink(ROOT_INODE, b"f").nlink == 0
    assert tree.orphans(9) == [inode]


def test_a_whiteout_belongs_to_who_renames(tree: Tree) -> None:
    inode = tree.create(ROOT_INODE, b"f", mode=0o600, uid=1, gid=1).inode
    count = tree.count()
    tree.rename(ROOT_INODE, b"f", ROOT_INODE, b"g", RENAME_WHITEOUT, uid=3, gid=4)
    assert tree.lookup(ROOT_INODE, b"g").inode == inode
    left = tree.lookup(ROOT_INODE, b"f")
    assert (left.mode, left.rdev, left.uid, left.gid) == (stat.S_IFCHR, 0, 3, 4)
    assert tree.count() == count + 1
    tree.set_attributes(ROOT_INODE, mode=0o2755, gid=9)
    tree.rename(ROOT_INODE, b"g", ROOT_INODE, b"h", RENAME_WHITEOUT, uid=3, gid=4)
    left = tree.lookup(ROOT_INODE, b"g")
    assert (left.mode, left.uid, left.gid) == (stat.S_IFCHR, 3, 9)


def test_a_whiteout_inherits_as_whatever_is_made_there_does(tree: Tree) -> None:
    directory = tree.create(ROOT_INODE, b"d", mode=stat.S_IFDIR | 0o755, uid=0, gid=0).inode
    default = packed((1, 7, NO_ID), (2, 6, 5), (4, 5, NO_ID), (16, 7, NO_ID), (32, 5, NO_ID))
    tree.set_xattr(directory, acls.DEFAULT, default)
    tree.create(directory, b"f", mode=0o600, uid=1, gid=1)
    tree.rename(directory, b"f", directory, b"g", RENAME_WHITEOUT, uid=3, gid=4)
    left = tree.lookup(directory, b"f")
    assert stat.S_ISCHR(left.mode)
    assert tree.list_xattrs(left.inode) == [acls.ACCESS]
