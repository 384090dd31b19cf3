"""The process of a mount, in the foreground of a test and in the background of a real fork."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ecfs.base.errors import EcfsError, InUse, TargetInside
from ecfs.cli.control_client import ask
from ecfs.cli.engine import Key
from ecfs.cli.linux import wait_for_exit
from ecfs.cli.mountopts import MountWish
from ecfs.cli.outcome import Json, failure_of
from ecfs.cli.runtime import MountRecord
from ecfs.cli.serving import MountPlan, MountService
from ecfs.cli.tools import Tools
from ecfs.cli.umount import detach, perform
from tests.unit.cli.fakes import PASSPHRASE, POOL_ID, FakeEngine

# The command, over the fake engine; what it is asked is appended to the file `asked` at the end.
SCRIPT = """
import sys
from pathlib import Path
from ecfs.base.errors import Bug, InUse, TargetError, Fault
from ecfs.cli.main import run_command
from tests.unit.cli.fakes import FakeEngine, fake_tools
top = Path(sys.argv[1])
engine = FakeEngine()
engine.changes = {"state": "degraded", "advice": ["replace t1"]}
engine.serve_failure = {"serve": InUse("held by host b"), "bug": KeyError("x")}.get(sys.argv[2])
if sys.argv[2] == "close":
    engine.close_failure = TargetError(Fault.IO, "t0 does not take the checkpoint")
if sys.argv[2] == "die":
    import os, signal
    engine.open = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(run_command("ecfs", sys.argv[3:], fake_tools(engine, top)))
"""


class Ready:
    """Hears that a mount is usable."""

    def __init__(self) -> None:
        self.reports: list[Json] = []
        self.heard = trio.Event()

    def __call__(self, report: Json) -> None:
        self.reports.append(report)
        self.heard.set()


def plan(targets: tuple[str, ...], mountpoint: str, ready: Ready | None = None) -> MountPlan:
    key = Key("passphrase", PASSPHRASE)
    return MountPlan(targets, mountpoint, key, MountWish(), ready or Ready())


async def test_a_mount_publishes_itself_until_it_is_unmounted(
    tools: Tools, engine: FakeEngine, targets: tuple[str, str], tmp_path: Path
) -> None:
    ready = Ready()
    service = MountService(engine, plan(targets, f"{tmp_path}/m", ready), tools.run)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.serve)
        await ready.heard.wait()
        assert ready.reports == [{"state": "healthy", "advice": []}]
        [record] = tools.run.records()
        assert (record.mountpoint, record.targets) == (f"{tmp_path}/m", targets)
        status = await trio.to_thread.run_sync(lambda: ask(record, {"request": "status"}))
        assert status["pool_id"] == POOL_ID
        assert engine.pool is not None
        engine.pool.unmount.set()
    assert engine.asked[-1] == ("closed",)
    assert os.listdir(tools.run.path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_unmounts_and_closes(
    tools: Tools, engine: FakeEngine, targets: tuple[str, str], tmp_path: Path, number: int
) -> None:
    ready = Ready()
    service = MountService(engine, plan(targets, f"{tmp_path}/m", ready), tools.run)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.serve)
        await ready.heard.wait()
        os.kill(os.getpid(), number)
    assert engine.asked[-1] == ("closed",)
    assert os.listdir(tools.run.path) == []


async def test_a_signal_that_comes_early_is_not_forgotten(
    tools: Tools, engine: FakeEngine, targets: tuple[str, str], tmp_path: Path
) -> None:
    gate = trio.Event()
    engine.open_gate = gate
    ready = Ready()
    service = MountService(engine, plan(targets, f"{tmp_path}/m", ready), tools.run)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.serve)
        await wait_all_tasks_blocked()
        os.kill(os.getpid(), signal.SIGTERM)
    assert ready.reports == []
    assert os.listdir(tools.run.path) == []


async def test_a_target_that_only_the_labels_name_may_not_be_inside_either(
    tools: Tools, engine: FakeEngine, targets: tuple[str, str]
) -> None:
    service = MountService(engine, plan(targets[:1], targets[0] + "/m"), tools.run)
    with pytest.raises(ExceptionGroup) as refused:
        await service.serve()
    assert failure_of(refused.value).id == TargetInside.id
    assert os.listdir(tools.run.path) == []


async def test_a_refusal_before_it_is_usable_leaves_no_record(
    tools: Tools, engine: FakeEngine, targets: tuple[str, str], tmp_path: Path
) -> None:
    engine.serve_failure = InUse("held")
    service = MountService(engine, plan(targets, f"{tmp_path}/m"), tools.run)
    with pytest.raises(ExceptionGroup):
        await service.serve()
    assert os.listdir(tools.run.path) == []


@pytest.fixture
def mounted_at(tmp_path: Path) -> Path:
    path = tmp_path / "m"
    path.mkdir()
    return path


def command(
    case: str, top: Path, targets: tuple[str, str], passfile: str, *more: str
) -> "subprocess.CompletedProcess[str]":
    arguments = ["mount", "--passfile", passfile, *more, ":".join(targets), str(top / "m")]
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(top), case, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def stop(record: MountRecord) -> None:
    os.kill(record.pid, signal.SIGTERM)


def test_a_mount_in_the_background_returns_when_it_is_usable(
    tools: Tools, targets: tuple[str, str], passfile: str, tmp_path: Path, mounted_at: Path
) -> None:
    done = command("fine", tmp_path, targets, passfile)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "ecfs: the pool is degraded\n  replace t1\n"
    [record] = tools.run.records()
    assert record.is_alive
    assert os.getsid(record.pid) == record.pid
    assert ask(record, {"request": "scrub"})["mended"] == 2
    stop(record)
    assert wait_for_exit(record.pid, record.process_start, timeout_s=30)
    assert os.listdir(tools.run.path) == []


@pytest.mark.parametrize(
    ("case", "code", "message"),
    [
        ("serve", 16, "held by host b [E-IN-USE]"),
        ("bug", 70, "this is a bug in ecfs"),
        ("die", 1, "was killed by signal 9 before the file system was ready"),
    ],
)
def test_what_goes_wrong_in_the_background_is_told_in_front(
    tools: Tools,
    targets: tuple[str, str],
    passfile: str,
    tmp_path: Path,
    mounted_at: Path,
    case: str,
    code: int,
    message: str,
) -> None:
    done = command(case, tmp_path, targets, passfile)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tools.run.records()) == []


def test_umount_tells_what_could_not_be_written(
    tools: Tools, targets: tuple[str, str], passfile: str, tmp_path: Path, mounted_at: Path
) -> None:
    assert command("close", tmp_path, targets, passfile).returncode == 0
    [record] = tools.run.records()
    stop(record)
    with pytest.raises(EcfsError, match="not everything could be written: t0 does not"):
        perform(tools.run, str(mounted_at))
    assert os.listdir(tools.run.path) == []


def test_umount_after_a_crash_says_so_and_tidies_up(
    tools: Tools,
    targets: tuple[str, str],
    passfile: str,
    tmp_path: Path,
    mounted_at: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("fine", tmp_path, targets, passfile).returncode == 0
    [record] = tools.run.records()
    os.kill(record.pid, signal.SIGKILL)
    assert wait_for_exit(record.pid, record.process_start)
    assert perform(tools.run, str(mounted_at)) == 0
    assert "had died" in capsys.readouterr().err
    assert list(tools.run.records()) == []


def test_who_still_holds_a_dead_mount_has_a_moment_to_let_go(tmp_path: Path) -> None:
    """What was at work in a mount whose process was killed closes its files a little later."""
    place = tmp_path / "mount"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    held = os.open(place, os.O_PATH)
    with pytest.raises(EcfsError, match="is in use"):
        detach(str(place), patience_s=0.1)
    timer = threading.Timer(0.2, os.close, (held,))
    timer.start()
    detach(str(place), patience_s=60.0)
    timer.join()
    assert not place.is_mount()


def test_in_the_foreground_it_serves_until_a_signal(
    tools: Tools, targets: tuple[str, str], passfile: str, tmp_path: Path, mounted_at: Path
) -> None:
    arguments = ["mount", "--foreground", "--passfile", passfile, targets[0], str(mounted_at)]
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), "fine", *arguments],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "degraded" in process.stderr.readline()
        assert "replace t1" in process.stderr.readline()
        [record] = tools.run.records()
        assert record.pid == process.pid
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0


def test_a_record_is_one_json_object(tools: Tools) -> None:
    tools.run.write(tools.run.record_here(POOL_ID, "/mnt", ("/a",)))
    document = json.loads((tools.run.path / f"{POOL_ID}.json").read_text())
    assert next(iter(document)) == "schema"
