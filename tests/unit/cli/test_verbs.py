import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ecfs.base.errors import InUse
from ecfs.cli.fsck import FsckOrder, fsck_lines, perform
from ecfs.cli.linux import Mount
from ecfs.cli.main import run_command
from ecfs.cli.mkfs import kdf_memory_kib
from ecfs.cli.pool import join_targets, read_pool_file
from ecfs.cli.runtime import RunDirectory
from ecfs.cli.secret import SecretSource
from ecfs.cli.status import status_lines
from ecfs.cli.tools import Tools
from tests.unit.cli.fakes import POOL_ID, FakeEngine, status_report

FINDING = {"id": "F-ORPHAN", "description": "an orphan", "path": "/a", "repaired": False}
OPEN_REPORT = {"schema": "ecfs.fsck/1", "findings": [FINDING], "exit_bits": 4}
DONE_REPORT = {
    "schema": "ecfs.fsck/1",
    "findings": [FINDING | {"repaired": True}],
    "exit_bits": 1,
}

Targets = tuple[str, str]
Capture = pytest.CaptureFixture[str]


def run(tools: Tools, *arguments: str) -> int:
    return run_command("ecfs", arguments, tools)


def mkfs(tools: Tools, passfile: str, *arguments: str) -> int:
    return run(tools, "mkfs", "--data", "1", "--parity", "1", "--passfile", passfile, *arguments)


def test_mkfs_hands_on_what_was_asked_for(
    tools: Tools, engine: FakeEngine, targets: Targets, passfile: str, capsys: Capture
) -> None:
    options = ("--recovery-key", "--kdf-memory", "128M", "--kdf-passes", "1", "--force")
    assert mkfs(tools, passfile, *options, *targets) == 0
    [(verb, order)] = engine.asked
    assert verb == "make"
    assert (order.paths, order.data, order.parity) == (targets, 1, 1)
    assert (order.kdf_memory_kib, order.kdf_passes) == (128 << 10, 1)
    assert order.force
    assert order.key.value == b"correct horse"
    assert "correct" not in repr(order)
    out, err = capsys.readouterr()
    assert f"made pool {POOL_ID}: 1+1" in out
    assert "recovery key (write it down, keep it apart): AAAAA-BBBBB" in out
    assert f"ecfs mount {join_targets(targets)} MOUNTPOINT" in out
    assert err == "ecfs: warning: two targets share a device\n"


def test_mkfs_in_json_and_with_a_pool_file(
    tools: Tools, targets: Targets, passfile: str, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "pool"
    assert mkfs(tools, passfile, "--json", "--pool-file", str(file), *targets) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "ecfs.mkfs/1"
    assert read_pool_file(file) == list(targets)


def test_mkfs_refuses_before_it_makes_anything(
    tools: Tools, engine: FakeEngine, targets: Targets, passfile: str, tmp_path: Path
) -> None:
    assert mkfs(tools, passfile, targets[0]) == 19
    assert mkfs(tools, passfile, targets[0], targets[0] + "/.") == 20
    assert mkfs(tools, passfile, "--kdf-memory", "63M", *targets) == 2
    assert mkfs(tools, passfile, "--pool-file", str(tmp_path), *targets) == 2
    assert mkfs(tools, str(tmp_path / "none"), *targets) == 1
    assert run(tools, "mkfs", *targets) == 2
    assert run(tools, "mkfs", "--data", "0", "--parity", "1", *targets) == 2
    assert engine.asked == []


def test_the_memory_of_the_key_derivation_has_a_floor_and_a_cap() -> None:
    gib = 1 << 30
    assert kdf_memory_kib(None, gib) == kdf_memory_kib("64M", gib) == 64 << 10
    assert kdf_memory_kib("512M", gib) == 512 << 10
    assert kdf_memory_kib("4G", 100 * gib) == 4 << 20
    for text, machine_len in (("513M", gib), ("4097M", 100 * gib), ("0", gib)):
        with pytest.raises(Exception, match="out of range"):
            kdf_memory_kib(text, machine_len)


def test_status_without_a_key_is_marked(
    tools: Tools, engine: FakeEngine, targets: Targets, capsys: Capture
) -> None:
    assert run(tools, "status", ":".join(targets)) == 0
    out = capsys.readouterr().out
    assert "labels claim" in out
    assert engine.asked == []
    assert run(tools, "status", "--json", targets[0]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["authenticated"] is False
    assert next(iter(document)) == "schema"


def test_status_with_a_key_opens_read_only(
    tools: Tools, engine: FakeEngine, targets: Targets, passfile: str, capsys: Capture
) -> None:
    assert run(tools, "status", "--passfile", passfile, targets[0]) == 0
    assert engine.asked[0][3].read_only
    assert "labels claim" not in capsys.readouterr().out


def test_status_of_a_pool_in_a_bad_state() -> None:
    report = status_report(
        ("/a\x1b[2J",),
        state="read_only",
        damaged_paths=[f"/file {index}" for index in range(30)],
        advice=["replace t1"],
    )
    report["targets"][0]["size_bytes"] = report["targets"][0]["free_bytes"] = 0
    assert re.search(r" 0 B +- +- +/a", "\n".join(status_lines(report)))
    text = "\n".join(status_lines(report))
    assert "state      read only" in text
    assert "30 damaged files:" in text
    assert "and 10 more" in text
    assert text.endswith("replace t1")
    assert "\x1b" not in text


def test_what_is_no_pool_and_what_is_a_wrong_passphrase(
    tools: Tools, targets: Targets, tmp_path: Path, capsys: Capture
) -> None:
    assert run(tools, "status", str(tmp_path)) == 11
    assert run(tools, "status", "--json", str(tmp_path)) == 11
    wrong = tmp_path / "wrong"
    wrong.write_text("battery staple")
    for verb in ("scrub", "status"):
        assert run(tools, verb, "--passfile", str(wrong), targets[0]) == 10
    assert run(tools, "fsck", "--passfile", str(wrong), targets[0]) == 8
    out, err = capsys.readouterr()
    assert json.loads(out)["id"] == "E-NOT-A-POOL"
    assert err.count("[E-PASSPHRASE]") == 3


def test_scrub(
    tools: Tools, engine: FakeEngine, targets: Targets, passfile: str, capsys: Capture
) -> None:
    assert run(tools, "scrub", "--passfile", passfile, targets[0]) == 0
    out, err = capsys.readouterr()
    assert out == "scrubbed 10 B in 1 segment: 2 bad, 2 mended\n"
    assert "scrub: 50%" in err
    assert engine.asked[-1] == ("closed",)
    assert run(tools, "scrub", "--json", "--passfile", passfile, targets[0]) == 0
    assert json.loads(capsys.readouterr().out)["mended"] == 2
    for changes in ({"bad": 3}, {"unreadable_stripes": 1, "damaged_paths": ["/a\x07"]}):
        engine.changes["scrub"] = changes
        assert run(tools, "scrub", "--passfile", passfile, targets[0]) == 1
    assert "1 stripe cannot be read" in capsys.readouterr().out


def test_target_replace_names_the_old_one_in_any_way(
    tools: Tools,
    engine: FakeEngine,
    targets: Targets,
    passfile: str,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(os.path.dirname(targets[0]))
    for old, told in (("t1", "t1"), ("./t1", targets[1]), (targets[1], targets[1])):
        arguments = ("target", "replace", "--passfile", passfile, targets[0], old, "new")
        assert run(tools, *arguments) == 0
        assert ("replace", told, os.path.abspath("new")) in engine.asked
    assert "rebuilt 7 shards in" in capsys.readouterr().out


def test_salvage(
    tools: Tools,
    engine: FakeEngine,
    targets: Targets,
    passfile: str,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    arguments = ("salvage", "--passfile", passfile, ":".join(targets))
    assert run(tools, *arguments, str(tmp_path / "out")) == 0
    assert (tmp_path / "out" / "found").read_text() == "content"
    assert "salvaged 1 file, 7 B" in capsys.readouterr().out
    assert run(tools, *arguments, str(tmp_path / "out")) == 2
    assert "not empty" in capsys.readouterr().err
    assert run(tools, *arguments, targets[0] + "/out") == 21
    engine.changes["incomplete"] = ["/half"]
    assert run(tools, *arguments, str(tmp_path / "out2")) == 1
    assert "/half" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "depth", "force"),
    [
        ([], "look", False),
        (["-n"], "look", False),
        (["-p"], "safe", False),
        (["-a", "-f"], "safe", True),
        (["-fy"], "yes", True),
    ],
)
def test_the_flags_of_fsck(
    tools: Tools,
    engine: FakeEngine,
    targets: Targets,
    passfile: str,
    flags: list[str],
    depth: str,
    force: bool,
) -> None:
    assert run(tools, "fsck", "--passfile", passfile, *flags, targets[0]) == 0
    assert engine.asked == [("check", depth, force)]


def test_fsck_tells_findings_and_exits_with_their_bits(
    tools: Tools, engine: FakeEngine, targets: Targets, passfile: str, capsys: Capture
) -> None:
    engine.fsck_reports = [OPEN_REPORT, DONE_REPORT, OPEN_REPORT]
    arguments = ("fsck", "--passfile", passfile, targets[0])
    assert run(tools, *arguments) == 4
    assert capsys.readouterr().out == "F-ORPHAN: /a: an orphan\n1 finding not repaired\n"
    assert run(tools, *arguments) == 1
    assert "all findings are repaired" in capsys.readouterr().out
    assert run(tools, *arguments, "--json") == 4
    assert json.loads(capsys.readouterr().out) == OPEN_REPORT


def test_what_is_harmless_is_told_and_is_no_error() -> None:
    harmless = FINDING | {"harmless": True}
    giving_up = FINDING | {"gives_up": True}
    assert fsck_lines({"findings": [harmless], "full": False})[-1].startswith("clean, by a quick")
    lines = fsck_lines({"findings": [harmless, giving_up], "full": True})
    assert lines[0].endswith("(harmless)")
    assert lines[1].endswith("(a repair gives something up)")
    assert lines[2] == "1 finding not repaired"


def test_fsck_refusals_have_the_bits_of_fsck(tools: Tools, targets: Targets, passfile: str) -> None:
    assert run(tools, "fsck", "--passfile", passfile, "-n", "-y", targets[0]) == 16
    assert run(tools, "fsck", "--passfile", passfile, "/nonexistent") == 8
    assert run_command("fsck.ecfs", ["--passfile", passfile, "-a", targets[0]], tools) == 0
    assert run_command("fsck.ecfs", ["--passfile", passfile, "-Q", targets[0]], tools) == 16


@pytest.mark.parametrize(("answer", "depth"), [("s", "safe"), ("YES", "yes"), ("n", None)])
def test_fsck_asks_what_to_do_about_findings(
    tools: Tools,
    engine: FakeEngine,
    targets: Targets,
    passfile: str,
    answer: str,
    depth: str | None,
) -> None:
    engine.fsck_reports = [OPEN_REPORT, DONE_REPORT]
    order = FsckOrder(targets[0], SecretSource(passfile=passfile), None, False)
    bits = perform(tools, order, lambda: answer)
    assert bits == (4 if depth is None else 1)
    assert engine.asked[1:] == ([] if depth is None else [("check", depth, False)])


def test_a_mounted_pool_is_not_checked_nor_salvaged_nor_mounted_again(
    tools: Tools, engine: FakeEngine, targets: Targets, passfile: str, tmp_path: Path
) -> None:
    (tmp_path / "m").mkdir()
    # Known by the id in its labels alone: it was mounted under other names.
    tools.run.write(tools.run.record_here(POOL_ID, f"{tmp_path}/elsewhere", ("/other",)))
    secret = ("--passfile", passfile, targets[0])
    assert run(tools, "fsck", *secret) == 8
    assert run(tools, "salvage", *secret, str(tmp_path / "out")) == 16
    tools.run.write(tools.run.record_here(POOL_ID, f"{tmp_path}/elsewhere", (targets[0],)))
    assert run(tools, "mount", *secret, str(tmp_path / "m")) == InUse.exit_code
    assert engine.asked == []


@pytest.mark.parametrize(
    ("mountpoint", "code"), [("none", 17), ("full", 17), ("file", 17), ("t0/m", 21)]
)
def test_an_unsuitable_mount_point(
    tools: Tools,
    engine: FakeEngine,
    targets: Targets,
    passfile: str,
    tmp_path: Path,
    mountpoint: str,
    code: int,
) -> None:
    (tmp_path / "full" / "x").mkdir(parents=True)
    (tmp_path / "file").touch()
    Path(targets[0], "m").mkdir()
    arguments = ("mount", "--passfile", passfile, targets[0], f"{tmp_path}/{mountpoint}")
    assert run(tools, *arguments) == code
    assert engine.asked == []


@pytest.mark.parametrize("what", ["state", "run", "log", "log_file", "anchor_dir"])
def test_nothing_of_ours_may_lie_below_the_mount_point(
    tools: Tools, targets: Targets, passfile: str, tmp_path: Path, what: str, capsys: Capture
) -> None:
    place = tmp_path / "m"
    place.mkdir()
    below = place / "x"
    (tmp_path / "link").symlink_to(place)
    words = {
        "log": ("--log-file", str(below)),
        "log_file": ("-o", f"log_file={tmp_path}/link/x"),
        "anchor_dir": ("-o", f"anchor_dir={place}"),
    }.get(what, ())
    if what == "state":
        tools = replace(tools, state_dir=below)
    elif what == "run":
        tools = replace(tools, run=RunDirectory(below))
    assert run(tools, "mount", *words, "--passfile", passfile, targets[0], str(place)) == 17
    err = capsys.readouterr().err
    assert "lies below the mount point" in err and "[E-MOUNTPOINT]" in err
    assert list(place.iterdir()) == []


def test_an_unknown_mount_option_is_a_usage_error(
    tools: Tools, targets: Targets, tmp_path: Path, capsys: Capture
) -> None:
    assert run(tools, "mount", "-o", "ro,bogus", targets[0], str(tmp_path)) == 2
    assert run_command("mount.ecfs", [targets[0], str(tmp_path), "-o", "bogus"], tools) == 1
    assert capsys.readouterr().err.count("unknown mount option 'bogus' [E-USAGE]") == 2
    helper = [targets[0], str(tmp_path), "-sfnv", "-o", "bogus,passfile=/p", "-t", "ecfs"]
    assert run_command("mount.fuse.ecfs", helper, tools) == 0


def test_the_mount_helper_fails_with_its_own_bits(
    tools: Tools, targets: Targets, passfile: str, tmp_path: Path
) -> None:
    missing = [targets[0], str(tmp_path / "none"), "-o", f"passfile={passfile}"]
    assert run_command("mount.ecfs", missing, tools) == 32
    assert run_command("umount.ecfs", [str(tmp_path)], tools) == 1
    assert run_command("umount.ecfs", ["-l", str(tmp_path)], tools) == 1


def test_umount_of_what_is_not_mounted(tools: Tools, tmp_path: Path) -> None:
    assert run(tools, "umount", str(tmp_path)) == 2


def test_an_unmount_of_what_nobody_knows_says_so(
    tools: Tools, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = Mount(str(tmp_path), "fuse.ecfs", "ecfs", device="99999")
    detached: list[str] = []
    monkeypatch.setattr("ecfs.cli.umount.mount_at", lambda path: mounted)
    monkeypatch.setattr("ecfs.cli.umount.detach", detached.append)
    assert run(tools, "umount", str(tmp_path)) == 0
    assert detached == [str(tmp_path)]
    assert "it may still be writing" in capsys.readouterr().err


def test_sync_of_what_is_not_mounted(tools: Tools, tmp_path: Path, capsys: Capture) -> None:
    assert run(tools, "sync", str(tmp_path)) == 2
    assert "is not mounted" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("nosuch",), ("mount",), ("status", "a", "b"), ("-x",)])
def test_usage_errors(tools: Tools, arguments: tuple[str, ...], capsys: Capture) -> None:
    assert run(tools, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "ecfs" in err


def test_the_version_and_what_the_machine_offers(tools: Tools, capsys: Capture) -> None:
    assert run(tools, "--version") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ecfs 0.")
    named = {line.split()[0] for line in lines[1:]}
    assert {"format", "python", "pyfuse3", "isa-l", "libfuse3"} <= named


def test_names_that_are_no_text_go_out_as_their_bytes(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff"
    script = "import sys; sys.argv[0] = 'ecfs'; from ecfs.cli import main; main()"
    environ: dict[str, Any] = os.environ | {"XDG_STATE_HOME": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", script, "umount", name],
        capture_output=True,
        check=False,
        env=environ,
    )
    assert told.returncode == 2
    assert told.stderr == b"ecfs: " + name + b": no pool is mounted there [E-USAGE]\n"
