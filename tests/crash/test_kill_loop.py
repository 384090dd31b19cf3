"""A slice of the kill loop: real mounts, killed while their targets rot."""

import shutil
import tempfile
from pathlib import Path

from ecfs.testing.killing import KillLoop


def test_killed_while_the_targets_rot() -> None:
    base = Path(tempfile.mkdtemp(prefix="ecfs-kill-", dir="/dev/shm"))
    loop = KillLoop(base, 4)
    try:
        loop.run(loops=6)
    except BaseException as error:
        error.add_note("\n".join(loop.history))
        raise
    finally:
        loop.clear()
        shutil.rmtree(base)
    assert loop.tally.acknowledged_count > 10
    assert loop.tally.damages
