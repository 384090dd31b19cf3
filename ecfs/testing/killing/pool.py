"""A pool over directories, and the process that has it mounted."""

import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from ecfs.testing.mounted_pool import COMMAND_WAIT_S, ECFS

MOUNT_WAIT_S = 60.0
FSCK_CORRECTED = 1


class RealPool:
    """A pool of six targets, 4+2, below `base`, which is an empty directory."""

    def __init__(self, base: Path) -> None:
        self._environment = os.environ | {
            "XDG_STATE_HOME": str(base / "state"), "XDG_RUNTIME_DIR": str(base / "run"),
            "PYTHONPATH": str(Path(__file__).parents[3])}
        self._passfile = base / "passfile"
        self._passfile.write_text("correct horse\n")
        self.log = base / "log"
        self.mountpoint = base / "mnt"
        self.mountpoint.mkdir()
        (base / "run").mkdir(mode=0o700)
        self.targets = [base / f"t{number}" for number in range(6)]
        self._process: subprocess.Popen[bytes] | None = None
        self.run("mkfs", "--data", "4", "--parity", "2", "--kdf-memory", "64M", "--passfile",
                 str(self._passfile), *map(str, self.targets))

    @property
    def _pool(self) -> str:
        return ":".join(map(str, self.targets))

    def run(self, *words: str, statuses: tuple[int, ...] = (0,)) -> str:
        """A command that must end with one of `statuses`; what it prints."""
        done = subprocess.run([*ECFS, *words], env=self._environment, capture_output=True,
                              timeout=COMMAND_WAIT_S, check=False)
        if done.returncode not in statuses:
            raise AssertionError(f"{' '.join(words)} ended with {done.returncode}: "
                                 f"{done.stdout.decode()} {done.stderr.decode()}")
        return done.stdout.decode()

    def mount(self) -> None:
        """Over the dead mount of a killed process, if there is one."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*ECFS, "mount", "--foreground", "--passfile", str(self._passfile), self._pool,
                 str(self.mountpoint)], env=self._environment, stdout=log, stderr=log)
        until = time.monotonic() + MOUNT_WAIT_S
        while not self._is_served():
            if self._process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"it did not mount: {self.log.read_text()[-4000:]}")
            threading.Event().wait(0.02)

    def _is_served(self) -> bool:
        try:
            return self.mountpoint.is_mount() and os.listdir(self.mountpoint) is not None
        except OSError:
            return False

    def kill(self) -> None:
        """As `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)

    def unmount(self) -> None:
        """Cleanly; returns when everything is durable and the process has ended."""
        self.run("umount", str(self.mountpoint))
        if self._process is not None and self._process.wait(30):
            raise AssertionError(f"the mount ended badly: {self.log.read_text()[-4000:]}")

    def status(self) -> dict[str, Any]:
        """`ecfs.status/1` of the mounted pool."""
        report: dict[str, Any] = json.loads(self.run("status", "--json", str(self.mountpoint)))
        return report

    def scrub(self) -> None:
        """Everything that is bad is put right."""
        self.run("scrub", str(self.mountpoint))

    def check_unaccused(self, victims: list[Path]) -> None:
        """No target but `victims` is out, or has an error counted against it."""
        hurt = {str(path) for path in victims}
        for target in self.status()["targets"]:
            if target["path"] not in hurt:
                assert not any(target["errors"].values()), f"an honest target is accused: {target}"
                assert target["state"] == "online", f"an honest target is left out: {target}"

    def heal(self, victims: list[Path]) -> list[Path]:
        """A scrub puts everything right, so that others may be hurt next. A target whose labels are
        all beyond repair is none: another one takes its place. Returns those."""
        self.scrub()
        replaced = []
        for target in self.status()["targets"]:
            if target["state"] != "online":
                path = Path(target["path"])
                assert path in victims, f"an honest target is left out: {target}"
                self.replace(path)
                replaced.append(path)
        self.check_unaccused(victims)
        return replaced

    def replace(self, target: Path) -> None:
        """An empty target in the place of one that is beyond repair; returns once it is full."""
        shutil.rmtree(target)
        target.mkdir()
        self.run("target", "replace", "--passfile", str(self._passfile), str(self.mountpoint),
                 str(target), str(target))

    def repair(self) -> None:
        """What is safe to repair is repaired."""
        self.run("fsck", "-p", "-f", "--passfile", str(self._passfile), self._pool,
                 statuses=(0, FSCK_CORRECTED))

    def fsck(self) -> None:
        """Nothing is wrong."""
        self.run("fsck", "-n", "-f", "--passfile", str(self._passfile), self._pool)

    def clear(self) -> None:
        """Leave nothing behind that is mounted or runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        subprocess.run(["umount", "--lazy", self.mountpoint], check=False, capture_output=True)
