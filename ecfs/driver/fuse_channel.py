"""Mounting and unmounting without a FUSE library: the kernel's device and its file descriptor."""

import array
import contextlib
import ctypes
import logging
import os
import socket
import subprocess
from collections.abc import Iterable

from ecfs.base.errors import MountFailed
from ecfs.base.fuse import DEVICE, HELPER
from ecfs.base.limits import REQUEST_LEN_MAX

_log = logging.getLogger("ecfs.driver")

MOUNT_FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "sync": 16, "dirsync": 128,
               "noatime": 1024, "nodiratime": 2048}
UNDONE_FLAGS = {"rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "async": "sync"}
MNT_DETACH = 2
HELPER_WAIT_S = 30.0


def mount(mountpoint: str, words: Iterable[str], *, allow_other: bool, checks_modes: bool) -> int:
    """Mount `fuse.ecfs` on a directory; returns the descriptor on which its requests arrive.

    `words` are mount flags, later ones first; unknown ones are refused (ValueError). nosuid and
    nodev hold unless `suid` and `dev` are given. `checks_modes`: the kernel holds callers to the
    modes of files. Root mounts by itself, others through fusermount3. Raises MountFailed.
    """
    flags = {"nosuid", "nodev"}
    for word in words:
        if word in UNDONE_FLAGS:
            flags.discard(UNDONE_FLAGS[word])
        elif word in MOUNT_FLAGS:
            flags.add(word)
        else:
            raise ValueError(f"unknown mount flag {word!r}")
    own = [word for word, wanted in (("default_permissions", checks_modes),
                                     ("allow_other", allow_other)) if wanted]
    if os.geteuid() == 0:
        return _mount_as_root(mountpoint, flags, own)
    return _mount_by_helper(mountpoint, [*sorted(flags), *own])


def unmount(mountpoint: str) -> None:
    """Take the mount away, from under open files too. Blocks while dirty pages are written out."""
    if os.geteuid() == 0:
        if _libc().umount2(os.fsencode(mountpoint), MNT_DETACH):
            _log.info("%s: %s", mountpoint, os.strerror(ctypes.get_errno()))
        return
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run([HELPER, "-u", "-z", "-q", "--", mountpoint], check=False,
                       timeout=HELPER_WAIT_S)


def _mount_as_root(mountpoint: str, flags: set[str], own: list[str]) -> int:
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise MountFailed(f"{DEVICE} cannot be opened: {error.strerror}; load the module "
                          "(`modprobe fuse`), or give the container that device") from error
    kind = os.stat(mountpoint).st_mode
    data = ",".join([f"fd={fd}", f"rootmode={kind & 0o170000:o}", f"user_id={os.getuid()}",
                     f"group_id={os.getgid()}", f"max_read={REQUEST_LEN_MAX}", *own])
    bits = sum(MOUNT_FLAGS[flag] for flag in flags)
    if _libc().mount(b"ecfs", os.fsencode(mountpoint), b"fuse.ecfs", ctypes.c_ulong(bits),
                     data.encode()):
        number = ctypes.get_errno()
        os.close(fd)
        raise MountFailed(f"{mountpoint} cannot be mounted: {os.strerror(number)}; see that this "
                          "user, or container, may mount")
    return fd


def _mount_by_helper(mountpoint: str, words: list[str]) -> int:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    options = ",".join(["fsname=ecfs", "subtype=ecfs", f"max_read={REQUEST_LEN_MAX}", *words])
    with ours, theirs:
        result = subprocess.run(
            [HELPER, "-o", options, "--", mountpoint], pass_fds=[theirs.fileno()], check=False,
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())}, timeout=HELPER_WAIT_S,
            stderr=subprocess.PIPE)
        if result.returncode:
            told = result.stderr.decode(errors="replace").strip() or "it does not say why"
            raise MountFailed(f"{mountpoint} cannot be mounted: {told}; see that this user may "
                              f"open {DEVICE}, and use what the options ask for (/etc/fuse.conf)")
        fds = array.array("i")
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_LEN(fds.itemsize))
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[:fds.itemsize])
    if not fds:
        raise MountFailed(f"{mountpoint} cannot be mounted: {HELPER} sent no descriptor; install "
                          "one that belongs to this kernel (Debian's package fuse3)")
    os.set_blocking(fds[0], False)
    os.set_inheritable(fds[0], False)
    return fds[0]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
