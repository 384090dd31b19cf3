"""System calls beneath one directory, and all that a program could see of what they did.

Two worlds that run the same calls can be compared: inode numbers are told by order of appearance,
times by whether they changed, and set times by value.
"""

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import resource
import signal
import stat
from collections.abc import Callable
from pathlib import Path

from ecfs.testing.posix_call import IDENTITIES, Call, acting_as

Value = object
Survey = dict[str, tuple[Value, ...]]
TIMES_INDEX = 2
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
SET_TIME_NS_MAX = 1_500_000_000_000_000_000
TIME_NOW = -1
TIME_LEFT = -2
READ_LEN_MAX = 1 << 22
CONTENT_SHOWN_LEN = 32
SLOTS_COUNT = 4


class World:
    """One place where programs run. Paths are relative; `@/` stands for another file system."""

    def __init__(self, base: Path, elsewhere: Path, *, times: bool = True) -> None:
        """`base` and `elsewhere` are empty directories on two file systems.

        `times`: whether it is told which times a call changed.
        """
        self._base = os.fsencode(base)
        self._elsewhere = os.fsencode(elsewhere)
        for path in (base, elsewhere):
            os.chmod(path, 0o777)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._slots: dict[int, int] = {}
        self._times: dict[str, tuple[int, int, int]] = {}
        self._tells_times = times
        self._vague_blocks = False

    def close(self) -> None:
        """Close what the program left open."""
        for fd in self._slots.values():
            os.close(fd)
        self._slots.clear()

    def run(self, call: Call) -> Value:
        """What the call returned, or the name of its errno."""
        method: Callable[..., Value] = getattr(self, "do_" + call.name)
        try:
            with acting_as(IDENTITIES[call.who]):
                return method(*call.arguments)
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error))

    def do_survey(self) -> Value:
        """No call: all there is to see, from which later surveys tell what changed."""
        return self.survey()

    def survey(self, depth_max: int = 8) -> Survey:
        """Everything beneath the base, by path, as root sees it.

        Inode numbers by order of appearance, and which times are others than at the last survey;
        None where another file has the path. (Kernel file systems reuse numbers, so that it may
        look like the one before.)
        """
        found: Survey = {}
        inodes: dict[int, int] = {}
        times: dict[str, tuple[int, int, int]] = {}
        pending = [("", 0)]
        while pending:
            relative, depth = pending.pop()
            path = self._base + b"/" + os.fsencode(relative) if relative else self._base
            seen = os.lstat(path)
            times[relative] = (seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns)
            before = self._times.get(relative) if self._tells_times else None
            changed = None if before is None or before[0] != seen.st_ino else tuple(
                old != new for old, new in zip(before[1:], times[relative][1:], strict=True))
            details: Value = None
            if stat.S_ISDIR(seen.st_mode):
                names = sorted(os.fsdecode(name) for name in os.listdir(path))
                details = names if depth < depth_max else len(names)
                if depth < depth_max:
                    pending += [(f"{relative}/{name}" if relative else name, depth + 1)
                                for name in names]
            elif stat.S_ISREG(seen.st_mode):
                details = _content(path)
            elif stat.S_ISLNK(seen.st_mode):
                details = os.readlink(path)
            number = inodes.setdefault(seen.st_ino, len(inodes))
            found[relative] = (self.seen(seen), number, changed, details, _xattrs(path))
        self._times = times
        return found

    def seen(self, found: os.stat_result) -> tuple[Value, ...]:
        """What both worlds must agree on. A directory's size is its file system's affair."""
        # Who preallocates, copies a hole or cuts a block may have blocks or not, as the file system
        # likes.
        has_blocks = found.st_blocks > 0 if (
            stat.S_ISREG(found.st_mode) and not self._vague_blocks) else None
        size = -1 if stat.S_ISDIR(found.st_mode) else found.st_size
        rdev = found.st_rdev if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode) else 0
        mtime_ns = found.st_mtime_ns if found.st_mtime_ns < SET_TIME_NS_MAX else TIME_NOW
        return (oct(found.st_mode), found.st_nlink, found.st_uid, found.st_gid, rdev, size,
                mtime_ns, has_blocks)

    def at(self, path: str) -> bytes:
        """The real path."""
        if path.startswith("@/"):
            return self._elsewhere + path.encode()[1:]
        return self._base + b"/" + path.encode() if path else b""

    def _fd(self, slot: int) -> int:
        fd = self._slots.get(slot)
        if fd is None:
            raise OSError(errno.EBADF, "nothing open")
        return fd

    def _checked(self, result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), "")
        return result

    # --- names ---

    def do_umask(self, mask: int) -> Value:
        """For the calls that follow."""
        os.umask(mask)
        return None

    def do_mkdir(self, path: str, mode: int) -> Value:
        """mkdir(2)."""
        os.mkdir(self.at(path), mode)
        return None

    def do_rmdir(self, path: str) -> Value:
        """rmdir(2)."""
        os.rmdir(self.at(path))
        return None

    def do_unlink(self, path: str) -> Value:
        """unlink(2)."""
        os.unlink(self.at(path))
        return None

    def do_symlink(self, target: str, path: str) -> Value:
        """symlink(2); `target` as it is."""
        os.symlink(target.encode(), self.at(path))
        return None

    def do_readlink(self, path: str) -> Value:
        """readlink(2)."""
        return os.readlink(self.at(path))

    def do_link(self, old: str, new: str, follow: int = 0) -> Value:
        """linkat(2)."""
        # Not os.link, which leaves following links to the system's default.
        self._checked(self._libc.linkat(AT_FDCWD, self.at(old), AT_FDCWD, self.at(new),
                                        0x400 if follow else 0))
        return None

    def do_mknod(self, path: str, mode: int, device: int = 0) -> Value:
        """mknod(2)."""
        os.mknod(self.at(path), mode, device)
        return None

    def do_rename(self, old: str, new: str, flags: int = 0) -> Value:
        """renameat2(2)."""
        self._checked(self._libc.renameat2(AT_FDCWD, self.at(old), AT_FDCWD, self.at(new), flags))
        return None

    def do_list(self, path: str) -> Value:
        """opendir(3) and readdir(3)."""
        return sorted(os.listdir(self.at(path)))

    # --- attributes ---

    def do_lstat(self, path: str) -> Value:
        """lstat(2)."""
        return self.seen(os.lstat(self.at(path)))

    def do_stat(self, path: str) -> Value:
        """stat(2)."""
        return self.seen(os.stat(self.at(path)))

    def do_access(self, path: str, mode: int) -> Value:
        """faccessat(2) with AT_EACCESS."""
        return os.access(self.at(path), mode, effective_ids=True)

    def do_chmod(self, path: str, mode: int) -> Value:
        """chmod(2)."""
        os.chmod(self.at(path), mode)
        return None

    def do_chown(self, path: str, uid: int, gid: int, follow: int = 0) -> Value:
        """lchown(2), chown(2)."""
        os.chown(self.at(path), uid, gid, follow_symlinks=bool(follow))
        return None

    def do_truncate(self, path: str, size: int) -> Value:
        """truncate(2)."""
        self._vague_blocks = True
        os.truncate(self.at(path), size)
        return None

    def do_utimens(self, path: str, atime_ns: int, mtime_ns: int, follow: int = 0) -> Value:
        """utimensat(2); TIME_NOW and TIME_LEFT for UTIME_NOW and UTIME_OMIT."""
        special = {TIME_NOW: (1 << 30) - 1, TIME_LEFT: (1 << 30) - 2}
        words: list[int] = []
        for time_ns in (atime_ns, mtime_ns):
            words += [0, special[time_ns]] if time_ns in special else divmod(time_ns, 10**9)
        times = (ctypes.c_long * 4)(*words)
        self._checked(self._libc.utimensat(AT_FDCWD, self.at(path), times,
                                           0 if follow else 0x100))
        found = os.stat(self.at(path), follow_symlinks=bool(follow))
        if atime_ns == TIME_LEFT or not stat.S_ISREG(found.st_mode):
            # To look for it is to read it.
            return None
        return found.st_atime_ns if found.st_atime_ns < SET_TIME_NS_MAX else TIME_NOW

    def do_atime(self, path: str) -> Value:
        """lstat(2): the access time that was set, or TIME_NOW where a read was noted since."""
        found_ns = os.lstat(self.at(path)).st_atime_ns
        return found_ns if found_ns < SET_TIME_NS_MAX else TIME_NOW

    def do_set_xattr(self, path: str, name: str, value: bytes, flags: int = 0) -> Value:
        """lsetxattr(2)."""
        os.setxattr(self.at(path), name, value, flags, follow_symlinks=False)
        return None

    def do_get_xattr(self, path: str, name: str) -> Value:
        """lgetxattr(2)."""
        return os.getxattr(self.at(path), name, follow_symlinks=False)

    def do_remove_xattr(self, path: str, name: str) -> Value:
        """lremovexattr(2)."""
        os.removexattr(self.at(path), name, follow_symlinks=False)
        return None

    # --- open files ---

    def do_open(self, slot: int, path: str, flags: int, mode: int = 0o644) -> Value:
        """open(2) into a slot, never blocking; devices are opened only as far as to be refused."""
        real = self.at(path)
        kind = _kind(real) if not flags & os.O_NOFOLLOW else stat.S_IFREG
        if kind in (stat.S_IFCHR, stat.S_IFBLK) and not flags & os.O_PATH:
            raise OSError(errno.ENXIO, "a device")
        fd = os.open(real, flags | os.O_NONBLOCK, mode)
        self.do_close(slot)
        self._slots[slot] = fd
        return self.seen(os.fstat(fd))

    def do_close(self, slot: int) -> Value:
        """close(2)."""
        fd = self._slots.pop(slot, None)
        if fd is not None:
            os.close(fd)
        return None

    def do_write(self, slot: int, data: bytes) -> Value:
        """write(2)."""
        return os.write(self._regular(slot), data)

    def do_pwrite(self, slot: int, data: bytes, offset: int) -> Value:
        """pwrite(2)."""
        return os.pwrite(self._regular(slot), data, offset)

    def do_pread(self, slot: int, length: int, offset: int) -> Value:
        """pread(2)."""
        return os.pread(self._regular(slot), length, offset)

    def do_read(self, slot: int, length: int) -> Value:
        """read(2)."""
        return os.read(self._regular(slot), length)

    def do_read_mapped(self, slot: int, length: int) -> Value:
        """mmap(2), and a look at what is mapped."""
        with mmap.mmap(self._regular(slot), length, prot=mmap.PROT_READ) as mapped:
            return mapped[:]

    def do_list_open(self, slot: int) -> Value:
        """fdopendir(3) and readdir(3)."""
        return sorted(os.listdir(self._fd(slot)))

    def do_set_flags(self, slot: int, flags: int) -> Value:
        """fcntl(2) with F_SETFL."""
        return fcntl.fcntl(self._fd(slot), fcntl.F_SETFL, flags)

    def do_lseek(self, slot: int, offset: int, whence: int) -> Value:
        """lseek(2); of directories each file system has its own idea."""
        fd = self._regular(slot)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EISDIR, "a directory")
        return os.lseek(fd, offset, whence)

    def do_ftruncate(self, slot: int, size: int) -> Value:
        """ftruncate(2)."""
        self._vague_blocks = True
        os.ftruncate(self._fd(slot), size)
        return None

    def do_fallocate(self, slot: int, mode: int, offset: int, length: int) -> Value:
        """fallocate(2)."""
        self._vague_blocks = True
        self._checked(self._libc.fallocate(self._fd(slot), mode, ctypes.c_long(offset),
                                           ctypes.c_long(length)))
        return None

    def do_copy_range(self, source: int, offset: int, target: int, to: int, length: int) -> Value:
        """copy_file_range(2), as often as it takes: how much one call copies is not said."""
        self._vague_blocks = True
        done_len = 0
        while step_len := os.copy_file_range(self._fd(source), self._fd(target),
                                             length - done_len, offset + done_len, to + done_len):
            done_len += step_len
            if done_len == length:
                break
        return done_len

    def do_fsync(self, slot: int) -> Value:
        """fsync(2)."""
        os.fsync(self._fd(slot))
        return None

    def do_fchmod(self, slot: int, mode: int) -> Value:
        """fchmod(2)."""
        os.fchmod(self._fd(slot), mode)
        return None

    def do_fstat(self, slot: int) -> Value:
        """fstat(2)."""
        return self.seen(os.fstat(self._fd(slot)))

    def do_link_open(self, slot: int, new: str) -> Value:
        """linkat(2) of an open file, as after O_TMPFILE."""
        self._checked(self._libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % self._fd(slot), AT_FDCWD,
                                        self.at(new), 0x400))
        return None

    def do_limited_write(self, slot: int, data: bytes, offset: int, limit: int) -> Value:
        """pwrite(2) under RLIMIT_FSIZE, with SIGXFSZ ignored."""
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        action = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
        try:
            return os.pwrite(self._regular(slot), data, offset)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            signal.signal(signal.SIGXFSZ, action)

    def _regular(self, slot: int) -> int:
        """The descriptor, unless what comes out of it is not this file system's affair."""
        fd = self._fd(slot)
        if stat.S_IFMT(os.fstat(fd).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            raise OSError(errno.EBADF, "no regular file")
        return fd


def _kind(path: bytes) -> int:
    try:
        return stat.S_IFMT(os.stat(path).st_mode)
    except OSError:
        return 0


def _content(path: bytes) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
    try:
        content = os.pread(fd, READ_LEN_MAX, 0)
        if len(content) <= CONTENT_SHOWN_LEN:
            return content
        return b"%d bytes, %s" % (len(content), hashlib.blake2b(content).hexdigest()[:16].encode())
    finally:
        os.close(fd)


def _xattrs(path: bytes) -> dict[str, bytes]:
    return {name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False) if name != "security.selinux"}
