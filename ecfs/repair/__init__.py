"""Putting things right: mending, scrub, catching up, rebuilding, fsck passes, salvage.

Owns every decision to rewrite what is stored. It checks before and after, and never writes what it
did not verify.
"""

from ecfs.repair.checking import check_pool
from ecfs.repair.findings import Finding, FsckMode, FsckReport
from ecfs.repair.mending import MendingQueue
from ecfs.repair.progress import Progress
from ecfs.repair.rebuilding import RebuildReport, replace_target
from ecfs.repair.salvage import SalvageReport, salvage
from ecfs.repair.scrubbing import ScrubReport, scrub

__all__ = [
    "Finding", "FsckMode", "FsckReport", "MendingQueue", "Progress", "RebuildReport",
    "SalvageReport", "ScrubReport", "check_pool", "replace_target", "salvage", "scrub",
]
