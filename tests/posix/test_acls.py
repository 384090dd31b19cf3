"""POSIX access control lists on the mount, through setfacl(1) and getfacl(1)."""

import errno
import os
import stat
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ALICE, BOB, FRIENDS = 61001, 61002, 61100
ACCESS = "system.posix_acl_access"


def setfacl(*words: object) -> None:
    subprocess.run(["setfacl", *map(str, words)], check=True)


def getfacl(path: Path) -> list[str]:
    found = subprocess.run(["getfacl", "-cnpE", path], check=True, capture_output=True, text=True)
    return found.stdout.split()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def as_user(uid: int, groups: tuple[int, ...], action: Callable[[], object]) -> int:
    """0 or the errno with which an action fails for a user."""
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(uid)
    os.seteuid(uid)
    try:
        action()
    except OSError as error:
        return error.errno or 0
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)
    return 0


@pytest.fixture
def plain() -> Iterator[Path]:
    """A directory on a kernel file system with ACLs."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.mark.others
def test_a_named_user_gets_in(root: Path) -> None:
    root.chmod(0o755)
    (root / "f").write_bytes(b"secret")
    (root / "f").chmod(0o600)
    read = (root / "f").read_bytes
    assert as_user(ALICE, (), read) == errno.EACCES
    setfacl("-m", f"u:{ALICE}:r", root / "f")
    assert mode(root / "f") == 0o640
    assert as_user(ALICE, (), read) == 0
    assert as_user(BOB, (), read) == errno.EACCES
    setfacl("-m", f"g:{FRIENDS}:r", root / "f")
    assert as_user(BOB, (FRIENDS,), read) == 0
    (root / "f").chmod(0o600)
    assert as_user(ALICE, (), read) == errno.EACCES
    assert "mask::---" in getfacl(root / "f")
    (root / "f").chmod(0o640)
    assert as_user(ALICE, (), read) == 0
    setfacl("-b", root / "f")
    assert ACCESS not in os.listxattr(root / "f")
    assert as_user(ALICE, (), read) == errno.EACCES


def test_the_mode_follows_at_once(root: Path) -> None:
    (root / "f").touch(mode=0o600)
    assert mode(root / "f") == 0o600
    setfacl("-m", f"u:{ALICE}:rw", root / "f")
    assert mode(root / "f") == 0o660
    setfacl("-x", "m", "-n", "-m", "m::r", root / "f")
    assert mode(root / "f") == 0o640
    setfacl("-b", root / "f")
    assert mode(root / "f") == 0o600


def play(base: Path, mask: int) -> list[object]:
    """What setfacl, creating and chmod lead to; the same on every file system."""
    seen: list[object] = []
    top = base / "top"
    top.mkdir()
    setfacl("-m", "u:7:rwx,g:8:r-x,m:rwx", top)
    setfacl("-d", "-m", "u::rwx,g::r-x,o::r--,u:7:rwx,g:9:-wx", top)
    before = os.umask(mask)
    try:
        (top / "f").touch(0o666)
        (top / "x").touch(0o755)
        (top / "d").mkdir(0o770)
        (top / "d" / "e").mkdir()
        os.mkfifo(top / "p", 0o622)
        os.symlink("f", top / "l")
    finally:
        os.umask(before)
    (top / "x").chmod(0o4751)
    setfacl("-m", "m:r", top / "d")
    setfacl("-k", top / "d" / "e")
    for path in sorted(base.rglob("*")):
        seen.append((path.name, oct(path.lstat().st_mode), sorted(
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in os.listxattr(path, follow_symlinks=False))))
        if not path.is_symlink():
            seen.append(getfacl(path))
    return seen


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_inheritance_masks_and_modes_are_those_of_a_kernel_file_system(
        root: Path, plain: Path, mask: int) -> None:
    assert play(root, mask) == play(plain, mask)


OWNER, GROUP, MASK, OTHERS = ((tag, bits, 0xFFFFFFFF) for tag, bits in (
    (1, 6), (4, 4), (16, 7), (32, 0)))
LISTS = {
    "by permissions last": (OWNER, (2, 7, 5), (2, 4, 6), (2, 6, 7), GROUP, MASK, OTHERS),
    "from high to low": (OWNER, (2, 7, 9), (2, 4, 5), GROUP, (8, 7, 9), (8, 1, 5), MASK, OTHERS),
    "one user twice": (OWNER, (2, 7, 5), (2, 7, 5), GROUP, MASK, OTHERS),
    "one group twice": (OWNER, GROUP, (8, 7, 5), (8, 1, 5), MASK, OTHERS),
    "ids where there are none": (OWNER, GROUP, (16, 5, 1), (32, 0, 2)),
    "users after the group": (OWNER, GROUP, (2, 7, 5), MASK, OTHERS),
    "two masks": (OWNER, GROUP, MASK, MASK, OTHERS),
    "no mask": (OWNER, (2, 7, 5), GROUP, OTHERS),
}


def kept(path: Path, value: bytes) -> object:
    """What is there of a list that was set, and after a chmod; or its errno."""
    path.touch(0o644)
    try:
        os.setxattr(path, ACCESS, value)
    except OSError as error:
        return error.errno
    before = os.getxattr(path, ACCESS)
    path.chmod(0o710)
    return before, os.getxattr(path, ACCESS), mode(path)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_given_back_as_a_kernel_file_system_does(root: Path, plain: Path,
                                                           name: str) -> None:
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in LISTS[name])
    assert kept(root / "f", value) == kept(plain / "f", value)


def test_what_is_no_list_is_refused(root: Path) -> None:
    (root / "f").touch()
    for value in (b"\2\0\0", b"\1\0\0\0", b"\2\0\0\0" + b"\1\0\7\0\xff\xff\xff\xff"):
        with pytest.raises(OSError) as caught:
            os.setxattr(root / "f", ACCESS, value)
        assert caught.value.errno in (errno.EINVAL, errno.EOPNOTSUPP)
    with pytest.raises(PermissionError):
        os.setxattr(root / "f", "system.posix_acl_default",
                    b"\2\0\0\0" + b"".join(bytes((tag, 0, 7, 0)) + b"\xff" * 4
                                           for tag in (1, 4, 32)))


@pytest.mark.others
def test_who_may_not_keep_set_group_id_loses_it(root: Path) -> None:
    root.chmod(0o755)
    (root / "f").touch()
    os.chown(root / "f", ALICE, FRIENDS)
    (root / "f").chmod(0o2755)
    value = b"\2\0\0\0" + b"".join(bytes((tag, 0, 5, 0)) + b"\xff" * 4 for tag in (1, 4, 32))
    assert as_user(ALICE, (), lambda: os.setxattr(root / "f", ACCESS, value)) == 0
    assert mode(root / "f") == 0o555


def test_copies_take_lists_along(root: Path) -> None:
    (root / "f").touch()
    setfacl("-m", "u:7:rw", root / "f")
    subprocess.run(["cp", "-a", root / "f", root / "g"], check=True)
    assert getfacl(root / "g") == getfacl(root / "f")
    subprocess.run(["tar", "--acls", "-cf", root / "t", "-C", root, "f"], check=True)
    (root / "out").mkdir()
    subprocess.run(["tar", "--acls", "-xpf", root / "t", "-C", root / "out"], check=True)
    assert getfacl(root / "out" / "f") == getfacl(root / "f")
