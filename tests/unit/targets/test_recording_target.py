import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecfs.base.errors import Fault, TargetError
from ecfs.targets import Call, DirectoryTarget, MemoryTarget, RecordingTarget, Target
from ecfs.targets.undo import UndoLog
from ecfs.testing.target_contract import raises

NAMES = ("a", "segments/00/b", "segments/00/c")


@pytest.fixture
def target(tmp_path: Path) -> RecordingTarget:
    return RecordingTarget(DirectoryTarget(tmp_path))


def test_calls_are_told(target: RecordingTarget) -> None:
    target.create("a", b"xyz", sync=False)
    target.write("a", 3, [b"12", b"34"])
    target.read("a", 1, 2)
    target.sync("a")
    target.sync_folder("")
    target.replace("b", b"x")
    target.remove("a")
    with raises(Fault.MISSING):
        target.sync("a")
    assert target.calls == [
        Call("create", "a", 0, 3), Call("write", "a", 3, 4), Call("read", "a", 1, 2),
        Call("sync", "a", sync=True), Call("sync_folder", "", sync=True),
        Call("replace", "b", 0, 1, sync=True), Call("remove", "a")]


def test_unsynced_changes_are_dropped(target: RecordingTarget, tmp_path: Path) -> None:
    target.create("a", b"0123456789")
    target.write("a", 0, [b"AB"])
    target.sync("a")
    target.write("a", 4, [b"xx"])
    target.write("a", 4, [b"yyyyyyyyyyyyyyyy"])
    target.truncate("a", 2)
    target.preallocate("a", 0, 8192)
    target.punch("a", 0, 2)
    target.create("b", b"unsynced", sync=False)
    assert target.drop_unsynced() == 7
    assert (tmp_path / "a").read_bytes() == b"AB23456789"
    assert os.listdir(tmp_path) == ["a"]
    assert target.drop_unsynced() == 0


def test_a_removal_is_taken_back(target: RecordingTarget) -> None:
    target.create("a", b"old")
    target.write("a", 0, [b"OLD"])
    target.remove("a")
    target.create("a", b"other", sync=False)
    target.sync("a")
    target.drop_unsynced()
    assert target.read("a", 0, 10) == b"old"
    target.remove("a")
    target.sync_folder("")
    target.drop_unsynced()
    assert target.list_names() == []


def test_a_replacement_is_not_undone(target: RecordingTarget) -> None:
    target.create("a", b"old")
    target.write("a", 0, [b"OLDER"])
    target.replace("a", b"new")
    target.drop_unsynced()
    assert target.read("a", 0, 10) == b"new"


OPERATIONS = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(NAMES), st.binary(max_size=8), st.booleans()),
    st.tuples(st.just("replace"), st.sampled_from(NAMES), st.binary(max_size=8)),
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.integers(0, 12),
              st.lists(st.binary(max_size=6), max_size=2)),
    st.tuples(st.just("truncate"), st.sampled_from(NAMES), st.integers(0, 12)),
    st.tuples(st.just("remove"), st.sampled_from(NAMES)),
    st.tuples(st.just("sync"), st.sampled_from(NAMES)),
    st.tuples(st.just("sync_folder"), st.sampled_from(["", "segments", "segments/00"])),
    st.tuples(st.just("drop")),
)


def apply(target: Target, method: str, *arguments: object) -> Fault | None:
    keywords = {}
    if method == "create":
        *arguments, keywords["sync"] = arguments  # type: ignore[assignment]
    try:
        getattr(target, method)(*arguments, **keywords)
    except TargetError as error:
        return error.fault
    return None


def contents(target: Target) -> dict[str, bytes]:
    found = {}
    for name in NAMES:
        try:
            found[name] = target.read(name, 0, 1000)
        except TargetError as error:
            assert error.fault is Fault.MISSING
    return found


@settings(max_examples=300, deadline=None, database=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(OPERATIONS, max_size=25), reload=st.booleans())
def test_it_forgets_exactly_what_a_crash_of_memory_does(
        tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[object, ...]],
        reload: bool) -> None:
    folder = tmp_path_factory.mktemp("pair")
    (folder / "t").mkdir()
    undo_path = str(folder / "undo")
    recording = RecordingTarget(DirectoryTarget(folder / "t"), undo_path=undo_path)
    memory = MemoryTarget()
    for operation in [*operations, ("drop",)]:
        if operation == ("drop",):
            if reload:
                recording.close()
                recording = RecordingTarget(DirectoryTarget(folder / "t"), undo_path=undo_path)
            recording.drop_unsynced()
            memory.crash()
        else:
            assert apply(recording, *operation) == apply(memory, *operation)  # type: ignore[arg-type]
        assert contents(recording) == contents(memory)
    recording.close()


KILLED = """
import os, signal, sys
from ecfs.targets import DirectoryTarget, RecordingTarget
target = RecordingTarget(DirectoryTarget(sys.argv[1]), undo_path=sys.argv[2])
target.create("a", b"durable")
target.write("a", 0, [b"LOST"])
target.create("b", b"lost", sync=False)
target.create("segments/00/c", b"durable")
target.remove("segments/00/c")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_kill_another_process_drops_what_was_not_synced(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    undo_path = str(tmp_path / "undo")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "t"), undo_path],
                          check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "t" / "a").read_bytes() == b"LOSTble"
    target = RecordingTarget(DirectoryTarget(tmp_path / "t"), undo_path=undo_path)
    assert target.drop_unsynced() == 4
    assert contents(target) == {"a": b"durable", "segments/00/c": b"durable"}
    target.close()


def test_a_torn_undo_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    undo_path = tmp_path / "undo"
    (tmp_path / "t").mkdir()
    target = RecordingTarget(DirectoryTarget(tmp_path / "t"), undo_path=str(undo_path))
    target.create("a", b"x", sync=False)
    target.create("b", b"x", sync=False)
    target.close()
    os.truncate(undo_path, undo_path.stat().st_size - 1)
    log = UndoLog(str(undo_path))
    assert [(undo.what, undo.name) for undo in log.all()] == [
        ("create", "a"), ("bytes", "a"), ("create", "b")]
    log.close()


def test_the_undo_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    undo_path = tmp_path / "undo"
    (tmp_path / "t").mkdir()
    target = RecordingTarget(DirectoryTarget(tmp_path / "t"), undo_path=str(undo_path))
    target.create("a", bytes(4096))
    for _ in range(50):
        target.write("a", 0, [bytes(4096)])
        target.sync("a")
    assert undo_path.stat().st_size == 0
    target.close()
