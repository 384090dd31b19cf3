"""Settings of the machine that make a mount faster or safer; each is tried, none is needed."""

import contextlib
import ctypes
import logging
import os
from pathlib import Path

from ecfs.base.units import KIB

_log = logging.getLogger("ecfs.driver")

PR_SET_IO_FLUSHER = 57


def set_read_ahead(mountpoint: str, length: int) -> bool:
    """Let the kernel read that many bytes ahead on this mount; whether it took the setting.

    Blocks until the mount answers a stat, so it runs in a thread while the loop serves.
    """
    device = os.stat(mountpoint).st_dev
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    try:
        setting.write_text(str(length // KIB))
    except OSError as error:
        _log.info("read-ahead of the mount stays as it is: %s", error)
        return False
    return True


def set_io_flusher() -> None:
    """Tell the kernel that this thread writes pages out, so that reclaim never waits for it."""
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0):
            _log.info("no I/O flusher mode: %s", os.strerror(ctypes.get_errno()))
