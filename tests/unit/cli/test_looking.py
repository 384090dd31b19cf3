"""What only looks at a pool: it tells the true state, and goes on where nothing can be noted."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ecfs.testing.mounts import make_read_only, small_disk
from tests.unit.cli.shell import Shell, assert_done, assert_refused, status


def looked_at(shell: Shell) -> Any:
    """The state of the pool, by somebody with a key, while it is not mounted."""
    done = shell.keyed("status", "--json", shell.pool)
    assert_done(done)
    return json.loads(done.stdout)


def test_status_with_a_key_tells_the_state_that_a_mount_would_have(pool: Shell) -> None:
    for _ in range(2):
        assert_done(pool.mount())
        while_mounted = status(pool, str(pool.root))
        assert_done(pool.unmount())
    report = looked_at(pool)
    assert report["authenticated"]
    assert (report["state"], report["epoch"]) == ("healthy", while_mounted["epoch"])
    assert report["advice"] == []
    os.rename(pool.targets[1], pool.top / "away")
    report = looked_at(pool)
    assert (report["state"], report["epoch"]) == ("degraded", while_mounted["epoch"])
    assert "target2" in report["advice"][0]


def test_status_of_what_could_not_be_written_is_read_only(pool: Shell) -> None:
    for target in pool.targets[2:]:
        shutil.rmtree(target)
    report = looked_at(pool)
    assert report["state"] == "read_only"
    assert "members can be reached" in report["advice"][0]
    assert "no target can be replaced" in report["advice"][1] and "copy" in report["advice"][1]
    # A command that would be refused is no advice.
    assert not any("ecfs target replace" in advice for advice in report["advice"])


def test_a_pool_that_is_mounted_read_only_says_so(pool: Shell) -> None:
    assert_done(pool.mount(None, "-o", "ro"))
    report = status(pool, str(pool.root))
    assert (report["state"], report["advice"]) == (
        "read_only", ["The pool is read-only: mounted read-only."])
    assert report["epoch"] > 0


LOOKS_TO_FILL_A_PAGE = 12
UNNOTED = "nothing is noted in this machine's audit log: "


@pytest.fixture(params=["written before", "never written"])
def read_only_state(pool: Shell, request: pytest.FixtureRequest) -> Any:
    """The file system of the state directory became read-only, as after an error of its disk."""
    assert_done(pool.mount())
    (pool.root / "file").write_text("content")
    assert_done(pool.unmount())
    saved = pool.top / "saved"
    shutil.copytree(pool.state, saved)
    with small_disk(pool.state, size_len=1 << 20):
        if request.param == "written before":
            shutil.copytree(saved, pool.state, dirs_exist_ok=True)
        make_read_only(pool.state)
        yield pool


def test_what_only_reads_goes_on_without_an_audit_log(read_only_state: Shell) -> None:
    shell = read_only_state
    for verb, *arguments in (
        ("fsck", "-n", "-f", shell.pool), ("salvage", shell.pool, str(shell.top / "out")),
        ("status", shell.pool),
    ):  # fmt: skip
        done = shell.keyed(verb, *arguments)
        assert_done(done)
        assert done.stderr.count(UNNOTED) == 1
        assert "Read-only file system" in done.stderr
        assert "Traceback" not in done.stderr
    assert (shell.top / "out" / "file").read_text() == "content"
    done = shell.mount(None, "-o", "ro")
    assert_done(done)
    assert "Nothing is noted in the audit log: " in done.stderr
    assert (shell.root / "file").read_text() == "content"
    assert_done(shell.unmount())
    assert " audit-unwritten: " in (shell.top / "log").read_text()


def test_the_log_is_still_held_against_the_pool(pool: Shell) -> None:
    assert_done(pool.mount())
    assert_done(pool.unmount())
    saved = pool.top / "saved"
    shutil.copytree(pool.state, saved)
    with small_disk(pool.state, size_len=1 << 20):
        shutil.copytree(saved, pool.state, dirs_exist_ok=True)
        make_read_only(pool.state)
        before = (pool.state / "ecfs" / "audit.jsonl").read_bytes()
        told = looked_at(pool)["audit"]
        assert told["match"] == "matches"
        assert told["count"] == len(before.splitlines())
        assert_done(pool.keyed("audit", "--verify", pool.pool))


def test_what_writes_is_refused_and_told_the_way_out(read_only_state: Shell) -> None:
    shell = read_only_state
    for verb, *arguments in (
        ("mount", shell.pool, str(shell.root)), ("scrub", shell.pool),
        ("target", "replace", shell.pool, "target1", str(shell.top / "new")),
    ):  # fmt: skip
        if verb == "target":
            done = shell.within("ecfs", verb, arguments[0], "--passfile", str(shell.passfile),
                                *arguments[1:])
        else:
            done = shell.keyed(verb, *arguments)
        assert_refused(done, 1, "E-AUDIT")
        assert "XDG_STATE_HOME" in done.stderr
    for column in Path(shell.targets[0]).glob("segments/*/*"):
        column.write_bytes(b"")
    assert_refused(shell.keyed("fsck", "-y", "-f", shell.pool), 8, "E-AUDIT")


def test_mkfs_is_refused_before_it_makes_anything(shell: Shell) -> None:
    with small_disk(shell.state, size_len=1 << 20):
        make_read_only(shell.state)
        assert_refused(shell.mkfs(), 1, "E-AUDIT")
    assert all(os.listdir(target) == [] for target in shell.targets)


def test_a_rollback_is_refused_also_where_nothing_can_be_noted(pool: Shell) -> None:
    old = pool.copy("old")
    for content in ("1", "2"):
        assert_done(pool.mount())
        (pool.root / "file").write_text(content)
        assert_done(pool.unmount())
    pool.put_back(old)
    saved = pool.top / "saved"
    shutil.copytree(pool.state, saved)
    with small_disk(pool.state, size_len=1 << 20):
        shutil.copytree(saved, pool.state, dirs_exist_ok=True)
        make_read_only(pool.state)
        assert_refused(pool.keyed("status", pool.pool), 22, "E-ROLLED-BACK")
        assert_refused(pool.mount(None, "-o", "ro"), 22, "E-ROLLED-BACK")
        assert_refused(pool.keyed("fsck", "-n", pool.pool), 8, "E-ROLLED-BACK")


def test_a_full_state_directory_is_told_of(pool: Shell) -> None:
    with small_disk(pool.state, size_len=128 << 10):
        assert_done(pool.mount())
        fill(pool.state / "filler")
        assert_done(pool.ecfs("scrub", str(pool.root)))
        assert_refused(pool.unmount(), 1, "E-ANCHOR-WRITE")
        # The last page of the log has room for some lines more.
        told = [pool.keyed("status", pool.pool).stderr for _ in range(LOOKS_TO_FILL_A_PAGE)]
        assert told[-1].count(UNNOTED) == 1 and "No space left" in told[-1]
        done = pool.keyed("fsck", "-n", pool.pool)
        assert_done(done)
        assert done.stderr.count(UNNOTED) == 1


def fill(path: Path) -> None:
    with pytest.raises(OSError, match="No space"), path.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(64))
