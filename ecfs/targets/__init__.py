"""Places for bytes: files of a flat, validated name space that may fail, lie or hang at any time.

Owns how a file of a target is created, read, written, synced and removed, which error of the
operating system is which `Fault`, and the one thread (`Lane`) that works for each target. Knows
nothing of what the bytes mean: nothing here is authenticated, parsed or trusted.
"""

from ecfs.targets.directory import DirectoryTarget
from ecfs.targets.faulty import FaultyTarget, Outcome
from ecfs.targets.file_budget import files_open_max
from ecfs.targets.gathering import Gathering
from ecfs.targets.jobs import AnyLane, Job, LoopWaiter, Wakers
from ecfs.targets.lanes import InlineLane, Lane, run_all
from ecfs.targets.memory import MemoryTarget
from ecfs.targets.name_watch import NameWatch
from ecfs.targets.names import check_name
from ecfs.targets.protocol import Buffer, Space, Target
from ecfs.targets.reading import READ_WINDOW_NS_MAX
from ecfs.targets.recording import Call, RecordingTarget
from ecfs.targets.together import SyncSteps, Together, run_steps

__all__ = [
    "READ_WINDOW_NS_MAX", "AnyLane", "Buffer", "Call", "DirectoryTarget", "FaultyTarget",
    "Gathering",
    "InlineLane", "Job", "Lane", "LoopWaiter", "MemoryTarget", "NameWatch", "Outcome",
    "RecordingTarget", "Space", "SyncSteps", "Target", "Together", "Wakers", "check_name",
    "files_open_max", "run_all", "run_steps",
]
