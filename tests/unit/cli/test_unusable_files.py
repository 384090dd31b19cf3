"""A log file, passphrase file or key file that cannot be used: told in a line, before anything."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.base.errors import MountFailed
from ecfs.cli.logs import start_log
from ecfs.cli.main import run_command
from ecfs.cli.tools import Tools
from ecfs.driver.fuse_channel import mount
from ecfs.testing.mounts import small_disk
from tests.unit.cli.fakes import FakeEngine
from tests.unit.cli.shell import Shell, assert_done, assert_refused

Capture = pytest.CaptureFixture[str]
UNUSABLE = {
    "missing": ("none/log", "No such file"),
    "directory": ("", "Is a directory"),
    "below-a-file": ("file/log", "Not a directory"),
    "unread-fifo": ("fifo", "No such device"),
}
VERBS: dict[str, tuple[tuple[str, ...], int]] = {
    "mkfs": (("--data", "1", "--parity", "1", "{t0}", "{t1}"), 1),
    "mount": (("{t0}", "{m}"), 1),
    "status": (("{t0}",), 1),
    "fsck": (("-n", "{t0}"), 8),
    "scrub": (("{t0}",), 1),
    "salvage": (("{t0}", "{out}"), 1),
    "target replace": (("{t0}", "t1", "{out}"), 1),
    "audit": (("{t0}",), 1),
}


@pytest.fixture
def logging_tools(tools: Tools) -> Tools:
    """Tools that start the log as the program does."""

    def log(name: str, *, log_file: str | None, to_stderr: bool = False) -> None:
        start_log(name, log_file=log_file, to_stderr=to_stderr, state_dir=tools.state_dir)

    return replace(tools, log=log)


def filled(arguments: tuple[str, ...], top: Path) -> list[str]:
    places = {name: str(top / name) for name in ("t0", "t1", "m", "out")}
    return [argument.format(**places) for argument in arguments]


@pytest.mark.parametrize("case", UNUSABLE)
@pytest.mark.parametrize("verb", VERBS)
def test_a_log_file_is_looked_at_before_anything_is_done(
    logging_tools: Tools, engine: FakeEngine, targets: tuple[str, str], passfile: str,
    tmp_path: Path, verb: str, case: str, capsys: Capture,
) -> None:  # fmt: skip
    (tmp_path / "m").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    name, reason = UNUSABLE[case]
    words, code = VERBS[verb]
    options = ["--passfile", passfile, "--log-file", str(tmp_path / name)]
    arguments = [*verb.split(), *options, *filled(words, tmp_path)]
    assert run_command("ecfs", arguments, logging_tools) == code
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and err.endswith("give another --log-file [E-LOG]\n")
    assert reason in err
    assert engine.asked == []
    assert not (tmp_path / "out").exists()


def test_nobody_is_asked_for_a_passphrase_in_vain(
    logging_tools: Tools, targets: tuple[str, str], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "m").mkdir()
    words = ("--log-file", "/none/log", "--passfile", "/none/pass", targets[0], f"{tmp_path}/m")
    assert run_command("ecfs", ["mount", *words], logging_tools) == 1
    assert "[E-LOG]" in capsys.readouterr().err


def test_a_log_file_in_json(
    logging_tools: Tools, targets: tuple[str, str], passfile: str, capsys: Capture
) -> None:
    arguments = ("--json", "--passfile", passfile, "--log-file", "/none/log", targets[0])
    for verb in ("fsck", "scrub", "status", "audit"):
        run_command("ecfs", [verb, *arguments], logging_tools)
        assert json.loads(capsys.readouterr().out)["id"] == "E-LOG"


def test_a_log_file_whose_disk_is_full_is_done_without() -> None:
    """In a process of its own: the log of this one is pytest's."""
    script = (
        "import logging, pathlib, sys; from ecfs.cli.logs import start_log\n"
        "start_log('x', log_file='/dev/full', to_stderr=False, state_dir=pathlib.Path('/none'))\n"
        "logging.getLogger('ecfs').error('a line')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("option", ["passfile", "keyfile"])
@pytest.mark.parametrize(("name", "reason"), [("none", "No such file"), ("", "Is a directory")])
def test_a_passphrase_that_cannot_be_read(
    tools: Tools, targets: tuple[str, str], tmp_path: Path, option: str, name: str, reason: str,
    capsys: Capture, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (tmp_path / "m").mkdir()
    path = str(tmp_path / name)
    given = (f"--{option}", path)
    commands: list[tuple[str, list[str], int]] = [
        ("ecfs", ["mount", *given, targets[0], f"{tmp_path}/m"], 1),
        ("ecfs", ["scrub", *given, targets[0]], 1),
        ("ecfs", ["fsck", *given, targets[0]], 8),
        ("mount.ecfs", [targets[0], f"{tmp_path}/m", "-o", f"{option}={path}"], 32),
    ]
    for program, arguments, code in commands:
        assert run_command(program, arguments, tools) == code
        err = capsys.readouterr().err
        assert reason in err and err.endswith(f"give another --{option} [E-KEY-FILE]\n")
        assert len(err.splitlines()) == 1
    assert caplog.records == []


def test_a_pool_file_and_a_namespace_that_cannot_be_had(
    tools: Tools, tmp_path: Path, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    # Nothing is mapped at the beginning of a process's memory: reading there gives EIO.
    assert run_command("ecfs", ["status", "/proc/self/mem"], tools) == 11
    assert f"pool file /proc/{os.getpid()}/mem cannot be read: Input" in capsys.readouterr().err
    for namespace in ("/none", "/dev/null", "4194305"):
        words = ["/t", str(tmp_path), "-N", namespace, "-o", "passfile=/none"]
        assert run_command("mount.ecfs", words, tools) == 32
        assert run_command("umount.ecfs", [str(tmp_path), "-N", namespace], tools) == 32
        assert capsys.readouterr().err.count("cannot be entered") == 2
    assert caplog.records == []


def test_mount_says_why(pool: Shell) -> None:
    refused = pool.keyed("mount", "--log-file", "/none/log", pool.pool, str(pool.root))
    assert_refused(refused, 1, "E-LOG")
    assert "/none/log cannot be written: No such file" in refused.stderr


def test_a_full_state_directory_at_umount(pool: Shell) -> None:
    with small_disk(pool.state, size_len=128 << 10):
        assert_done(pool.mount())
        (pool.root / "file").write_text("content")
        with (
            pytest.raises(OSError, match="No space"),
            (pool.state / "filler").open("wb", buffering=0) as filler,
        ):
            while True:
                filler.write(bytes(1024))
        done = pool.unmount()
        assert_refused(done, 1, "E-ANCHOR-WRITE")
        assert "cannot be written: No space left on device" in done.stderr
        assert "Traceback" not in (pool.top / "log").read_text()
        (pool.state / "filler").unlink()
        assert_done(pool.mount())
        assert (pool.root / "file").read_text() == "content"
        assert_done(pool.unmount())


def test_a_helper_that_refuses_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "fusermount3"
    helper.write_text("#!/bin/sh\necho 'fusermount3: failed to open /dev/fuse' >&2; exit 1\n")
    helper.chmod(0o755)
    monkeypatch.setattr("ecfs.driver.fuse_channel.HELPER", str(helper))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(MountFailed, match="failed to open /dev/fuse; see that this user"):
        mount(str(tmp_path), (), allow_other=False, checks_modes=False)


@pytest.mark.parametrize(
    ("device", "reason"),
    [("/dev/null", "cannot be mounted: Invalid"), ("/none", "cannot be opened: No such")],
)
def test_a_machine_that_does_not_mount_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, reason: str
) -> None:
    monkeypatch.setattr("ecfs.driver.fuse_channel.DEVICE", device)
    with pytest.raises(MountFailed, match=reason):
        mount(str(tmp_path), (), allow_other=False, checks_modes=False)


def test_a_pool_file_on_a_disk_that_is_read_only(
    tools: Tools, engine: FakeEngine, targets: tuple[str, str], passfile: str, tmp_path: Path,
    capsys: Capture,
) -> None:  # fmt: skip
    place = tmp_path / "read-only"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", place], check=True)
    try:
        words = ("--data", "1", "--parity", "1", "--pool-file", f"{place}/pool", *targets)
        assert run_command("ecfs", ["mkfs", "--passfile", passfile, *words], tools) == 2
    finally:
        subprocess.run(["umount", place], check=True)
    assert "cannot be written" in capsys.readouterr().err
    assert engine.asked == []


def test_salvage_into_what_cannot_be_a_directory(pool: Shell) -> None:
    done = pool.keyed("salvage", pool.pool, str(pool.passfile))
    assert_refused(done, 1, "E-FAILED")
    assert "give a directory" in done.stderr
