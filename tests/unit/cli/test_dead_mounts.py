"""A mount whose server was killed: every verb says so, and the mount point can be used again."""

import json
import os
import signal

import pytest

from ecfs.cli.linux import wait_for_exit
from tests.unit.cli.shell import Shell, assert_done, assert_refused, status


@pytest.fixture
def dead(mounted: Shell) -> Shell:
    """The server was killed; the kernel still answers stat(2) from its cache."""
    (mounted.root / "file").write_text("content")
    assert_done(mounted.ecfs("sync", str(mounted.root)))
    os.stat(mounted.root)
    [record] = (mounted.top / "run" / "ecfs").glob("*.json")
    told = json.loads(record.read_text())
    os.kill(told["pid"], signal.SIGKILL)
    assert wait_for_exit(told["pid"], told["process_start"], timeout_s=30)
    os.stat(mounted.root)
    return mounted


def test_umount_frees_the_mount_point(dead: Shell) -> None:
    done = dead.unmount()
    assert_done(done)
    assert "had died" in done.stderr
    assert not os.path.ismount(dead.root)
    assert_done(dead.mount())
    assert (dead.root / "file").read_text() == "content"


def test_umount_by_the_helper_and_without_a_record(dead: Shell) -> None:
    [record] = (dead.top / "run" / "ecfs").glob("*.json")
    record.unlink()
    done = dead.within("umount.ecfs", str(dead.root))
    assert_done(done)
    assert "had died" in done.stderr
    assert not os.path.ismount(dead.root)


def test_mount_takes_up_where_it_ended(dead: Shell) -> None:
    assert_done(dead.mount())
    assert (dead.root / "file").read_text() == "content"
    assert status(dead, str(dead.root))["state"] == "healthy"


def test_the_helper_mounts_there_again(dead: Shell) -> None:
    words = f"passfile={dead.passfile},log_file={dead.top}/log"
    assert_done(dead.program("mount.ecfs", dead.pool, str(dead.root), "-o", words))
    assert (dead.root / "file").read_text() == "content"


@pytest.mark.parametrize("arguments", [("status",), ("sync",), ("scrub",), ("audit",),
                                       ("target", "replace", "t0", "new")])
def test_other_verbs_say_that_it_died_and_what_to_do(
    dead: Shell, arguments: tuple[str, ...]
) -> None:
    verb = arguments[:2] if arguments[0] == "target" else arguments[:1]
    done = dead.ecfs(*verb, str(dead.root), *arguments[len(verb):])
    assert_refused(done, 1, "E-FAILED")
    assert "has died" in done.stderr
    assert f"ecfs umount {dead.root}" in done.stderr


def test_fsck_of_a_mount_point_says_so_with_its_own_bits(dead: Shell) -> None:
    done = dead.keyed("fsck", "-n", str(dead.root))
    assert_refused(done, 8, "E-FAILED")
    assert "has died" in done.stderr
