import json
import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.base.errors import EcfsError, UsageRefusal
from ecfs.cli.main import run_command
from ecfs.cli.places import other_run_dirs, run_dir, state_dir
from ecfs.cli.runtime import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.prepare()
    return run


def test_a_record_comes_back(run: RunDirectory) -> None:
    record = run.record_here("ab", "/mnt/\udcff", ("/a", "/b"))
    assert list(run.records()) == []
    run.write(record)
    assert list(run.records()) == [record]
    assert record.is_alive
    assert run.of_pool("ab") == run.at_mountpoint("/mnt/\udcff") == record
    assert run.with_target(("/x", "/b")) == record
    assert run.with_target(("/x",)) is None
    run.remove(record)
    assert list(run.records()) == []


def test_a_record_whose_process_is_gone_is_not_alive(run: RunDirectory) -> None:
    here = run.record_here("ab", "/mnt", ("/a",))
    for dead in (
        replace(here, process_start=here.process_start - 1),
        replace(here, boot_id="another boot"),
        replace(here, pid=(1 << 22) + 1),
    ):
        run.write(dead)
        assert not dead.is_alive
        assert run.of_pool("ab") is None
        assert run.with_target(("/a",)) is None
        assert run.at_mountpoint("/mnt") == dead


def test_a_newer_record_is_not_taken_away(run: RunDirectory) -> None:
    here = run.record_here("ab", "/mnt", ("/a",))
    run.write(here)
    run.remove(replace(here, pid=here.pid + 1))
    assert run.read(here) == here


def test_a_failed_close_is_remembered(run: RunDirectory) -> None:
    here = run.record_here("ab", "/mnt", ("/a",))
    run.mark_failed(here, {"id": "E-TARGET", "message": "gone", "exit_code": 1})
    left = run.read(here)
    assert left is not None
    assert left.failed == {"id": "E-TARGET", "message": "gone", "exit_code": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"schema": "ecfs.mounted/1"}'])
def test_nonsense_in_the_run_directory_is_passed_over(run: RunDirectory, content: bytes) -> None:
    (run.path / "ab.json").write_bytes(content)
    assert list(run.records()) == []


def test_another_schema_is_passed_over(run: RunDirectory) -> None:
    run.write(run.record_here("ab", "/mnt", ()))
    path = run.path / "ab.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": "ecfs.mounted/2"}))
    assert list(run.records()) == []


def test_a_directory_that_others_can_write_is_not_trusted(run: RunDirectory) -> None:
    run.write(run.record_here("ab", "/mnt", ()))
    os.chmod(run.path, 0o777)
    assert list(run.records()) == []
    with pytest.raises(EcfsError, match="writable for others"):
        run.prepare()


def test_what_a_newer_program_notes_besides_is_passed_over(run: RunDirectory) -> None:
    record = run.record_here("ab", "/mnt", ("/a",))
    run.write(record)
    [path] = run.path.glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"newer": [1]}))
    assert run.of_pool("ab") == record


def test_a_linked_run_directory_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to("real")
    with pytest.raises(EcfsError, match="belongs to somebody else"):
        RunDirectory(tmp_path / "run").prepare()


def test_other_directories_are_read_but_never_written(run: RunDirectory, tmp_path: Path) -> None:
    elsewhere = RunDirectory(tmp_path / "elsewhere", also=(run.path, tmp_path / "none"))
    record = run.record_here("ab", "/mnt", ("/a",))
    run.write(record)
    assert elsewhere.of_pool("ab") == record
    elsewhere.prepare()
    assert os.listdir(elsewhere.path) == []


@pytest.mark.parametrize(
    ("environ", "uid", "state", "run_path"),
    [
        ({}, 0, "/var/lib/ecfs", "/run/ecfs"),
        ({"XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"}, 0, "/s/ecfs", "/r/ecfs"),
        ({"XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"}, 7, "/s/ecfs", "/r/ecfs"),
        ({"HOME": "/h"}, 1 << 30, "/h/.local/state/ecfs", "/h/.local/state/ecfs/run"),
    ],
)
def test_places(environ: dict[str, str], uid: int, state: str, run_path: str) -> None:
    assert str(state_dir(environ, uid)) == state
    assert str(run_dir(environ, uid)) == run_path


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"XDG_STATE_HOME": ""}])
def test_without_home_a_user_has_the_home_of_the_password_file(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(uid: int) -> pwd.struct_passwd:
        return pwd.struct_passwd(("u", "x", uid, uid, "", f"/home/{uid}", "/bin/sh"))

    monkeypatch.setattr(pwd, "getpwuid", known)
    assert str(state_dir(environ, 7)) == "/home/7/.local/state/ecfs"


@pytest.mark.parametrize("found", [None, "", "home"])
def test_who_has_no_home_is_not_given_the_root(
    found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(uid: int) -> pwd.struct_passwd:
        if found is None:
            raise KeyError(uid)
        return pwd.struct_passwd(("u", "x", uid, uid, "", found, "/bin/sh"))

    monkeypatch.setattr(pwd, "getpwuid", known)
    with pytest.raises(UsageRefusal, match="set HOME or XDG_STATE_HOME"):
        state_dir({}, 7)


@pytest.mark.parametrize(
    ("name", "uid"), [("XDG_STATE_HOME", 0), ("XDG_STATE_HOME", 7), ("HOME", 7)]
)
def test_no_state_below_the_current_directory(name: str, uid: int) -> None:
    with pytest.raises(UsageRefusal, match=f"{name} is rel/ative"):
        state_dir({name: "rel/ative"}, uid)


def test_no_sockets_below_the_current_directory(capsys: pytest.CaptureFixture[str],
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageRefusal, match="XDG_RUNTIME_DIR is rel"):
        run_dir({"XDG_RUNTIME_DIR": "rel"}, 0)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "rel")
    assert run_command("fsck.ecfs", ["/none"]) == 16
    assert capsys.readouterr().err.endswith("set it to an absolute path [E-USAGE]\n")


@pytest.mark.parametrize(
    ("environ", "uid", "others"),
    [
        ({}, 0, ["/run/ecfs", "/run/user/0/ecfs"]),
        ({"XDG_RUNTIME_DIR": "/r"}, 0, ["/run/ecfs", "/run/user/0/ecfs"]),
        ({"HOME": "/h", "XDG_RUNTIME_DIR": "/r"}, 7,
         ["/h/.local/state/ecfs/run", "/run/user/7/ecfs"]),
    ],
)
def test_mounts_of_the_same_user_are_seen_wherever_they_are_noted(
    environ: dict[str, str], uid: int, others: list[str]
) -> None:
    assert [str(path) for path in other_run_dirs(environ, uid)] == others
