"""A slice of the kill loop: real mounts, killed at random moments, with and without rot.

ECFS_KILL_LOOPS: how many lives each (8). `scripts/kill-loop` goes on for as long as there is time.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from ecfs.testing.killing import KillLoop

LOOPS_COUNT = int(os.environ.get("ECFS_KILL_LOOPS", "8"))


@pytest.mark.parametrize("damage", [False, True])
def test_killed_again_and_again(damage: bool) -> None:
    base = Path(tempfile.mkdtemp(prefix="ecfs-kill-", dir="/dev/shm"))
    loop = KillLoop(base, 4, damage=damage)
    try:
        loop.run(loops=LOOPS_COUNT)
    except BaseException as error:
        error.add_note("\n".join(loop.history))
        raise
    finally:
        loop.clear()
        shutil.rmtree(base)
    assert loop.tally.acknowledged_count > LOOPS_COUNT
    assert bool(loop.tally.damages) is damage
