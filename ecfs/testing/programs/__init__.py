"""Programs that people use, each on a mount of a real pool: it must succeed and differ in nothing.

Each is a function of two directories, one on the mount and one on a kernel file system; it raises
when anything is not as it should be. `CATALOGUE` names them, `running` runs them.
"""

from ecfs.testing.programs.catalogue import CATALOGUE
from ecfs.testing.programs.running import Program, Stage, run_program, staged

__all__ = ["CATALOGUE", "Program", "Stage", "run_program", "staged"]
