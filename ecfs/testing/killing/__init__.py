"""A real mount that is killed again and again while its targets rot: nothing that counts is lost.

The process under test is the installed program; damage is done to the files of the targets, and
what must be there is told by an `Oracle`.
"""

from ecfs.testing.killing.damage import Damager
from ecfs.testing.killing.loop import KillLoop, Tally
from ecfs.testing.killing.pool import RealPool
from ecfs.testing.killing.writer import Writer

__all__ = ["Damager", "KillLoop", "RealPool", "Tally", "Writer"]
