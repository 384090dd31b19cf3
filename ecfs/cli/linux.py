"""What the kernel offers that Python does not: process flags, mounts, waiting for a process."""

import ctypes
import errno
import os
import re
import resource
import select
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ecfs.base.errors import EcfsError
from ecfs.base.fuse import DEVICE, HELPER
from ecfs.base.limits import DESCRIPTORS_WANTED, FILE_LEN_WANTED
from ecfs.base.paths import ask_patiently
from ecfs.base.processes import process_start

_PR_SET_DUMPABLE = 4
_UMOUNT_NOFOLLOW = 8
_CLONE_NEWNS = 0x00020000
_PROC_ENTRIES_MAX = 100_000
_HOLDERS_MAX = 8
# What was asked before the kernel had noticed gets the second.
_SERVER_GONE = (errno.ENOTCONN, errno.ECONNABORTED)
_OCTAL = re.compile(rb"\\([0-7]{3})")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _raise_errno(path: str | None = None) -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), path)


def harden() -> None:
    """Keeps plaintext and keys out of core dumps and other processes' reach."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        _raise_errno()


def raise_descriptor_limit() -> None:
    """Let this process open DESCRIPTORS_WANTED files, or as many as it may allow itself.

    The usual soft limit of 1,024 is for programs that call select(2), of which this is none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def raise_file_length_limit() -> None:
    """Let this process write files of any length, or of as much as it may allow itself.

    A soft limit (`ulimit -f`) is meant for the files of programs in a shell. Here it would be met
    in the middle of a commit, on all targets at once.
    """
    unlimited = resource.RLIM_INFINITY
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def unmount(mountpoint: str) -> None:
    """umount2(2) without following a symbolic link; raises OSError (EBUSY, EINVAL, EPERM)."""
    if _libc().umount2(os.fsencode(mountpoint), _UMOUNT_NOFOLLOW) != 0:
        _raise_errno(mountpoint)


def check_can_mount() -> None:
    """EcfsError where this machine, or container, has no FUSE for this user, or no long files."""
    try:
        there = stat.S_ISCHR(os.stat(DEVICE).st_mode)
    except FileNotFoundError:
        there = False
    if not there:
        raise EcfsError(f"there is no {DEVICE}; load the module (`modprobe fuse`), or give "
                        "the container that device")
    if os.geteuid() != 0 and shutil.which(HELPER) is None:
        raise EcfsError(f"{HELPER} is not there, which mounts for ordinary users; install it "
                        "(Debian's package fuse3)")
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit not in (resource.RLIM_INFINITY, -1) and limit < FILE_LEN_WANTED:
        raise EcfsError(f"files may not be longer than {limit} bytes here (`ulimit -H -f`), too "
                        "little for those on targets, which grow as long as a pool is mounted; "
                        "mount where there is no such limit")


def write_pages(mountpoint: str) -> None:
    """syncfs(2): what the kernel holds of written pages goes to the file system at `mountpoint`."""
    descriptor = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc().syncfs(descriptor) != 0:
            _raise_errno(mountpoint)
    finally:
        os.close(descriptor)


def enter_mount_namespace(namespace: str) -> None:
    """setns(2) into the mount namespace of a process id or of a file; raises EcfsError."""
    path = f"/proc/{namespace}/ns/mnt" if namespace.isdigit() else namespace
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc().setns(descriptor, _CLONE_NEWNS) != 0:
                _raise_errno(path)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise EcfsError(
            f"the mount namespace {path} cannot be entered: {error.strerror}") from error


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo, or of fstab(5). `device` is the minor number, which is that
    of the connection of a FUSE mount."""

    mountpoint: str
    fs_type: str
    source: str
    options: str = ""
    device: str = ""

    @property
    def is_ecfs(self) -> bool:
        """Whether ecfs serves it, as far as its type tells."""
        return self.fs_type in ("ecfs", "fuse.ecfs")


def unescape(field: bytes) -> str:
    r"""A field of mountinfo or fstab, where a space is `\040`."""
    return os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field))


def parse_mountinfo(content: bytes) -> list[Mount]:
    """The mounts of proc(5) mountinfo, oldest first; lines of another form are passed over."""
    mounts = []
    for line in content.splitlines():
        fields = line.split(b" ")
        if b"-" not in fields:
            continue
        rest = fields[fields.index(b"-") + 1 :]
        if len(fields) < 7 or len(rest) < 2:
            continue
        device = fields[2].rpartition(b":")[2].decode("ascii", "replace")
        mounts.append(Mount(unescape(fields[4]), unescape(rest[0]), unescape(rest[1]),
                            device=device))
    return mounts


def parse_fstab(content: bytes) -> list[Mount]:
    """The entries of fstab(5)."""
    mounts = []
    for line in content.splitlines():
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith(b"#"):
            continue
        source, mountpoint, fs_type = (unescape(field) for field in fields[:3])
        options = unescape(fields[3]) if len(fields) > 3 else ""
        mounts.append(Mount(mountpoint, fs_type, source, options))
    return mounts


def mount_at(path: str) -> Mount | None:
    """What is mounted at `path` itself (the topmost, where mounts are stacked); None if nothing."""
    found = None
    for mount in parse_mountinfo(Path("/proc/self/mountinfo").read_bytes()):
        if mount.mountpoint == path:
            found = mount
    return found


def mounts_of(device: str) -> list[Mount]:
    """The mounts of ecfs, oldest first, that have this device: a mount and its bind mounts, as far
    as this mount namespace has them."""
    found = parse_mountinfo(Path("/proc/self/mountinfo").read_bytes())
    return [mount for mount in found if mount.is_ecfs and mount.device == device]


def is_server_dead(mountpoint: str) -> bool | None:
    """Whether the process that served a FUSE mount has died; None where that is not told: the mount
    is of a user who shares it with nobody, or it does not answer."""
    def ask() -> bool | None:
        try:
            # Not stat(2), which the kernel answers from its cache.
            os.listdir(mountpoint)
        except OSError as error:
            return True if error.errno in _SERVER_GONE else None
        return False

    return ask_patiently(ask, otherwise=None)


def boot_id() -> str:
    """The id of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def wait_for_exit(pid: int, start: int, timeout_s: float | None = None) -> bool:
    """Waits until the process (told by its pid and start) is gone; False when the time ran out."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if process_start(pid) != start:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
    finally:
        os.close(descriptor)


def holders(*folders: str, only_open: bool = False) -> list[str]:
    """Other processes that use `folders` or what lies below: `vim (pid 12)`, a few at most.

    With `only_open` those that have something open there, and not those that merely stand in one.
    """
    below = tuple(folder.rstrip("/") + "/" for folder in folders)
    found: list[str] = []
    for pid in _other_processes():
        if len(found) >= _HOLDERS_MAX:
            break
        links = [*_descriptors_of(pid).values(), *([] if only_open else _places_of(pid))]
        if any(link in folders or link.startswith(below) for link in links):
            found.append(f"{_process_name(pid)} (pid {pid})")
    return found


def server_of(mount: Mount) -> tuple[int, int] | None:
    """The pid and start of the process that serves a FUSE mount, as far as /proc tells: the kernel
    must be new enough to say which connection a descriptor is of, and the caller be root."""
    for pid in _other_processes():
        if any(link == DEVICE and _is_of_connection(pid, name, mount.device)
               for name, link in _descriptors_of(pid).items()):
            start = process_start(pid)
            return None if start is None else (pid, start)
    return None


def _is_of_connection(pid: int, descriptor: str, device: str) -> bool:
    try:
        told = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text()
    except OSError:
        return False
    return f"fuse_connection:\t{device}\n" in told


def _other_processes() -> Iterator[int]:
    for entry in os.listdir("/proc")[:_PROC_ENTRIES_MAX]:
        if entry.isdigit() and int(entry) != os.getpid():
            yield int(entry)


def _descriptors_of(pid: int) -> dict[str, str]:
    """Where each open descriptor of a process leads, by its number. Best effort."""
    base = f"/proc/{pid}/fd"
    try:
        names = os.listdir(base)[:_PROC_ENTRIES_MAX]
    except OSError:
        return {}
    return {name: link for name in names if (link := _link(f"{base}/{name}"))}


def _places_of(pid: int) -> list[str]:
    """The directory, root and program of a process. Best effort."""
    return [link for name in ("cwd", "root", "exe") if (link := _link(f"/proc/{pid}/{name}"))]


def _link(path: str) -> str:
    """Where a symbolic link leads; empty where that is not told."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _process_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "a process"
