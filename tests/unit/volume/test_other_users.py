"""Whether the holder of a claim may be alive, by what a host knows of its own processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecfs.base.errors import RunDirectoryUnwritable
from ecfs.base.processes import PID_MAX, is_running, process_start
from ecfs.erasure import Geometry
from ecfs.formats import Claim
from ecfs.volume import Host, HostLock
from tests.unit.stripes.simulated import World
from tests.unit.volume.test_claims import claimer_of

HOST, BOOT, PID = "host", "boot", 7


@pytest.mark.parametrize("host, boot, pid, alive", [
    ("other", "any", 1, True),
    (HOST, BOOT, 8, True),
    # Another process has got the number since, or none has it.
    (HOST, BOOT, 9, False),
    (HOST, "earlier", 8, False),
    # This process itself, which has the lock.
    (HOST, BOOT, PID, False),
])
async def test_who_may_be_alive(host: str, boot: str, pid: int, alive: bool) -> None:
    claimer = claimer_of(World(Geometry(4, 2), 6), HOST)
    claimer.host = Host(HOST, BOOT, PID, is_running=lambda number: number in (PID, 8))
    assert claimer.may_be_alive(Claim(3, b"w" * 16, host, boot, pid)) is alive


def test_a_process_runs_until_it_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert is_running(child.pid)
        child.kill()
        # A zombie until its parent has asked for its end.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process_start(child.pid) is None
        assert not is_running(child.pid)
    assert not is_running(child.pid)
    assert Host.this().is_running(os.getpid())


@pytest.mark.parametrize("pid", [-1, 0, PID_MAX + 1, 1 << 62])
def test_what_is_no_process_id_runs_not(pid: int) -> None:
    assert not is_running(pid)


def test_a_process_of_somebody_else_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_running(4_000)


def test_where_no_lock_can_be_kept_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(RunDirectoryUnwritable, match=str(file)):
        HostLock(file, bytes(16))
    lock = HostLock(tmp_path, bytes(16))
    (tmp_path / f"{bytes(16).hex()}.lock").mkdir()
    with pytest.raises(RunDirectoryUnwritable, match=str(tmp_path)):
        lock.take()
