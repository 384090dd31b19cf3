"""The programs of ecfs, run on a pool of real directories."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ecfs.cli.engine import SystemEngine
from ecfs.cli.main import run_command
from ecfs.cli.runtime import RunDirectory
from ecfs.cli.tools import Tools
from tests.unit.cli.fakes import no_log

TOP = Path(__file__).resolve().parents[3]
MAIN = "import sys; sys.argv[0] = sys.argv.pop(1); from ecfs.cli import main; main()"

Done = subprocess.CompletedProcess[str]


class Shell:
    """Runs commands with a state of their own, on a pool of 2+1 over four directories.

    What mounts runs as a program of its own; the rest within this process, which is faster.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self.targets = [str(top / f"t{index}") for index in range(4)]
        self.pool = str(top / "t?")
        self.root = top / "mnt"
        self.state = top / "state"
        self.passfile = top / "pass"
        self.passfile.write_text("a secret\n")
        for name in ("t0", "t1", "t2", "t3", "mnt", "state", "run"):
            (top / name).mkdir()

    def within(self, name: str, *arguments: str) -> Done:
        """Runs one of our programs to its end, in this process."""
        out, err = io.StringIO(), io.StringIO()
        run = RunDirectory(self.top / "run" / "ecfs")
        state = self.state / "ecfs"
        tools = Tools(SystemEngine(state, run.path), run, state, no_log)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command(name, arguments, tools)
        return Done(arguments, code, out.getvalue(), err.getvalue())

    def program(self, name: str, *arguments: str) -> Done:
        """Runs one of our programs to its end, in a process of its own."""
        environ = os.environ | {
            "XDG_STATE_HOME": str(self.state),
            "XDG_RUNTIME_DIR": str(self.top / "run"),
        }
        return subprocess.run(
            [sys.executable, "-c", MAIN, name, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=TOP,
            env=environ,
            timeout=100,
            stdin=subprocess.DEVNULL,
        )

    def ecfs(self, verb: str, *arguments: str) -> Done:
        """A verb that needs no key."""
        return self.within("ecfs", verb, *arguments)

    def keyed(self, verb: str, *arguments: str) -> Done:
        """A verb with the passphrase."""
        run = self.program if verb == "mount" else self.within
        return run("ecfs", verb, "--passfile", str(self.passfile), *arguments)

    def mkfs(self, *arguments: str) -> Done:
        """Makes the pool."""
        options = ("--data", "2", "--parity", "1", "--kdf-passes", "1")
        return self.keyed("mkfs", *options, *(arguments or self.targets))

    def mount(self, pool: str | None = None, *arguments: str) -> Done:
        """Mounts it at `root`."""
        log = ("--log-file", str(self.top / "log"))
        return self.keyed("mount", *log, *arguments, pool or self.pool, str(self.root))

    def unmount(self) -> Done:
        """Unmounts `root`."""
        return self.ecfs("umount", str(self.root))

    def copy(self, name: str) -> Path:
        """A copy of all targets and of the state."""
        place = self.top / name
        place.mkdir()
        for source in (*self.targets, str(self.state)):
            shutil.copytree(source, place / os.path.basename(source))
        return place

    def put_back(self, place: Path) -> None:
        """Puts a copy of the targets in the place of the targets."""
        for target in self.targets:
            shutil.rmtree(target)
            shutil.copytree(place / os.path.basename(target), target)


def assert_done(done: Done) -> None:
    assert done.returncode == 0, done.stderr


def assert_refused(done: Done, code: int, error_id: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stderr.rstrip().endswith(f"[{error_id}]")
    assert "Traceback" not in done.stderr


def status(shell: Shell, pool: str) -> Any:
    done = shell.ecfs("status", "--json", pool)
    assert_done(done)
    return json.loads(done.stdout)
