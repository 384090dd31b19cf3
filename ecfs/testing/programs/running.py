"""Running one program on a fresh pool that must be clean afterwards."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ecfs.testing.mounted_pool import OPTIONS, MountedPool, mounted_pool

COMMAND_WAIT_S = 1800


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a program runs. `scale`: 1 for a test of seconds, more for a campaign."""

    pool: MountedPool
    mounted: Path
    plain: Path
    scale: int


@dataclass(frozen=True, slots=True)
class Program:
    """What runs. `commands` and Debian `packages` that have them; `quick`: seconds at scale 1."""

    name: str
    play: Callable[[Stage], None]
    commands: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    quick: bool = True

    def is_installed(self) -> bool:
        """Whether all commands are there."""
        return all(shutil.which(command, path=search_path()) for command in self.commands)


class ProgramFailed(Exception):
    """A command failed, or what it left is not what it should be."""


def search_path() -> str:
    """PATH, and where Debian keeps the server's side of PostgreSQL."""
    servers = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    return ":".join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *servers])


def run(*command: object, cwd: Path | None = None, user: str | None = None) -> str:
    """Run a command to its success; what it printed. Raises ProgramFailed."""
    words = [str(word) for word in command]
    environment = {**os.environ, "PATH": search_path(), "LC_ALL": "C.UTF-8"}
    try:
        result = subprocess.run(words, cwd=cwd, user=user, env=environment, text=True, check=False,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=COMMAND_WAIT_S)
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(f"{words} does not end") from error
    if result.returncode:
        raise ProgramFailed(f"{words} failed ({result.returncode}): {result.stdout[-2000:]}")
    return result.stdout


def require(condition: bool, what: str) -> None:
    """Raise ProgramFailed unless it holds."""
    if not condition:
        raise ProgramFailed(what)


@contextmanager
def staged(*, transport: str, scale: int) -> Iterator[Stage]:
    """A fresh pool on a RAM disk, mounted; clean to fsck, its log without errors, afterwards."""
    with tempfile.TemporaryDirectory(prefix="ecfs-programs-") as plain, (
            mounted_pool(f"{OPTIONS},transport={transport}")) as pool:
        os.chmod(plain, 0o755)
        mounted = pool.mountpoint / "here"
        mounted.mkdir()
        yield Stage(pool, mounted, Path(plain), scale)


def run_program(program: Program, *, transport: str = "raw", scale: int = 1) -> None:
    """Run one program on a pool of its own. Raises what went wrong."""
    with staged(transport=transport, scale=scale) as stage:
        program.play(stage)
