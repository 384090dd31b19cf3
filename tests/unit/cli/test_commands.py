"""The commands as a user runs them, on real pools and mounts: what they say, how they exit."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.shell import Shell, assert_done, assert_refused, status


def test_a_first_session(pool: Shell) -> None:
    assert_done(pool.mount())
    (pool.root / "file").write_text("content")
    for name in (str(pool.root), pool.targets[2], pool.pool):
        report = status(pool, name)
        assert report["authenticated"]
        assert report["state"] == "healthy"
    assert_done(pool.unmount())
    assert not os.path.ismount(pool.root)
    assert not status(pool, pool.pool)["authenticated"]
    assert_done(pool.mount(pool.targets[0], "-o", "ro"))
    assert (pool.root / "file").read_text() == "content"
    with pytest.raises(OSError, match="Read-only"):
        (pool.root / "file").write_text("other")
    assert_done(pool.unmount())
    with_key = pool.keyed("status", "--json", pool.pool)
    assert json.loads(with_key.stdout)["authenticated"]


def test_the_process_of_a_mount_is_quiet_and_logs(mounted: Shell) -> None:
    [record] = (mounted.top / "run" / "ecfs").glob("*.json")
    pid = json.loads(record.read_text())["pid"]
    assert os.getsid(pid) == pid
    descriptors = [os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)]
    assert descriptors == ["/dev/null"] * 3
    assert "is mounted at" in (mounted.top / "log").read_text()
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)


def test_a_mount_in_use_is_not_unmounted(mounted: Shell) -> None:
    (mounted.root / "file").touch()
    with (mounted.root / "file").open():
        done = mounted.program("ecfs", "umount", str(mounted.root))
        assert_refused(done, 1, "E-FAILED")
        assert f"(pid {os.getpid()})" in done.stderr
        assert os.path.ismount(mounted.root)
    assert_done(mounted.unmount())


def test_the_helpers_of_mount(pool: Shell) -> None:
    words = f"noauto,nofail,x-odd,passfile={pool.passfile},log_file={pool.top}/log"
    assert_done(pool.program("mount.ecfs", pool.pool, str(pool.root), "-o", words, "-n"))
    (pool.root / "file").write_text("content")
    busy = pool.within("fsck.ecfs", "-a", "--passfile", str(pool.passfile), pool.pool)
    assert_refused(busy, 8, "E-IN-USE")
    assert_done(pool.within("umount.ecfs", str(pool.root)))
    assert_done(pool.within("fsck.ecfs", "-a", "--passfile", str(pool.passfile), pool.pool))


def test_a_mounted_pool_is_scrubbed_and_synced_through_its_socket(mounted: Shell) -> None:
    (mounted.root / "file").write_bytes(os.urandom(1 << 20))
    done = mounted.ecfs("scrub", "--json", mounted.pool)
    assert_done(done)
    report = json.loads(done.stdout)
    assert (report["schema"], report["bad"]) == ("ecfs.scrub/1", 0)
    done = mounted.ecfs("sync", "--json", mounted.targets[0])
    assert_done(done)
    assert json.loads(done.stdout) == {"schema": "ecfs.sync/1"}


def test_a_lost_target_is_replaced_while_mounted(mounted: Shell) -> None:
    content = os.urandom(3 << 20)
    (mounted.root / "file").write_bytes(content)
    assert_done(mounted.unmount())
    shutil.rmtree(mounted.targets[1])
    done = mounted.mount()
    assert_done(done)
    assert "degraded" in done.stderr
    (mounted.top / "new").mkdir()
    replaced = mounted.ecfs(
        "target", "replace", mounted.pool, mounted.targets[1], str(mounted.top / "new")
    )
    assert_done(replaced)
    report = status(mounted, str(mounted.root))
    assert report["state"] == "healthy"
    assert str(mounted.top / "new") in [target["path"] for target in report["targets"]]
    assert (mounted.root / "file").read_bytes() == content


def test_a_target_without_inodes_is_told_as_full(pool: Shell) -> None:
    saved = pool.top / "saved"
    shutil.copytree(pool.targets[1], saved)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=100", "none", pool.targets[1]],
                   check=True)
    try:
        shutil.copytree(saved, pool.targets[1], dirs_exist_ok=True)
        with pytest.raises(OSError, match="No space"):
            for number in range(200):
                (Path(pool.targets[1]) / f"other.{number}").touch()
        assert_done(pool.mount())
        [away, full] = status(pool, str(pool.root))["advice"]
        assert away.startswith("target2") and "no inodes" in away and "df -i" in away
        assert full.startswith("Full: target2.")
        assert_done(pool.unmount())
    finally:
        subprocess.run(["umount", "-l", pool.targets[1]], check=True)


def test_mkfs_takes_empty_directories_alone(shell: Shell) -> None:
    (Path(shell.targets[0]) / "lost+found").mkdir()
    other = Path(shell.targets[1]) / "README"
    other.touch()
    refused = shell.mkfs()
    assert_refused(refused, 1, "E-FAILED")
    assert "is not empty (it has 'README')" in refused.stderr
    assert_refused(shell.mkfs("--force", *shell.targets), 1, "E-FAILED")
    other.unlink()
    assert_done(shell.mkfs())
    assert (Path(shell.targets[0]) / "lost+found").is_dir()


def test_a_new_disk_in_the_old_place_is_taken_at_once_and_given_again_it_is_complete(
        mounted: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits until the loss is noticed; and the second command changes nothing, given a path
    from where it is typed."""
    content = os.urandom(3 << 20)
    (mounted.root / "file").write_bytes(content)
    place = mounted.targets[1]
    assert_done(mounted.ecfs("sync", mounted.pool))
    shutil.rmtree(place)
    os.mkdir(place)
    assert_done(mounted.ecfs("target", "replace", mounted.pool, place, place))
    assert status(mounted, str(mounted.root))["state"] == "healthy"
    monkeypatch.chdir(mounted.top)
    again = mounted.ecfs("target", "replace", mounted.pool, *(os.path.basename(place),) * 2)
    assert_done(again)
    assert again.stdout == f"the rebuild in {place} was complete already\n"
    assert (mounted.root / "file").read_bytes() == content


def test_a_target_that_cannot_be_spared_is_kept(mounted: Shell) -> None:
    (mounted.root / "file").write_bytes(b"precious" * 100_000)
    assert_done(mounted.unmount())
    os.rename(mounted.targets[3], f"{mounted.targets[3]}.away")
    assert_done(mounted.mount())
    new = str(mounted.top / "new")
    refused = mounted.ecfs("target", "replace", mounted.pool, mounted.targets[0], new)
    assert (refused.returncode, refused.stdout) == (12, "")
    assert "cannot spare it" in refused.stderr and "[E-TOO-FEW-REACHABLE]" in refused.stderr
    assert not os.path.exists(new)
    (mounted.root / "more").write_bytes(b"more")
    assert_done(mounted.ecfs("sync", mounted.pool))
    assert (mounted.root / "file").read_bytes() == b"precious" * 100_000
    assert_done(mounted.unmount())
    os.rename(f"{mounted.targets[3]}.away", mounted.targets[3])


def test_salvage_and_fsck(mounted: Shell) -> None:
    (mounted.root / "dir").mkdir()
    (mounted.root / "dir" / "file").write_bytes(b"precious" * 100_000)
    assert_done(mounted.unmount())
    checked = mounted.keyed("fsck", "-n", "-f", mounted.pool)
    assert (checked.returncode, checked.stdout) == (0, "clean\n"), checked.stderr
    assert_done(mounted.keyed("salvage", mounted.pool, str(mounted.top / "out")))
    [found] = [path for path in (mounted.top / "out").rglob("*") if path.is_file()]
    assert found.read_bytes() == b"precious" * 100_000


def test_a_key_file_and_a_recovery_key_open_as_well(shell: Shell) -> None:
    (shell.top / "key").write_bytes(os.urandom(64))
    made = shell.within(
        "ecfs", "mkfs", "--data", "1", "--parity", "1", "--kdf-passes", "1", "--json",
        "--recovery-key", "--keyfile", str(shell.top / "key"), *shell.targets,
    )  # fmt: skip
    assert_done(made)
    recovery = json.loads(made.stdout)["recovery_key"]
    (shell.top / "printed").write_text(recovery.lower() + "\n")
    by_file = shell.within("ecfs", "status", "--keyfile", str(shell.top / "key"), shell.pool)
    assert_done(by_file)
    by_recovery = shell.within(
        "ecfs", "status", "--recovery", "--passfile", str(shell.top / "printed"), shell.pool
    )
    assert_done(by_recovery)
    assert_refused(shell.keyed("status", shell.pool), 10, "E-PASSPHRASE")


def test_refusals_before_there_is_a_pool(shell: Shell) -> None:
    assert_refused(shell.mkfs(*shell.targets[:2]), 19, "E-TOO-FEW-TARGETS")
    twice = [*shell.targets, shell.targets[0] + "/../t0"]
    assert_refused(shell.mkfs(*twice), 20, "E-SAME-TARGET")
    assert_refused(shell.ecfs("status", shell.targets[0]), 11, "E-NOT-A-POOL")
    assert_refused(shell.mount(), 11, "E-NOT-A-POOL")
    assert_refused(shell.mount(str(shell.top / "nothing")), 11, "E-NOT-A-POOL")
    assert_refused(shell.unmount(), 2, "E-USAGE")


def test_refusals_of_a_pool_that_is_there(pool: Shell) -> None:
    assert_refused(pool.mkfs(), 18, "E-POOL-EXISTS")
    assert_done(pool.mkfs("--force", *pool.targets))
    pool.passfile.write_text("another\n")
    assert_refused(pool.mount(), 10, "E-PASSPHRASE")
    assert_refused(pool.keyed("fsck", pool.pool), 8, "E-PASSPHRASE")
    (pool.root / "x").touch()
    assert_refused(pool.mount(), 17, "E-MOUNTPOINT")


def test_a_pool_in_use_is_refused_by_name(mounted: Shell) -> None:
    other = mounted.top / "other"
    other.mkdir()
    again = mounted.keyed("mount", mounted.pool, str(other))
    assert_refused(again, 16, "E-IN-USE")
    assert str(mounted.root) in again.stderr
    assert_refused(mounted.mkfs("--force", *mounted.targets), 16, "E-IN-USE")


def test_too_few_foreign_and_cloned_targets(pool: Shell) -> None:
    first = pool.copy("first")
    for target in pool.targets[1:]:
        shutil.rmtree(target)
    assert_refused(pool.mount(), 12, "E-TOO-FEW-REACHABLE")
    clones = f"{pool.targets[0]}:{first}/t0"
    assert_refused(pool.mount(clones), 14, "E-CLONES")
    shutil.rmtree(pool.targets[0])
    for target in pool.targets:
        os.mkdir(target)
    assert_done(pool.mkfs("--force", *pool.targets))
    # These paths held the new pool; now the old one is there again.
    pool.put_back(first)
    assert_refused(pool.mount(), 13, "E-FOREIGN")


def test_a_rolled_back_and_a_forked_pool_are_refused(mounted: Shell) -> None:
    (mounted.root / "a").write_text("1")
    assert_done(mounted.unmount())
    old = mounted.copy("old")
    assert_done(mounted.mount())
    (mounted.root / "a").write_text("2")
    assert_done(mounted.unmount())
    newer = mounted.copy("newer")
    mounted.put_back(old)
    assert_refused(mounted.mount(), 22, "E-ROLLED-BACK")
    # Another machine goes on from the old state, further than this one had come.
    mounted.state = old / "state"
    for content in ("3", "4", "5"):
        assert_done(mounted.mount())
        (mounted.root / "a").write_text(content)
        assert_done(mounted.unmount())
    mounted.state = newer / "state"
    assert_refused(mounted.mount(), 23, "E-FORKED")
    mounted.state = mounted.top / "state"
    mounted.put_back(old)
    assert_done(mounted.mount(None, "-o", "accept_rollback"))
    assert (mounted.root / "a").read_text() == "1"


def test_the_audit_log_and_the_pool_vouch_for_each_other(mounted: Shell) -> None:
    log = mounted.state / "ecfs" / "audit.jsonl"
    (mounted.root / "a").write_text("1")
    while_mounted = mounted.ecfs("audit", "--verify", str(mounted.root))
    assert_done(while_mounted)
    assert "chain whole" in while_mounted.stdout and "contains the line" in while_mounted.stdout
    assert_done(mounted.unmount())
    assert_done(mounted.keyed("audit", "--verify", mounted.pool))
    shown = mounted.ecfs("audit").stdout
    for kind in ("claimed", "mounted", "unmounted"):
        assert f" {kind}: " in shown
    lines = log.read_bytes().splitlines(keepends=True)
    first_mount = next(number for number, line in enumerate(lines) if b"unmounted" in line)
    log.write_bytes(b"".join(lines[: first_mount + 1]))
    assert_done(mounted.ecfs("audit", "--verify"))
    cut = mounted.keyed("audit", "--json", "--verify", mounted.pool)
    assert cut.returncode == 1
    assert json.loads(cut.stdout)["pool"]["match"] == "missing"
    assert " audit-missing: " in mounted.ecfs("audit").stdout


def test_an_anchor_on_a_medium(pool: Shell) -> None:
    place = pool.top / "medium"
    refused = pool.mount(None, "-o", f"anchor_dir={place}")
    assert_refused(refused, 1, "E-ANCHOR")
    place.mkdir()
    assert_done(pool.mount(None, "-o", f"anchor_dir={place},anchor=always"))
    (pool.root / "a").write_text("1")
    assert_done(pool.unmount())
    assert len(list(place.glob("*.json"))) == 1
    old = pool.copy("old")
    assert_done(pool.mount(None, "-o", f"anchor_dir={place}"))
    (pool.root / "a").write_text("2")
    assert_done(pool.unmount())
    pool.put_back(old)
    options = ("--anchor-dir", str(place))
    assert_refused(pool.keyed("status", *options, pool.pool), 22, "E-ROLLED-BACK")
    assert_refused(pool.keyed("fsck", *options, pool.pool), 8, "E-ROLLED-BACK")
    assert_done(pool.keyed("fsck", "--accept-rollback", *options, pool.pool))
    assert " rollback-accepted: " in pool.ecfs("audit").stdout
