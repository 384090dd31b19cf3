"""How many files the targets of one process may keep open."""

import resource

from ecfs.base.limits import TARGET_FILES_OPEN_MAX, TARGETS_MAX

FILES_OPEN_MIN = 4
OTHER_DESCRIPTORS_COUNT = 256
"""Directories of targets, calls under way, sockets, logs, threads, the device of the mount."""


def files_open_max() -> int:
    """How many files each target may keep open, so that those of TARGETS_MAX targets are within the
    limit of this process: without that, its own limit would look like the failure of a target."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return TARGET_FILES_OPEN_MAX
    share = (soft - OTHER_DESCRIPTORS_COUNT) // TARGETS_MAX
    return min(TARGET_FILES_OPEN_MAX, max(FILES_OPEN_MIN, share))
