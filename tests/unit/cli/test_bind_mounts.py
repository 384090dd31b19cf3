"""A mount that is also elsewhere: bind mounts of it, and a folder above it that was renamed."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.cli.linux import Mount, mounts_of
from ecfs.cli.runtime import RunDirectory
from tests.unit.cli.shell import Shell, assert_done, assert_refused, status


@pytest.fixture
def bound(mounted: Shell) -> Iterator[Shell]:
    """`bind` is a bind mount of the pool, `sub` one of a directory in it."""
    (mounted.root / "dir").mkdir()
    for source, name in ((mounted.root, "bind"), (mounted.root / "dir", "sub")):
        (mounted.top / name).mkdir()
        subprocess.run(["mount", "--bind", source, mounted.top / name], check=True)
    yield mounted
    for name in ("bind", "sub"):
        if os.path.ismount(mounted.top / name):
            subprocess.run(["umount", "-l", mounted.top / name], check=True)


def test_verbs_find_the_pool_at_a_bind_mount(bound: Shell) -> None:
    for name in ("bind", "sub"):
        place = str(bound.top / name)
        assert status(bound, place)["state"] == "healthy"
        for verb in ("sync", "scrub"):
            assert_done(bound.ecfs(verb, place))
        refused = bound.keyed("fsck", place)
        assert_refused(refused, 8, "E-IN-USE")
        assert f"mounted at {bound.root};" in refused.stderr


def test_umount_of_a_bind_mount_takes_that_alone(bound: Shell) -> None:
    (bound.root / "dir" / "file").write_text("content")
    for name, left in (("bind", f"{bound.root}, {bound.top}/sub"), ("sub", str(bound.root))):
        done = bound.program("ecfs", "umount", str(bound.top / name))
        assert_done(done)
        assert f"{bound.top}/{name} is unmounted; the pool is still mounted at {left}\n" in (
            done.stderr)
        assert not os.path.ismount(bound.top / name)
        assert (bound.root / "dir" / "file").read_text() == "content"
    assert_done(bound.unmount())
    assert not list((bound.top / "run" / "ecfs").glob("*.json"))


def test_umount_of_the_mount_itself_does_not_wait_for_its_bind_mounts(bound: Shell) -> None:
    assert_done(bound.ecfs("umount", str(bound.top / "sub")))
    refused = bound.program("ecfs", "umount", str(bound.root))
    assert_refused(refused, 1, "E-FAILED")
    assert f"still mounted at {bound.top}/bind; unmount that as well" in refused.stderr
    last = bound.program("ecfs", "umount", str(bound.top / "bind"))
    assert_done(last)
    assert last.stderr == ""
    assert not list((bound.top / "run" / "ecfs").glob("*.json"))


def test_a_folder_above_was_renamed(mounted: Shell, tmp_path: Path) -> None:
    assert_done(mounted.unmount())
    (mounted.top / "above").mkdir()
    old, mounted.root = mounted.top / "above" / "mnt", mounted.top / "above" / "mnt"
    old.mkdir()
    assert_done(mounted.mount())
    (old / "file").write_text("content")
    os.rename(mounted.top / "above", mounted.top / "renamed")
    mounted.root = mounted.top / "renamed" / "mnt"
    assert status(mounted, str(mounted.root))["state"] == "healthy"
    assert_done(mounted.ecfs("sync", mounted.pool))
    refused = mounted.program("ecfs", "umount", str(old))
    assert_refused(refused, 2, "E-USAGE")
    assert f"the one that was is at {mounted.root} now" in refused.stderr
    assert_done(mounted.program("ecfs", "umount", str(mounted.root)))
    assert not list((mounted.top / "run" / "ecfs").glob("*.json"))


def test_a_live_mount_of_another_device_is_not_the_one_here(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.prepare()
    here = Mount("/mnt", "fuse.ecfs", "ecfs", device="90")
    record = run.record_here("ab", "/mnt", ("/a",))
    run.write(record)
    # As an older ecfs wrote it, or before the mount was made.
    assert run.serving("/mnt", here) == record
    run.write(replace(record, device="90"))
    assert run.serving("/elsewhere", here) == replace(record, device="90")
    run.write(replace(record, device="91"))
    assert run.serving("/mnt", here) is None
    assert run.serving("/mnt", None) == replace(record, device="91")
    assert mounts_of("no such") == []
