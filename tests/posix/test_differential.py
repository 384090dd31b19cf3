"""Random programs of system calls, on the mount and on a plain directory: nothing may differ."""

import ctypes
import errno
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STEPS = 250
PROGRAMS = 12
NAMES = ("a", "b", "c", "d")
XATTRS = ("user.a", "user.b", "trusted.c", "system.nonsense", "user.")
LENGTHS = (0, 1, 10, 4095, 4096, 4097, 10_000, 70_000)


class Machine:
    """One of the two worlds: runs calls beneath a directory and tells what a program can see."""

    def __init__(self, base: Path) -> None:
        self.base = os.fsencode(base) + b"/inner"
        os.mkdir(self.base, 0o755)
        self.open: dict[int, int] = {}
        self.libc = ctypes.CDLL(None, use_errno=True)

    def at(self, path: str) -> bytes:
        return self.base + b"/" + path.encode()

    def run(self, call: str, *arguments: Any) -> object:
        """The result of a call, or the errno with which it failed."""
        try:
            return getattr(self, call)(*arguments)
        except OSError as error:
            return error.errno

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self.at(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self.at(path))

    def unlink(self, path: str) -> None:
        os.unlink(self.at(path))

    def symlink(self, target: str, path: str) -> None:
        os.symlink(target, self.at(path))

    def link(self, old: str, new: str) -> None:
        os.link(self.at(old), self.at(new), follow_symlinks=False)

    def mknod(self, path: str, kind: int, mode: int) -> None:
        os.mknod(self.at(path), kind | mode, os.makedev(1, 3))

    def rename(self, old: str, new: str, flags: int) -> None:
        if self.libc.renameat2(-100, self.at(old), -100, self.at(new), flags):
            raise OSError(ctypes.get_errno(), "renameat2")

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self.at(path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(self.at(path), uid, gid, follow_symlinks=False)

    def truncate(self, path: str, size: int) -> None:
        os.truncate(self.at(path), size)

    def utime(self, path: str, atime_ns: int, mtime_ns: int) -> int:
        os.utime(self.at(path), ns=(atime_ns, mtime_ns), follow_symlinks=False)
        return os.lstat(self.at(path)).st_mtime_ns

    def opened(self, path: str, flags: int) -> int:
        """Open, but no device: a mount may forbid that."""
        try:
            kind = stat.S_IFMT(os.stat(self.at(path)).st_mode)
        except OSError:
            kind = stat.S_IFREG
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            raise OSError(errno.ENXIO, "a device")
        return os.open(self.at(path), flags | os.O_NONBLOCK, 0o644)

    def write_file(self, path: str, data: bytes, flags: int) -> int:
        fd = self.opened(path, flags)
        try:
            return os.write(fd, data)
        finally:
            os.close(fd)

    def read_file(self, path: str) -> bytes:
        fd = self.opened(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            return os.read(fd, 1 << 20) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)

    def set_xattr(self, path: str, name: str, value: bytes, flags: int) -> None:
        os.setxattr(self.at(path), name, value, flags, follow_symlinks=False)

    def get_xattr(self, path: str, name: str) -> bytes:
        return os.getxattr(self.at(path), name, follow_symlinks=False)

    def remove_xattr(self, path: str, name: str) -> None:
        os.removexattr(self.at(path), name, follow_symlinks=False)

    def readlink(self, path: str) -> bytes:
        return os.readlink(self.at(path))

    def open_file(self, slot: int, path: str, flags: int) -> None:
        fd = self.opened(path, flags)
        self.close_file(slot)
        self.open[slot] = fd

    def close_file(self, slot: int) -> None:
        fd = self.open.pop(slot, None)
        if fd is not None:
            os.close(fd)

    def on_file(self, slot: int, action: str, *arguments: Any) -> object:
        fd = self.open.get(slot)
        if fd is None or not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        if action == "pwrite":
            return os.pwrite(fd, *arguments)
        if action == "pread":
            return os.pread(fd, *arguments)
        if action == "truncate":
            os.ftruncate(fd, *arguments)
        if action == "sync":
            os.fsync(fd)
        return self.seen(os.fstat(fd))

    def seen(self, found: os.stat_result) -> tuple[int, ...]:
        """What both worlds must agree on."""
        size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
        return found.st_mode, found.st_nlink, found.st_uid, found.st_gid, found.st_rdev, size

    def survey(self) -> dict[bytes, object]:
        """Everything beneath the base, by path; inode numbers by order of appearance."""
        result: dict[bytes, object] = {}
        inodes: dict[int, int] = {}
        pending = [b""]
        while pending:
            relative = pending.pop()
            path = self.base + relative
            found = os.lstat(path)
            number = inodes.setdefault(found.st_ino, len(inodes))
            details: object = None
            if stat.S_ISDIR(found.st_mode):
                details = names = sorted(os.listdir(path))
                pending += [relative + b"/" + name for name in names]
            elif stat.S_ISREG(found.st_mode):
                with open(path, "rb") as file:
                    details = file.read()
            elif stat.S_ISLNK(found.st_mode):
                details = os.readlink(path)
            xattrs = {name: os.getxattr(path, name, follow_symlinks=False)
                      for name in os.listxattr(path, follow_symlinks=False)
                      if name != "security.selinux"}
            result[relative] = (self.seen(found), number, details, xattrs)
        return result

    def close(self) -> None:
        for slot in list(self.open):
            self.close_file(slot)


def some_path(rng: random.Random) -> str:
    return "/".join(rng.choice(NAMES) for _ in range(rng.choice((1, 1, 2, 2, 3))))


def some_call(rng: random.Random) -> tuple[Any, ...]:
    """A call with its arguments."""
    path, slot = some_path(rng), rng.randrange(3)
    data = rng.randbytes(rng.choice(LENGTHS))
    flags = rng.choice((os.O_RDWR, os.O_WRONLY, os.O_RDONLY)) | rng.choice(
        (0, os.O_CREAT, os.O_CREAT, os.O_CREAT | os.O_EXCL)) | rng.choice(
        (0, os.O_TRUNC, os.O_APPEND))
    choices: list[Callable[[], tuple[Any, ...]]] = [
        lambda: ("mkdir", path, rng.choice((0o755, 0o2775, 0o700))),
        lambda: ("mkdir", path, 0o777),
        lambda: ("rmdir", path),
        lambda: ("unlink", path),
        lambda: ("symlink", rng.choice((*NAMES, "a/b", "../a", "nowhere/x")), path),
        lambda: ("link", path, some_path(rng)),
        lambda: ("mknod", path, rng.choice((stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK,
                                            stat.S_IFREG, stat.S_IFSOCK)), 0o640),
        lambda: ("rename", path, some_path(rng), rng.choice((0, 0, 0, 1, 2, 3))),
        lambda: ("rename", path, some_path(rng), rng.choice((0, 2))),
        lambda: ("chmod", path, rng.randrange(0o10000)),
        lambda: ("chown", path, rng.randrange(-1, 3), rng.randrange(-1, 3)),
        lambda: ("truncate", path, rng.choice((*LENGTHS, -1))),
        lambda: ("utime", path, rng.randrange(1 << 60), rng.randrange(1 << 60)),
        lambda: ("write_file", path, data, flags & ~os.O_RDWR | os.O_WRONLY),
        lambda: ("write_file", path, data, os.O_WRONLY | os.O_CREAT),
        lambda: ("read_file", path),
        lambda: ("set_xattr", path, rng.choice(XATTRS), data[:20], rng.randrange(3)),
        lambda: ("set_xattr", path, rng.choice(XATTRS), data[:20], 0),
        lambda: ("get_xattr", path, rng.choice(XATTRS)),
        lambda: ("remove_xattr", path, rng.choice(XATTRS)),
        lambda: ("readlink", path),
        lambda: ("open_file", slot, path, flags),
        lambda: ("open_file", slot, path, os.O_RDWR | os.O_CREAT),
        lambda: ("close_file", slot),
        lambda: ("on_file", slot, "pwrite", data, rng.choice(LENGTHS)),
        lambda: ("on_file", slot, "pread", 5000, rng.choice(LENGTHS)),
        lambda: ("on_file", slot, "truncate", rng.choice(LENGTHS)),
        lambda: ("on_file", slot, "sync"),
        lambda: ("on_file", slot, "stat"),
    ]
    return rng.choice(choices)()


def is_shifty(call: tuple[Any, ...]) -> bool:
    """Calls whose answer differs among Linux file systems, so that neither is wrong.

    tmpfs keeps no user xattrs of symlinks either way, and answers ENOTSUP or EINVAL at will for
    names that no file system serves.
    """
    return call[0].endswith("xattr") and call[2] in ("system.nonsense", "user.")


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_a_random_program(root: Path, reference: Path, seed: int) -> None:
    rng = random.Random(seed)
    ours, theirs = Machine(root), Machine(reference)
    program = [some_call(rng) for _ in range(STEPS)]
    log: list[object] = []
    try:
        for number, call in enumerate(program):
            mine, other = ours.run(*call), theirs.run(*call)
            log.append((number, call, other if not isinstance(other, bytes) else len(other)))
            if not is_shifty(call):
                assert mine == other, (call[0], call[1:], mine, other, log[-12:])
            if number % 10 == 0:
                assert ours.survey() == theirs.survey(), log[-12:]
        assert ours.survey() == theirs.survey(), log[-12:]
    finally:
        ours.close()
        theirs.close()
