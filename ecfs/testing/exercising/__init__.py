"""Random calls on files of a real mount while its targets rot, vanish and are set back in time.

Each file is held against plain bytes in memory, byte for byte, by every call that reads. The idea
is that of fsx, the file system exerciser of A. Tevanian (NeXT, 1991); new are ranges that files
share, and disks that lie while it runs.
"""

from ecfs.testing.exercising.course import Course, Tally
from ecfs.testing.exercising.exerciser import Exerciser
from ecfs.testing.exercising.tormentor import Tormentor
from ecfs.testing.exercising.tracked_file import TrackedFile

__all__ = ["Course", "Exerciser", "Tally", "Tormentor", "TrackedFile"]
