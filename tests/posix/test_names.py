"""Names, kinds of inodes, links, renames, attributes."""

import errno
import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Rename = Callable[[Path, Path, int], None]

NOREPLACE, EXCHANGE = 1, 2


def refused(number: int, action: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        action()
    assert caught.value.errno == number, caught.value


def test_long_and_odd_names(root: Path) -> None:
    names = [b"x" * 255, "ä".encode() * 127, b"\xff\xfe", b" ", b"a\nb", b"-rf", b"..."]
    for name in names:
        with open(os.fsencode(root) + b"/" + name, "wb") as file:
            file.write(name)
    assert sorted(os.listdir(os.fsencode(root))) == sorted(names)
    refused(errno.ENAMETOOLONG, lambda: (root / ("x" * 256)).touch())
    refused(errno.ENAMETOOLONG, lambda: (root / ("x" * 256)).stat())


def test_many_entries(root: Path) -> None:
    count = 20_000
    for number in range(count):
        os.close(os.open(root / str(number), os.O_CREAT | os.O_WRONLY))
    names = os.listdir(root)
    assert len(names) == count
    assert set(names) == {str(number) for number in range(count)}
    with os.scandir(root) as entries:
        seen = 0
        for entry in entries:
            if seen % 2:
                os.unlink(entry.path)
            seen += 1
    assert seen == count
    assert len(os.listdir(root)) == count // 2


def test_removing_while_reading_skips_nothing_when_the_kernel_forgets_what_it_kept(
        root: Path) -> None:
    """Of a listing that it kept it serves the first part, and asks for the rest in the middle."""
    count = 6000
    for number in range(count):
        os.close(os.open(root / str(number), os.O_CREAT | os.O_WRONLY))
    assert len(os.listdir(root)) == count
    removed = 0
    with os.scandir(root) as entries:
        for number, entry in enumerate(entries):
            os.unlink(entry.path)
            removed += 1
            if number == 500:
                Path("/proc/sys/vm/drop_caches").write_text("1\n", encoding="ascii")
    assert removed == count and os.listdir(root) == []


@pytest.mark.parametrize("whole_between", [False, True])
def test_readers_that_overlap_with_a_change_leave_no_old_listing(
        root: Path, whole_between: bool) -> None:
    """Did the kernel keep listings, each reader would add to the one that there is."""
    count = 4000
    names = {f"a-name-of-some-length-{number:05}" for number in range(count)}
    for name in names:
        os.close(os.open(root / name, os.O_CREAT | os.O_WRONLY))
    removed = f"a-name-of-some-length-{count - 1:05}"
    with os.scandir(root) as early, os.scandir(root) as late:
        early_names = [next(early).name]
        if whole_between:
            os.listdir(root)
        (root / "new").touch()
        (root / removed).unlink()
        late_names = [next(late).name]
        early_names += [entry.name for entry in early]
        late_names += [entry.name for entry in late]
    wanted = sorted(names - {removed} | {"new"})
    assert sorted(late_names) == wanted
    assert len(set(early_names)) == len(early_names)
    assert set(early_names) >= names - {removed}
    assert sorted(os.listdir(root)) == wanted


def test_dots_are_listed(root: Path) -> None:
    (root / "d").mkdir()
    lines = subprocess.run(["ls", "-a1i", root / "d"], check=True, capture_output=True,
                           text=True).stdout.split()
    assert lines == [str((root / "d").stat().st_ino), ".", str(root.stat().st_ino), ".."]


def test_a_listing_started_again_shows_what_changed(root: Path) -> None:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    assert os.listdir(fd) == []
    (root / "f").touch()
    assert os.listdir(fd) == ["f"]
    (root / "f").unlink()
    assert os.listdir(fd) == []
    os.close(fd)


def test_links_of_directories_count_subdirectories(root: Path) -> None:
    base = root.stat().st_nlink
    (root / "a").mkdir()
    (root / "b").mkdir()
    assert root.stat().st_nlink == base + 2
    (root / "b").rename(root / "a" / "b")
    assert (root / "a").stat().st_nlink == 3
    assert root.stat().st_nlink == base + 1
    refused(errno.ENOTEMPTY, (root / "a").rmdir)


def test_hard_links(root: Path) -> None:
    (root / "a").write_bytes(b"x")
    os.link(root / "a", root / "b")
    assert (root / "a").stat().st_ino == (root / "b").stat().st_ino
    assert (root / "b").stat().st_nlink == 2
    (root / "b").write_bytes(b"changed")
    assert (root / "a").read_bytes() == b"changed"
    (root / "a").unlink()
    assert (root / "b").stat().st_nlink == 1
    refused(errno.EEXIST, lambda: os.link(root / "b", root / "b"))
    refused(errno.EPERM, lambda: os.link(root, root / "d"))


def test_symbolic_links(root: Path) -> None:
    target = "t" * 4095
    os.symlink(target, root / "l")
    assert os.readlink(root / "l") == target
    assert (root / "l").lstat().st_size == 4095
    os.symlink("f", root / "m")
    (root / "f").write_bytes(b"through")
    assert (root / "m").read_bytes() == b"through"
    os.symlink("loop", root / "loop")
    refused(errno.ELOOP, (root / "loop").stat)


def test_special_files(root: Path) -> None:
    os.mkfifo(root / "fifo", 0o640)
    assert stat.S_ISFIFO((root / "fifo").stat().st_mode)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    found = (root / "null").stat()
    assert (stat.S_IFMT(found.st_mode), found.st_rdev) == (stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(root / "disk", stat.S_IFBLK | 0o600, os.makedev(259, 70_000))
    assert (root / "disk").stat().st_rdev == os.makedev(259, 70_000)
    os.mknod(root / "plain", stat.S_IFREG | 0o600)
    assert (root / "plain").read_bytes() == b""
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        here = os.getcwd()
        os.chdir(root)
        try:
            server.bind("s")
            server.listen()
            client.connect("s")
        finally:
            os.chdir(here)
        assert stat.S_ISSOCK((root / "s").stat().st_mode)


def test_a_fifo_carries_bytes(root: Path) -> None:
    os.mkfifo(root / "fifo")
    reader = subprocess.Popen(["cat", root / "fifo"], stdout=subprocess.PIPE)
    (root / "fifo").write_bytes(b"through the pipe")
    assert reader.communicate()[0] == b"through the pipe"


def test_exchange_and_no_replace(root: Path, rename_with_flags: Rename) -> None:
    (root / "f").write_bytes(b"file")
    (root / "d").mkdir()
    (root / "d" / "inside").touch()
    (root / "e").mkdir()
    refused(errno.EEXIST, lambda: rename_with_flags(root / "f", root / "d", NOREPLACE))
    rename_with_flags(root / "f", root / "d", EXCHANGE)
    assert (root / "d").read_bytes() == b"file"
    assert (root / "f" / "inside").exists()
    rename_with_flags(root / "f", root / "e", EXCHANGE)
    assert (root / "e" / "inside").exists()
    rename_with_flags(root / "e", root / "g", NOREPLACE)
    assert (root / "g" / "inside").exists()
    refused(errno.ENOENT, lambda: rename_with_flags(root / "g", root / "none", EXCHANGE))
    refused(errno.EINVAL, lambda: rename_with_flags(root / "g", root / "g" / "x", 0))
    refused(errno.EINVAL, lambda: rename_with_flags(root / "g", root / "f", 3))
    refused(errno.EINVAL, lambda: rename_with_flags(root / "g" / "inside", root / "g", EXCHANGE))


def test_rename_replaces(root: Path) -> None:
    for name in ("a", "b"):
        (root / name).mkdir()
    (root / "a" / "x").write_bytes(b"1")
    os.rename(root / "a", root / "b")
    assert (root / "b" / "x").read_bytes() == b"1"
    (root / "f").write_bytes(b"f")
    refused(errno.EISDIR, lambda: os.rename(root / "f", root / "b"))
    refused(errno.ENOTDIR, lambda: os.rename(root / "b", root / "f"))
    (root / "c").mkdir()
    refused(errno.ENOTEMPTY, lambda: os.rename(root / "c", root / "b"))


def test_times_have_nanoseconds(root: Path) -> None:
    path = root / "f"
    path.write_bytes(b"x")
    os.utime(path, ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))
    found = path.stat()
    assert found.st_atime_ns == 1_234_567_890_123_456_789
    assert found.st_mtime_ns == 987_654_321_987_654_321
    os.utime(path, ns=(-5, -1))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (-5, -1)
    os.symlink("x", root / "l")
    os.utime(root / "l", ns=(7, 8), follow_symlinks=False)
    assert (root / "l").lstat().st_mtime_ns == 8


def test_set_times_outlive_earlier_writes(root: Path) -> None:
    path = root / "f"
    with path.open("wb") as file:
        file.write(b"x" * 100_000)
        file.flush()
        os.utime(file.fileno(), ns=(3, 4))
    assert path.stat().st_mtime_ns == 4
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.close(fd)
    assert path.stat().st_mtime_ns == 4
    with path.open("r+b") as file:
        file.write(b"y")
    assert path.stat().st_mtime_ns > 4


def test_change_times_move(root: Path) -> None:
    path = root / "f"
    path.write_bytes(b"x")
    os.link(path, root / "same")
    actions: list[Callable[[], object]] = [
        lambda: path.chmod(0o600), lambda: os.chown(path, 1, 2),
        lambda: os.setxattr(path, "user.a", b"1"), lambda: os.removexattr(path, "user.a"),
        lambda: os.link(path, root / "g"), lambda: (root / "g").unlink(),
        lambda: path.rename(root / "h"), lambda: (root / "h").rename(path),
        lambda: os.utime(path, ns=(1, 1)), lambda: os.truncate(path, 5)]
    for number, action in enumerate(actions):
        before = (root / "same").stat().st_ctime_ns
        action()
        assert (root / "same").stat().st_ctime_ns > before, number
    before = root.stat().st_mtime_ns
    (root / "new").touch()
    assert root.stat().st_mtime_ns > before


def test_a_write_moves_the_times(root: Path) -> None:
    path = root / "f"
    path.write_bytes(b"x")
    os.utime(path, ns=(1, 1))
    before = path.stat()
    path.write_bytes(b"more")
    after = path.stat()
    assert after.st_mtime_ns > before.st_mtime_ns
    assert after.st_ctime_ns >= after.st_mtime_ns
    assert after.st_atime_ns == 1


def test_modes_and_owners(root: Path) -> None:
    path = root / "f"
    path.touch(mode=0o644)
    os.chown(path, 1234, 5678)
    path.chmod(0o4755)
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1234, 5678, 0o4755)
    os.chown(path, 1, -1)
    assert path.stat().st_mode & 0o7777 == 0o755
    path.chmod(0o6755)
    os.chown(path, -1, -1)
    assert path.stat().st_mode & 0o7777 == 0o755
    (root / "d").mkdir()
    os.chown(root / "d", 0, 77)
    (root / "d").chmod(0o2775)
    (root / "d" / "sub").mkdir()
    (root / "d" / "file").touch()
    assert (root / "d" / "sub").stat().st_gid == 77
    assert (root / "d" / "sub").stat().st_mode & stat.S_ISGID
    assert (root / "d" / "file").stat().st_gid == 77


AS_NOBODY = """
import errno, os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
root = sys.argv[1]
def number(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"
print(number(os.open, root + "/private", os.O_RDONLY),
      number(os.open, root + "/new", os.O_WRONLY | os.O_CREAT),
      number(os.chmod, root + "/public", 0o777),
      number(os.open, root + "/public", os.O_RDONLY))
fd = os.open(root + "/suid", os.O_WRONLY)
os.write(fd, b"x")
os.close(fd)
print(oct(os.stat(root + "/suid").st_mode))
"""


@pytest.mark.others
def test_permissions_of_another_user(root: Path) -> None:
    root.chmod(0o755)
    (root / "private").touch(mode=0o600)
    (root / "public").touch(mode=0o644)
    (root / "suid").touch()
    (root / "suid").chmod(0o6777)
    root.parent.chmod(0o755)
    result = subprocess.run([sys.executable, "-c", AS_NOBODY, root], check=True,
                            capture_output=True, text=True)
    assert result.stdout.split() == ["EACCES", "EACCES", "EPERM", "ok", "0o100777"]


def test_extended_attributes(root: Path) -> None:
    path = root / "f"
    path.touch()
    os.setxattr(path, "user.a", b"1")
    os.setxattr(path, "trusted.b", b"\0\xff")
    os.setxattr(path, "security.c", b"")
    assert sorted(os.listxattr(path)) == ["security.c", "trusted.b", "user.a"]
    assert os.getxattr(path, "trusted.b") == b"\0\xff"
    refused(errno.EEXIST, lambda: os.setxattr(path, "user.a", b"", os.XATTR_CREATE))
    refused(errno.ENODATA, lambda: os.setxattr(path, "user.z", b"", os.XATTR_REPLACE))
    os.setxattr(path, "user.big", b"x" * 65536)
    assert len(os.getxattr(path, "user.big")) == 65536
    refused(errno.E2BIG, lambda: os.setxattr(path, "user.big", b"x" * 65537))
    os.removexattr(path, "user.a")
    refused(errno.ENODATA, lambda: os.getxattr(path, "user.a"))
    refused(errno.ENODATA, lambda: os.removexattr(path, "user.a"))
    refused(errno.ENOTSUP, lambda: os.setxattr(path, "system.other", b"\2\0\0\0"))
    refused(errno.ENOTSUP, lambda: os.getxattr(path, "system.other"))
    refused(errno.ENODATA, lambda: os.getxattr(path, "system.posix_acl_access"))


def test_names_that_were_missing_appear(root: Path) -> None:
    """The kernel remembers that a name is missing; making it in any way must end that."""
    source = root / "source"
    source.touch()
    makers: list[Callable[[Path], object]] = [
        lambda path: path.touch(), lambda path: path.mkdir(), lambda path: os.mkfifo(path),
        lambda path: os.symlink("x", path), lambda path: os.link(source, path),
        lambda path: source.rename(path)]
    for number, make in enumerate(makers):
        path = root / str(number)
        refused(errno.ENOENT, path.lstat)
        make(path)
        path.lstat()
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
        refused(errno.ENOENT, path.lstat)


def test_space_is_told(root: Path) -> None:
    found = os.statvfs(root)
    assert found.f_namemax == 255
    assert found.f_frsize * found.f_blocks > 0
    assert 0 < found.f_bavail <= found.f_bfree <= found.f_blocks
    assert found.f_files > found.f_ffree > 0


def test_file_capabilities_go_with_a_write(root: Path) -> None:
    path = root / "f"
    path.write_bytes(b"x")
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    actions: list[Callable[[], object]] = [
        lambda: path.write_bytes(b"y"), lambda: os.truncate(path, 0), lambda: os.chown(path, 1, 1)]
    for action in actions:
        os.setxattr(path, "security.capability", capability)
        assert os.getxattr(path, "security.capability") == capability
        action()
        refused(errno.ENODATA, lambda: os.getxattr(path, "security.capability"))
    with path.open("wb", buffering=0) as file:
        file.write(b"1")
        os.setxattr(path, "security.capability", capability)
        file.write(b"2")
        refused(errno.ENODATA, lambda: os.getxattr(path, "security.capability"))
