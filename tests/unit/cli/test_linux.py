import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecfs.base.errors import EcfsError
from ecfs.base.processes import process_start
from ecfs.cli import linux
from ecfs.cli.linux import Mount, holders, mount_at, parse_fstab, parse_mountinfo

MOUNTINFO = (
    b"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
    b"90 22 0:40 / /mnt/a\\040b rw shared:7 master:2 - fuse.ecfs ecfs rw,user_id=0\n"
    b"91 22 0:41 / /mnt/- rw - tmpfs - rw\n"
    b"half a line\n"
)


def test_mountinfo_is_read_with_its_escapes_and_optional_fields() -> None:
    mounts = parse_mountinfo(MOUNTINFO)
    assert mounts == [
        Mount("/", "ext4", "/dev/vda", device="0"),
        Mount("/mnt/a b", "fuse.ecfs", "ecfs", device="40"),
        Mount("/mnt/-", "tmpfs", "-", device="41"),
    ]
    assert [mount.is_ecfs for mount in mounts] == [False, True, False]


def test_fstab_is_read_with_its_escapes() -> None:
    content = b"# none\n\n/a\\040b:/c  /mnt\tecfs passfile=/p,noauto 0 2\n/x /y ext4\nodd line\n"
    assert parse_fstab(content) == [
        Mount("/mnt", "ecfs", "/a b:/c", "passfile=/p,noauto"),
        Mount("/y", "ext4", "/x", ""),
    ]


def test_the_root_is_mounted_and_a_fresh_directory_is_not(tmp_path: Path) -> None:
    assert mount_at("/") is not None
    assert mount_at(str(tmp_path)) is None


def test_a_process_is_told_by_its_pid_and_start() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        start = process_start(child.pid)
        assert start is not None
        assert not linux.wait_for_exit(child.pid, start, timeout_s=0)
        # Another process that has got the same pid is not the one we wait for.
        assert linux.wait_for_exit(child.pid, start - 1, timeout_s=0)
        child.communicate(b"\n")
    assert linux.wait_for_exit(child.pid, start)
    assert process_start(child.pid) is None


def test_who_holds_a_directory_is_named(tmp_path: Path) -> None:
    assert holders(str(tmp_path)) == []
    (tmp_path / "file").touch()
    script = "import sys; file = open(sys.argv[1]); print(flush=True); input()"
    with (
        (tmp_path / "file").open(),
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "file")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as child,
    ):
        assert child.stdout is not None
        child.stdout.readline()
        [holder] = holders(str(tmp_path))
        child.communicate(b"\n")
    assert holder.endswith(f"(pid {child.pid})")


def test_a_machine_without_fuse_is_told_what_is_missing(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    linux.check_can_mount()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(linux, "HELPER", "no-such-helper")
    with pytest.raises(EcfsError, match="no-such-helper is not there"):
        linux.check_can_mount()
    for path in (tmp_path / "none", tmp_path):
        monkeypatch.setattr(linux, "DEVICE", str(path))
        with pytest.raises(EcfsError, match=f"there is no {path}; load the module"):
            linux.check_can_mount()


FILE_LIMIT_SCRIPT = """
import resource, sys; from ecfs.cli import main
hard = 1 << 20 if sys.argv[1] == "hard" else resource.RLIM_INFINITY
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
if sys.argv[1] == "hard":
    real = resource.setrlimit
    def refuse(kind, limits):
        if limits[1] == resource.RLIM_INFINITY:
            raise ValueError("not allowed to raise maximum limit")
        real(kind, limits)
    resource.setrlimit = refuse
sys.argv = ["ecfs", "mount", "--passfile", "/none", sys.argv[2], sys.argv[3]]
try: main()
except SystemExit: print(resource.getrlimit(resource.RLIMIT_FSIZE))
"""


@pytest.mark.parametrize(
    ("kind", "limits", "told"),
    [
        ("soft", "(-1, -1)", "[E-KEY-FILE]"),
        ("hard", f"({1 << 20}, {1 << 20})", "files may not be longer than 1048576 bytes here"),
    ],
)
def test_a_limit_of_file_lengths_is_lifted_or_told_of(
        tmp_path: Path, kind: str, limits: str, told: str) -> None:
    for name in ("t", "m"):
        (tmp_path / name).mkdir()
    environ = os.environ | {"XDG_STATE_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", FILE_LIMIT_SCRIPT, kind, tmp_path / "t", tmp_path / "m"],
        capture_output=True, text=True, check=False, env=environ, timeout=60)
    assert done.stdout == limits + "\n"
    assert told in done.stderr


def test_a_hardened_process_leaves_no_core() -> None:
    script = (
        "import resource; from ecfs.cli.linux import harden; harden();"
        "print(resource.getrlimit(resource.RLIMIT_CORE));"
        "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    told = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert told == "(0, 0)\n0\n"
