"""The file systems that are compared: made, mounted, measured, all by their own commands."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

PASSPHRASE = "benchmark"
TARGETS_COUNT = 6
BLOCK_LEN = 512
MOUNT_WAIT_S = 60.0
UNMOUNT_WAIT_S = 120.0
POLL_S = 0.002


def run(*command: str, environ: dict[str, str] | None = None) -> str:
    """Runs a command and returns its standard output; raises with its messages if it fails."""
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def drop_caches() -> None:
    """Writes back and empties the kernel's page, name and inode caches."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def allocated_len(top: Path) -> int:
    """Bytes that a tree takes on its disk."""
    return sum(
        os.lstat(os.path.join(folder, name)).st_blocks * BLOCK_LEN
        for folder, _, names in os.walk(top)
        for name in names
    )


def memory_of(pid: int, what: str) -> int | None:
    """A line of /proc/PID/status, such as VmHWM, in bytes; None if there is no such process."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        match = re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
        if match:
            return int(match[1]) * 1024
    return None


class Store:
    """One file system over a directory of its own. `root` is where its files are seen.

    Rows that tell a rate do a `share`-th of the work on it; it keeps contents if `keeps`.
    """

    name = ""
    share = 1
    keeps = True

    def __init__(self, top: Path) -> None:
        self.top = top
        self.backing = top / "backing"
        self.root = top / "root"

    def make(self) -> None:
        """Makes it anew; it is not mounted yet."""
        shutil.rmtree(self.top, ignore_errors=True)
        self.backing.mkdir(parents=True)
        self.root.mkdir()

    def mount(self) -> None:
        """Mounts it."""

    def unmount(self) -> None:
        """Unmounts it, everything written; harmless when it is not mounted."""

    def turn_cold(self) -> None:
        """Leaves nothing in caches, its own and the kernel's; it is mounted afterwards."""
        self.unmount()
        drop_caches()
        self.mount()

    def remove(self) -> None:
        """Unmounts it, by force if need be, and takes everything away."""
        with contextlib.suppress(RuntimeError, subprocess.SubprocessError):
            self.unmount()
        # A mount whose process is dead does not even look like one.
        subprocess.run(["umount", "--lazy", str(self.root)], check=False, capture_output=True)
        shutil.rmtree(self.top, ignore_errors=True)

    def stored_len(self) -> int:
        """Bytes that it takes on its disk."""
        return allocated_len(self.backing)

    def serving_pid(self) -> int | None:
        """The process that serves it."""
        return None

    def peak_memory_len(self) -> int | None:
        """The most memory that its process has had, in bytes; None if there is no process."""
        pid = self.serving_pid()
        return None if pid is None else memory_of(pid, "VmHWM")

    @classmethod
    def version(cls) -> str:
        """What is compared."""
        return ""


class Plain(Store):
    """A directory, without anything in between."""

    name = "plain"

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        self.root = self.backing / "root"

    def make(self) -> None:
        """Makes the directory."""
        shutil.rmtree(self.top, ignore_errors=True)
        self.root.mkdir(parents=True)

    @classmethod
    def version(cls) -> str:
        """The kernel's."""
        return f"Linux {os.uname().release}"


class Served(Store):
    """A file system whose process stays a child of this one, so that its end can be waited for."""

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """What serves it, in the foreground."""
        raise NotImplementedError

    def environ(self) -> dict[str, str]:
        """The environment of the command."""
        return dict(os.environ)

    def mount(self) -> None:
        """Starts the command and waits for the mount."""
        with (self.top / "log").open("ab") as log:
            # A pipe as standard input: it ends with this process, and some commands with it.
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.PIPE, stdout=log, stderr=log, env=self.environ()
            )
        deadline = time.monotonic() + MOUNT_WAIT_S
        while not os.path.ismount(self.root):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError(f"{self.name} did not mount: {self._last_words()}")
            time.sleep(POLL_S)

    def unmount(self) -> None:
        """Unmounts it and waits for the end of its process."""
        if os.path.ismount(self.root):
            run("umount", str(self.root))
        if self._process is not None:
            try:
                self._process.wait(UNMOUNT_WAIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise
            finally:
                self._process.communicate()
                self._process = None

    def serving_pid(self) -> int | None:
        """The child."""
        return None if self._process is None else self._process.pid

    def _last_words(self) -> str:
        return (self.top / "log").read_text(errors="replace").strip()[-300:]


class Ecfs(Store):
    """ecfs 4+2 over six directories, with the default transport."""

    name = "ecfs"
    transport = "raw"

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        # MB/s of each target of the next mounts, if they are to be slow.
        self.rates: tuple[float, ...] = ()

    def _ecfs(self, *arguments: str) -> str:
        environ = {
            **os.environ,
            "XDG_STATE_HOME": str(self.top / "state"),
            "XDG_RUNTIME_DIR": str(self.top / "run"),
        }
        return run(*self._program(), *arguments, environ=environ)

    def _program(self) -> tuple[str, ...]:
        if not self.rates:
            return (str(Path(sys.executable).parent / "ecfs"),)
        return (sys.executable, "-m", "scripts.slow_ecfs", ",".join(map(str, self.rates)))

    @property
    def targets(self) -> list[Path]:
        """The directories that it lies on."""
        return [self.backing / f"t{index}" for index in range(TARGETS_COUNT)]

    def make(self) -> None:
        """Makes a pool with the cheapest key derivation that is allowed."""
        super().make()
        for path in (*self.targets, self.top / "state", self.top / "run"):
            path.mkdir()
        (self.top / "pass").write_text(PASSPHRASE)
        options = ("--data", "4", "--parity", "2", "--kdf-passes", "1")
        targets = map(str, self.targets)
        self._ecfs("mkfs", *options, "--passfile", str(self.top / "pass"), *targets)

    def mount(self) -> None:
        """Mounts it from those targets that are there; its log goes to a file."""
        options = ("--passfile", str(self.top / "pass"), "--log-file", str(self.top / "log"),
                   "-o", f"transport={self.transport}")  # fmt: skip
        present = ":".join(str(target) for target in self.targets if target.exists())
        self._ecfs("mount", *options, present, str(self.root))

    def unmount(self) -> None:
        """Unmounts it; returns when everything is durable."""
        if os.path.ismount(self.root):
            self._ecfs("umount", str(self.root))

    def serving_pid(self) -> int | None:
        """As its record of running mounts says."""
        for path in (self.top / "run" / "ecfs").glob("*.json"):
            return int(json.loads(path.read_text())["pid"])
        return None

    def mount_times_s(self) -> tuple[float, float]:
        """Seconds of the last mount, and of them those of the key derivation, as its log says."""
        pattern = re.compile(r"mounted in ([0-9.]+) s \(key derivation ([0-9.]+) s\)")
        found = pattern.findall((self.top / "log").read_text())
        if not found:
            raise RuntimeError(f"{self.top / 'log'} does not tell how long the mount took")
        whole, derivation = found[-1]
        return float(whole), float(derivation)

    @classmethod
    def version(cls) -> str:
        """Its own word."""
        words = run(str(Path(sys.executable).parent / "ecfs"), "--version").splitlines()[0]
        return f"{words} ({cls.transport})"


class EcfsPyfuse3(Ecfs):
    """The same on the other transport."""

    name = "ecfs-pyfuse3"
    transport = "pyfuse3"
