"""Standard streams that are closed, full, or that nobody reads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.shell import MAIN, TOP, Shell, assert_done

FULL = "ecfs: standard output cannot be written: No space left on device [E-OUTPUT]\n"


def run(streams: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`ecfs`, with its streams put elsewhere by the shell."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-c", MAIN, "ecfs", *arguments],
        capture_output=True, text=True, check=False, cwd=TOP, timeout=60)


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_with_a_closed_stream_a_command_does_its_work(streams: str, tmp_path: Path) -> None:
    assert run(streams, "--version").returncode == 0
    done = run(streams, "status", "--json", str(tmp_path))
    assert done.returncode == 11
    if "2" not in streams:
        assert done.stderr.endswith("[E-NOT-A-POOL]\n") and done.stderr.count("\n") == 1
    if "1" not in streams and ">&-" not in streams.replace("2>&-", ""):
        assert json.loads(done.stdout)["exit_code"] == 11


def test_no_file_gets_the_number_of_a_closed_stream() -> None:
    script = ("import os; from ecfs.cli.streams import settle_streams; settle_streams(); "
              "os._exit(os.open('/dev/null', os.O_RDONLY))")
    for streams in ("<&-", ">&- 2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-c",
                               script], check=False, cwd=TOP, timeout=60)
        assert done.returncode > 2, streams


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 1), (["fsck", "--help"], 8)])
def test_a_full_output_is_told_without_a_traceback(arguments: list[str], code: int) -> None:
    done = run(">/dev/full", *arguments)
    assert (done.returncode, done.stderr) == (code, FULL)


def test_where_the_error_cannot_be_told_in_json_it_is_told_and_keeps_its_code(
        tmp_path: Path) -> None:
    done = run(">/dev/full", "status", "--json", str(tmp_path))
    assert done.returncode == 11
    assert done.stderr.endswith("[E-NOT-A-POOL]\n") and done.stderr.count("\n") == 1


def test_a_full_standard_error_changes_nothing(tmp_path: Path) -> None:
    done = run("2>/dev/full", "status", "--json", str(tmp_path))
    assert done.returncode == json.loads(done.stdout)["exit_code"] == 11


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 1), (["fsck", "--help"], 8)])
def test_whoever_stops_reading_is_told_nothing(arguments: list[str], code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([sys.executable, "-c", MAIN, "ecfs", *arguments], stdout=writing,
                              stderr=subprocess.PIPE, text=True, check=False, cwd=TOP, timeout=60)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_mount_made_and_ended_without_streams(pool: Shell) -> None:
    environ = os.environ | {"XDG_STATE_HOME": str(pool.state),
                            "XDG_RUNTIME_DIR": str(pool.top / "run")}
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", MAIN, "ecfs"]
    log = ["--log-file", str(pool.top / "log"), "--passfile", str(pool.passfile)]
    subprocess.run([*closed, "mount", *log, pool.pool, str(pool.root)], check=True, cwd=TOP,
                   env=environ, timeout=60)
    (pool.root / "file").write_text("content")
    subprocess.run([*closed, "umount", str(pool.root)], check=True, cwd=TOP, env=environ,
                   timeout=60)
    assert not os.path.ismount(pool.root)
    assert_done(pool.mount())
    assert (pool.root / "file").read_text() == "content"
