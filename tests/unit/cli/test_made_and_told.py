"""What mkfs overwrites, what it says when it cannot say what it made, and other messages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecfs.base.errors import EcfsError, LogUnusable, UsageRefusal
from ecfs.cli.logs import check_log_file
from ecfs.cli.mountopts import parse
from ecfs.cli.pool import read_pool_file
from ecfs.cli.runtime import RunDirectory
from ecfs.volume import HostLock
from tests.unit.cli.shell import MAIN, TOP, Shell, assert_done, assert_refused, status


def mkfs_without_output(shell: Shell, *options: str) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {"XDG_STATE_HOME": str(shell.state),
                            "XDG_RUNTIME_DIR": str(shell.top / "run")}
    with open("/dev/full", "w") as full:
        return subprocess.run(
            [sys.executable, "-c", MAIN, "ecfs", "mkfs", "--data", "2", "--parity", "1",
             "--kdf-passes", "1", "--passfile", str(shell.passfile), *options, *shell.targets],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=TOP, env=environ,
            timeout=60)


@pytest.mark.parametrize("options", [("--recovery-key",), ("--recovery-key", "--json"), ()])
def test_who_cannot_be_told_the_recovery_key_is_told_that(
        shell: Shell, options: tuple[str, ...]) -> None:
    done = mkfs_without_output(shell, *options)
    assert_refused(done, 1, "E-OUTPUT")
    made = f"No space left on device; the pool {status(shell, shell.pool)['pool_id']} was made"
    assert made in done.stderr
    assert ("nobody has seen its recovery key" in done.stderr) == ("--recovery-key" in options)


def test_a_pool_file_that_cannot_be_written_is_named_after_the_key_is_told(shell: Shell) -> None:
    done = shell.mkfs("--recovery-key", "--pool-file", "/dev/full", *shell.targets)
    assert_refused(done, 1, "E-FAILED")
    assert "recovery key (write it down" in done.stdout
    assert "its pool file /dev/full could not be written: No space left" in done.stderr
    assert "mount it with" not in done.stdout


def test_no_other_file_becomes_a_pool_file(shell: Shell) -> None:
    before = shell.passfile.read_bytes()
    done = shell.mkfs("--pool-file", str(shell.passfile), *shell.targets)
    assert_refused(done, 2, "E-USAGE")
    assert shell.passfile.read_bytes() == before
    assert not any(os.listdir(target) for target in shell.targets)


def test_a_pool_file_of_mkfs_and_an_empty_file_are_replaced(shell: Shell) -> None:
    file = shell.top / "pool"
    file.touch()
    assert_done(shell.mkfs("--pool-file", str(file), *shell.targets[:3]))
    assert_done(shell.mkfs("--force", "--pool-file", str(file), *shell.targets))
    assert read_pool_file(file) == shell.targets


def test_a_file_of_something_else_is_not_shown_line_by_line(shell: Shell) -> None:
    secret = shell.top / "shadow"
    secret.write_text("".join(f"user{number}:hash\n" for number in range(20)))
    done = shell.ecfs("status", str(secret))
    assert_refused(done, 11, "E-NOT-A-POOL")
    assert done.stderr.count("user") == 3 and "; and 17 more" in done.stderr
    keyed = shell.keyed("status", str(secret))
    assert_refused(keyed, 11, "E-NOT-A-POOL")
    assert keyed.stderr.count("user") == 3


def test_who_has_lost_too_much_is_told_of_salvage(pool: Shell) -> None:
    done = pool.keyed("fsck", "-n", f"{pool.targets[0]}")
    assert done.returncode == 0
    for target in pool.targets[1:]:
        os.rename(target, f"{target}.lost")
    done = pool.keyed("fsck", "-n", pool.targets[0])
    assert_refused(done, 8, "E-TOO-FEW-REACHABLE")
    assert "`ecfs salvage` gets out what the others hold" in done.stderr


def test_salvage_into_a_target_is_not_called_a_mount_point(pool: Shell) -> None:
    done = pool.within("ecfs", "salvage", "--passfile", str(pool.passfile), pool.pool,
                       f"{pool.targets[0]}/x")
    assert_refused(done, 21, "E-TARGET-INSIDE")
    assert "mount" not in done.stderr.replace("mnt", "")


@pytest.mark.parametrize(("word", "told"), [
    ("cache=zz", "mount option cache: not a size: 'zz'"),
    ("transport=x", "'transport=x' is not a mount option; give transport=raw or transport=pyfuse3"),
    ("anchor=x", "'anchor=x' is not a mount option; give anchor=always or anchor=lazy"),
    ("remount", "a mounted pool cannot be given other options"),
    ("bogus", "unknown mount option 'bogus'"),
])
def test_a_mount_option_that_cannot_be_is_named_with_those_that_can(word: str, told: str) -> None:
    with pytest.raises(UsageRefusal) as refused:
        parse((word,))
    assert str(refused.value).startswith(told)


def test_only_a_directory_that_is_not_there_is_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(LogUnusable, match="Is a directory; give another --log-file"):
        check_log_file(str(tmp_path))
    with pytest.raises(LogUnusable, match="make its directory, or give another"):
        check_log_file(str(tmp_path / "none" / "log"))


def test_where_no_lock_can_be_taken_it_is_said_what_helps(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "run"
    told = f"{place}, where mounts and locks are noted, .*; set XDG_RUNTIME_DIR"
    with pytest.raises(EcfsError, match=told):
        RunDirectory(place).prepare()
    with pytest.raises(EcfsError, match=told):
        HostLock(place, bytes(16))
