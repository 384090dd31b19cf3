"""The file systems that are compared: made, mounted, measured, all by their own commands."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PASSPHRASE = "benchmark"
TARGETS_COUNT = 6
BLOCK_LEN = 512


def run(*command: str, environ: dict[str, str] | None = None) -> str:
    """Runs a command and returns its standard output; raises with its messages if it fails."""
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def allocated_len(top: Path) -> int:
    """Bytes that a tree takes on its disk."""
    return sum(
        os.lstat(os.path.join(folder, name)).st_blocks * BLOCK_LEN
        for folder, _, names in os.walk(top)
        for name in names
    )


class Store:
    """One file system over a directory of its own. `root` is where its files are seen."""

    name = ""

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

    def remove(self) -> None:
        """Unmounts it and takes everything away."""
        self.unmount()
        shutil.rmtree(self.top, ignore_errors=True)

    def stored_len(self) -> int:
        """Bytes that it takes on its disk."""
        return allocated_len(self.backing)

    def peak_memory_len(self) -> int | None:
        """The most memory that its process has had, in bytes; None if there is no process."""
        return None

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


class Gocryptfs(Store):
    """gocryptfs, as Debian has it."""

    name = "gocryptfs"

    def make(self) -> None:
        """Makes it with a cheap key derivation, which is not what is measured."""
        super().make()
        (self.top / "pass").write_text(PASSPHRASE)
        passfile = str(self.top / "pass")
        run("gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", passfile, str(self.backing))

    def mount(self) -> None:
        """Mounts it; a process in the background serves it."""
        passfile = str(self.top / "pass")
        run("gocryptfs", "-q", "-passfile", passfile, str(self.backing), str(self.root))

    def unmount(self) -> None:
        """Unmounts it."""
        if os.path.ismount(self.root):
            run("fusermount3", "-u", str(self.root))

    @classmethod
    def version(cls) -> str:
        """Its own word."""
        return run("gocryptfs", "-version").split(";")[0].strip()


class Ecfs(Store):
    """ecfs 4+2 over six directories."""

    name = "ecfs"

    def _ecfs(self, *arguments: str) -> str:
        environ = {
            **os.environ,
            "XDG_STATE_HOME": str(self.top / "state"),
            "XDG_RUNTIME_DIR": str(self.top / "run"),
        }
        return run(str(Path(sys.executable).parent / "ecfs"), *arguments, environ=environ)

    @property
    def _targets(self) -> list[str]:
        return [str(self.backing / f"t{index}") for index in range(TARGETS_COUNT)]

    def make(self) -> None:
        """Makes a pool with the cheapest key derivation that is allowed."""
        super().make()
        for target in self._targets:
            os.mkdir(target)
        for name in ("state", "run"):
            (self.top / name).mkdir()
        (self.top / "pass").write_text(PASSPHRASE)
        options = ("--data", "4", "--parity", "2", "--kdf-passes", "1")
        self._ecfs("mkfs", *options, "--passfile", str(self.top / "pass"), *self._targets)

    def mount(self) -> None:
        """Mounts it; its log goes to a file."""
        options = ("--passfile", str(self.top / "pass"), "--log-file", str(self.top / "log"))
        self._ecfs("mount", *options, ":".join(self._targets), str(self.root))

    def unmount(self) -> None:
        """Unmounts it; returns when everything is durable."""
        if os.path.ismount(self.root):
            self._ecfs("umount", str(self.root))

    def peak_memory_len(self) -> int | None:
        """VmHWM of the process that serves the mount."""
        for path in (self.top / "run" / "ecfs").glob("*.json"):
            pid = json.loads(path.read_text())["pid"]
            status = Path(f"/proc/{pid}/status").read_text()
            match = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
            if match:
                return int(match[1]) * 1024
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
        return run(str(Path(sys.executable).parent / "ecfs"), "--version").splitlines()[0]


STORES: tuple[type[Store], ...] = (Ecfs, Gocryptfs, Plain)
