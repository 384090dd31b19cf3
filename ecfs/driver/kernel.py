"""Settings of the machine that make a mount faster or safer; each is tried, none is needed."""

import contextlib
import ctypes
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ecfs.base.units import KIB

_log = logging.getLogger("ecfs.driver")

PR_SET_IO_FLUSHER = 57
ANYBODY_RUNS = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
FILE_SYSTEM_TYPE = "fuse.ecfs"
ALL_USERS = ["0", "0", str((1 << 32) - 1)]
"""The map of a user namespace in which each user is himself."""


@dataclass(frozen=True, slots=True)
class MountedDevice:
    """The number by which the kernel knows one mount, as long as it exists."""

    major: int
    minor: int


def is_root_of_machine() -> bool:
    """Whether this process is the user 0, and not of a user namespace."""
    try:
        return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == ALL_USERS
    except OSError:
        return False


def compares_modes(*, allow_other: bool) -> bool:
    """Whether the kernel is to hold callers of a mount of this process to modes.

    Root alone may do everything, so it would be asked after each change of a directory what the
    directory's mode is, a fifth of the time that a new file takes, to no end.
    """
    return allow_other or not is_root_of_machine()


def root_may(mode: int, mask: int) -> bool:
    """access(2) and chdir(2) of root, who may do all but run what nobody may."""
    return not mask & os.X_OK or stat.S_ISDIR(mode) or bool(mode & ANYBODY_RUNS)


def mounted_device(mountpoint: str) -> MountedDevice | None:
    """The device of the ecfs mount that one sees at a path; None if there is no such mount."""
    wanted = os.path.abspath(mountpoint)
    found = None
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if _unescaped(fields[4]) == wanted:
            major, _, minor = fields[2].partition(":")
            is_ours = after.split(" ", 1)[0] == FILE_SYSTEM_TYPE
            found = MountedDevice(int(major), int(minor)) if is_ours else None
    return found


def set_read_ahead(mountpoint: str, length: int) -> None:
    """Let the kernel read that many bytes ahead on this mount; what it refuses is logged.

    Blocks until the mount answers, so it runs in a thread while the loop serves: only then does the
    kernel take the setting. Raises OSError if the mount answers with one.
    """
    os.stat(mountpoint)
    device = mounted_device(mountpoint)
    if device is None:
        return
    setting = Path(f"/sys/class/bdi/{device.major}:{device.minor}/read_ahead_kb")
    try:
        setting.write_text(str(length // KIB))
    except OSError as error:
        _log.info("read-ahead of the mount stays as it is: %s", error)


def set_io_flusher() -> None:
    """Tell the kernel that this thread writes pages out, so that reclaim never waits for it."""
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0):
            _log.info("no I/O flusher mode: %s", os.strerror(ctypes.get_errno()))


def _unescaped(field: str) -> str:
    """mountinfo writes space, tab, newline and backslash as octal numbers."""
    for character in " \t\n":
        field = field.replace(f"\\{ord(character):03o}", character)
    return field.replace("\\134", "\\")
