"""A mount for root alone: the kernel does not hold root to modes, and nobody else gets in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecfs.driver.kernel import is_root_of_machine
from tests.posix.conftest import REPOSITORY, memory_mount

NOBODY = 65534


@pytest.mark.parametrize("mode", [0, 0o600, 0o644, 0o100, 0o010, 0o001, 0o755])
@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_root_may_do_is_what_it_may_elsewhere(root: Path, reference: Path, mode: int,
                                                   kind: str) -> None:
    def answers(base: Path) -> list[bool]:
        path = base / "one"
        if kind == "directory":
            path.mkdir()
        else:
            path.touch()
        path.chmod(mode)
        if kind == "link":
            path = base / "link"
            path.symlink_to("one")
        return [os.access(path, asked) for asked in (os.F_OK, os.R_OK, os.W_OK, os.X_OK,
                                                     os.R_OK | os.X_OK)]

    assert answers(root) == answers(reference)


def test_root_goes_where_no_mode_lets_it(root: Path) -> None:
    (root / "d").mkdir(0)
    done = subprocess.run(["sh", "-c", "cd d && echo content > f && cat f"], cwd=root, check=True,
                          capture_output=True, text=True)
    assert done.stdout == "content\n"


@pytest.mark.parametrize("words", [("alone",), ("alone", "pyfuse3")])
def test_nobody_else_gets_in(words: tuple[str, ...]) -> None:
    with memory_mount(*words) as place:
        place.chmod(0o777)
        (place / "f").touch()
        (place / "f").chmod(0o777)
        for command in (f"ls {place}", f"cat {place}/f", f"touch {place}/new"):
            refused = subprocess.run(["sh", "-c", command], user=NOBODY, group=NOBODY,
                                     extra_groups=[], check=False, capture_output=True, text=True)
            assert refused.returncode and "Permission denied" in refused.stderr
        line, = (one for one in Path("/proc/mounts").read_text().splitlines()
                 if f" {place} " in one)
        assert "default_permissions" not in line and "allow_other" not in line


@pytest.mark.parametrize("words", [(), ("pyfuse3",)])
def test_whom_modes_bind_the_kernel_holds_to_them(words: tuple[str, ...]) -> None:
    """Ordinary users, and root where others are let in."""
    with memory_mount(*words) as place:
        line, = (one for one in Path("/proc/mounts").read_text().splitlines()
                 if f" {place} " in one)
        assert "default_permissions" in line and "allow_other" in line


def test_root_of_a_user_namespace_is_not_meant() -> None:
    assert is_root_of_machine()
    ask = "import os; from ecfs.driver.kernel import is_root_of_machine as is_root; "
    told = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c",
         ask + "print(os.geteuid(), is_root())"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    assert told == "0 False\n"
