"""A mount by somebody who is not root: through fusermount3, for that user alone.

In a mount namespace of its own, where /dev/fuse is open to everybody as on ordinary machines.
"""

import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.posix.conftest import REPOSITORY

USER = pwd.getpwnam("nobody").pw_uid
WAIT_S = 20
DEVICE = os.makedev(10, 229)


@dataclass(frozen=True)
class Inside:
    """The namespace of a mount."""

    place: Path
    pid: int

    def run(self, uid: int, command: str) -> subprocess.CompletedProcess[str]:
        """What a shell command of a user comes to in there."""
        return subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", f"--setuid={uid}", f"--setgid={uid}",
             "sh", "-c", command], capture_output=True, text=True, check=False)


@pytest.fixture(params=[(), ("pyfuse3",)], ids=["raw", "pyfuse3"])
def inside(request: pytest.FixtureRequest) -> Iterator[Inside]:
    with tempfile.TemporaryDirectory(prefix="ecfs-user-") as base:
        os.chmod(base, 0o755)
        place, device = Path(base) / "mount", Path(base) / "fuse"
        place.mkdir()
        os.chown(place, USER, USER)
        os.mknod(device, stat.S_IFCHR | 0o666, DEVICE)
        device.chmod(0o666)
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" /dev/fuse; shift; exec "$@"',
             "sh", str(device), sys.executable, "-m", "ecfs.testing.memory_mount", str(place),
             f"user={USER}", *request.param], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
        assert process.stdin and process.stdout
        try:
            assert process.stdout.readline() == "ready\n", process.communicate()
            yield Inside(place, process.pid)
        finally:
            _, log = process.communicate(timeout=WAIT_S)
    assert (log, process.returncode) == ("", 0)


def test_its_user_works_in_it_and_nobody_else_gets_in(inside: Inside) -> None:
    place = inside.place
    done = inside.run(USER, f"cd {place} && echo content > f && cat f && mkdir d && rm -r f d")
    assert (done.stdout, done.stderr) == ("content\n", "")
    for other in (0, 61001):
        refused = inside.run(other, f"ls {place}")
        assert refused.returncode != 0 and "Permission denied" in refused.stderr
    mounts = inside.run(0, "cat /proc/self/mounts").stdout.splitlines()
    line, = (one for one in mounts if f" {place} " in one)
    assert f"user_id={USER}" in line and "fuse.ecfs" in line
    assert "nosuid" in line and "nodev" in line
    assert not place.is_mount()
