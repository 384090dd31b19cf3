import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.cli.tools import Tools
from tests.unit.cli.fakes import PASSPHRASE, FakeEngine, fake_tools
from tests.unit.cli.shell import Shell, assert_done


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def tools(engine: FakeEngine, tmp_path: Path) -> Tools:
    tools = fake_tools(engine, tmp_path)
    tools.run.prepare()
    return tools


@pytest.fixture
def targets(tmp_path: Path) -> tuple[str, str]:
    """Two directories of one pool."""
    paths = (tmp_path / "t0", tmp_path / "t1")
    for path in paths:
        path.mkdir()
        (path / "label").touch()
    return str(paths[0]), str(paths[1])


@pytest.fixture
def passfile(tmp_path: Path) -> str:
    path = tmp_path / "passphrase"
    path.write_bytes(PASSPHRASE + b"\n")
    return str(path)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    if os.path.ismount(shell.root):
        shell.unmount()
    if os.path.ismount(shell.root):
        subprocess.run(["umount", "-l", str(shell.root)], check=True)


@pytest.fixture
def pool(shell: Shell) -> Shell:
    """The pool is made."""
    done = shell.mkfs()
    assert (done.returncode, done.stdout.startswith("made pool")) == (0, True), done.stderr
    return shell


@pytest.fixture
def mounted(pool: Shell) -> Shell:
    """The pool is mounted."""
    assert_done(pool.mount())
    return pool
