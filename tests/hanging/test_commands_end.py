"""Commands end, though a call of theirs on a target never does: not even SIGKILL ends that one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.testing.mounted_pool import ECFS, REPOSITORY, MountedPool

SOON_S = 60
SERVER = """
import sys, pyfuse3, trio
class Hanging(pyfuse3.Operations):
    async def _never(self, *words, **named):
        await trio.sleep_forever()
    getattr = lookup = opendir = statfs = access = _never
pyfuse3.init(Hanging(), sys.argv[1], {"fsname=hanging", "allow_other"})
print("ready", flush=True)
trio.run(pyfuse3.main)
"""


@pytest.fixture
def pool() -> Iterator[MountedPool]:
    """A pool that has been made, and a file system on its first target that takes each request and
    never answers it, as a share does whose server is gone."""
    place = Path(tempfile.mkdtemp(prefix="ecfs-hanging-", dir="/dev/shm"))
    pool = MountedPool(place)
    with subprocess.Popen([sys.executable, "-c", SERVER, pool.targets[0]], cwd=REPOSITORY,
                          stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None and server.stdout.readline() == "ready\n"
            yield pool
        finally:
            server.kill()
            subprocess.run(["umount", "--lazy", pool.targets[0]], check=False)
            if pool.mountpoint.is_mount():
                pool.unmount()
            shutil.rmtree(place)


def started(pool: MountedPool, *words: str | Path) -> subprocess.Popen[str]:
    place = pool.mountpoint.parent
    environment = os.environ | {"XDG_STATE_HOME": str(place / "state"),
                                "XDG_RUNTIME_DIR": str(place / "run")}
    return subprocess.Popen(
        [*ECFS, words[0], "--passfile", place / "passphrase", *words[1:]], cwd=REPOSITORY,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_a_command_ends_once_it_has_told_all(pool: MountedPool) -> None:
    paths = ":".join(map(str, pool.targets))
    with started(pool, "status", "--json", paths) as status:
        report, _ = status.communicate(timeout=SOON_S)
    assert status.returncode == 0 and json.loads(report)["state"] == "degraded"
    with started(pool, "mount", paths, pool.mountpoint) as mount:
        assert mount.wait(SOON_S) == 0
    assert pool.mountpoint.is_mount()


def test_a_command_that_is_killed_ends(pool: MountedPool) -> None:
    with started(pool, "status", "--json", ":".join(map(str, pool.targets))) as status:
        with pytest.raises(subprocess.TimeoutExpired):
            status.wait(2)
        status.send_signal(signal.SIGTERM)
        assert status.wait(SOON_S) == -signal.SIGTERM
