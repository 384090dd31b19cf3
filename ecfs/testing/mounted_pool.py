"""A real pool over six directories on one RAM disk, through the command line. For tests, scripts.

Everything it needs (targets, state, sockets, log) lies beneath one directory that the caller owns.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecfs.base.errors import Bug

REPOSITORY = Path(__file__).parents[2]
OPTIONS = "allow_other,dev,suid"
TARGETS_COUNT = 6
COMMAND_WAIT_S = 120.0
ECFS = (sys.executable, "-c", "from ecfs.cli import main; main()")


@contextmanager
def mounted_pool(options: str = OPTIONS) -> "Iterator[MountedPool]":
    """A fresh pool on a RAM disk, mounted; what it was used for must leave it clean."""
    with tempfile.TemporaryDirectory(prefix="ecfs-mounted-", dir="/dev/shm") as base:
        Path(base).chmod(0o755)
        pool = MountedPool(Path(base), options=options)
        pool.mount()
        try:
            yield pool
        finally:
            pool.unmount()
        pool.check()


class MountedPool:
    """One pool, 4+2. Its methods raise CalledProcessError when a command fails."""

    def __init__(self, place: Path, *, options: str = OPTIONS,
                 furnish: Callable[[list[Path]], None] = lambda targets: None) -> None:
        """Lay out and make the pool beneath `place`, which exists and is empty. `furnish` gets the
        targets' directories before the pool is made, to mount something on them."""
        self.mountpoint = place / "mount"
        self.log = place / "log"
        self._options = options
        self._environment = os.environ | {"XDG_STATE_HOME": str(place / "state"),
                                          "XDG_RUNTIME_DIR": str(place / "run")}
        self.targets = [place / f"target{number}" for number in range(TARGETS_COUNT)]
        for path in (*self.targets, self.mountpoint, place / "state", place / "run"):
            path.mkdir()
        (place / "passphrase").write_text("posix\n")
        self._secret = ("--passfile", str(place / "passphrase"))
        self._pool = ":".join(map(str, self.targets))
        furnish(self.targets)
        self._ecfs("mkfs", "--data", "4", "--parity", "2", *self._secret,
                   *map(str, self.targets))

    def mount(self) -> None:
        """Mount; usable on return."""
        self._ecfs("mount", *self._secret, "-o", self._options, "--log-file", str(self.log),
                   self._pool, str(self.mountpoint))

    def unmount(self) -> None:
        """Unmount; everything is durable on return."""
        self._ecfs("umount", str(self.mountpoint))

    def sync(self) -> None:
        """Everything is durable on return, while mounted."""
        self._ecfs("sync", str(self.mountpoint))

    def kill(self) -> None:
        """SIGKILL the process that serves, and take the dead mount away."""
        pid = self.serving_pid()
        os.kill(pid, signal.SIGKILL)
        subprocess.run(["umount", "--lazy", self.mountpoint], check=True)

    def status(self) -> dict[str, Any]:
        """`ecfs.status/1` of the mounted pool."""
        report = self._ecfs("status", "--json", str(self.mountpoint))
        found: dict[str, Any] = json.loads(report)
        return found

    def replace(self, target: Path, new: Path) -> None:
        """`ecfs target replace` while mounted."""
        self._ecfs("target", "replace", *self._secret, str(self.mountpoint), str(target), str(new))
        self.targets[self.targets.index(target)] = new
        self._pool = ":".join(map(str, self.targets))

    def fsck(self) -> None:
        """A full fsck of the unmounted pool finds nothing."""
        self._ecfs("fsck", "-n", "-f", *self._secret, self._pool)

    def check(self) -> None:
        """A full fsck of the unmounted pool finds nothing, and the log holds no error."""
        self.fsck()
        bad = [line for line in self.log.read_text().splitlines()
               if " ERROR " in line or " CRITICAL " in line]
        if bad:
            raise Bug("the mount logged errors: " + "; ".join(bad[:5]))

    def run_elsewhere(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb on the pool's targets, as another user of this machine runs it, who has another
        directory for state, locks and sockets. Its words come before the pool's."""
        verb, *rest = words
        mountpoint = [self.mountpoint.parent / "other-mount"] if verb == "mount" else []
        return self._elsewhere(verb, *self._secret, *rest, self._pool, *mountpoint)

    def make_again_elsewhere(self) -> subprocess.CompletedProcess[str]:
        """`ecfs mkfs --force` over the same targets, by the other user."""
        return self._elsewhere("mkfs", "--force", "--data", "4", "--parity", "2", *self._secret,
                               *self.targets)

    def unmount_elsewhere(self, mountpoint: Path) -> subprocess.CompletedProcess[str]:
        """A mount of either, as the other user does it."""
        done = self._elsewhere("umount", mountpoint)
        done.check_returncode()
        return done

    def _elsewhere(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        place = self.mountpoint.parent
        for name in ("other-state", "other-run", "other-mount"):
            (place / name).mkdir(exist_ok=True)
        other = self._environment | {"XDG_STATE_HOME": str(place / "other-state"),
                                     "XDG_RUNTIME_DIR": str(place / "other-run")}
        return subprocess.run([*ECFS, *words], check=False, env=other, cwd=REPOSITORY,
                              capture_output=True, text=True, timeout=COMMAND_WAIT_S)

    def serving_pid(self) -> int:
        """Of the process that serves the mount. Bug if none does."""
        for record in (self.mountpoint.parent / "run").rglob("*.json"):
            found = json.loads(record.read_text())
            if found.get("mountpoint") == str(self.mountpoint):
                return int(found["pid"])
        raise Bug(f"nothing serves {self.mountpoint}")

    def _ecfs(self, *words: str) -> str:
        return subprocess.run(
            [*ECFS, *words], check=True,
            env=self._environment, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
            errors="surrogateescape").stdout
