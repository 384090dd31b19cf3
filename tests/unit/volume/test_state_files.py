"""What several processes write in one state directory: none takes from it what another one put."""

import errno
import fcntl
import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from ecfs.base.errors import AnchorNotWritten, AnchorUnusable, Fenced, RolledBack
from ecfs.volume import Freshness, OpenOptions
from ecfs.volume.anchor import Anchor, AnchorFile, PathMemory
from ecfs.volume.statefile import LOCK_TRIES_MAX, StateFile
from ecfs.volume.tending import ANCHOR_INTERVAL_S, Tender
from tests.unit.volume.simulated import Pool, put

POOL = b"p" * 16
ANCHOR = Anchor(POOL.hex(), 3, 30, "00" * 32, 4, 2, "00" * 32, 1)

pytestmark = pytest.mark.usefixtures("remembered_keys")


def at(epoch: int, seq: int) -> Anchor:
    return replace(ANCHOR, epoch=epoch, seq=seq)


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The home directory is on a file system that has none."""
    def refused(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)


def before_the_rename(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """`act` once, when a new file is on the disk and has not its name yet."""
    sync, todo = os.fsync, [act]

    def synced(fd: int) -> None:
        sync(fd)
        if todo:
            todo.pop()()

    monkeypatch.setattr(os, "fsync", synced)


# -- the anchor ----------------------------------------------------------------------------------

def test_a_mount_that_was_stalled_leaves_a_newer_anchor(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stalled, later = AnchorFile(tmp_path, POOL), AnchorFile(tmp_path, POOL)
    stalled.save(at(2, 8), durable=False)
    later.save(at(3, 30), durable=True)
    for seq in (9, 40):
        stalled.save(at(2, seq), durable=True)
        assert later.load() == at(3, 30)
    assert caplog.text.count("is left: it is of commit 30 in epoch 3") == 1
    later.save(at(3, 31), durable=False)
    assert stalled.load() == at(3, 31)


def test_an_anchor_that_comes_while_another_is_written_is_left(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    without_locks(monkeypatch)
    stalled, later = AnchorFile(tmp_path, POOL), AnchorFile(tmp_path, POOL)
    before_the_rename(monkeypatch, lambda: later.save(at(3, 30), durable=False))
    stalled.save(at(2, 9), durable=False)
    assert later.load() == at(3, 30)
    assert [path.suffix for path in (tmp_path / "anchors").iterdir()] in (
        [".json", ".lock"], [".lock", ".json"])


def test_only_the_anchor_that_was_given_up_gives_way_to_an_older_one(tmp_path: Path) -> None:
    accepting, other = AnchorFile(tmp_path, POOL), AnchorFile(tmp_path, POOL)
    other.save(at(3, 30), durable=False)
    accepting.give_up(at(3, 30))
    accepting.save(at(2, 9), durable=False)
    assert other.load() == at(2, 9)
    other.save(at(3, 31), durable=False)
    accepting.save(at(2, 10), durable=False)
    assert other.load() == at(3, 31)


async def test_a_history_that_was_accepted_is_remembered_from_then_on(pool: Pool) -> None:
    old = pool.snapshot()
    for number in range(3):
        async with pool.mounted() as volume:
            await put(volume, b"%d" % number, b"x")
    pool.memories = old
    with pytest.raises(RolledBack):
        async with pool.mounted():
            pass
    async with pool.mounted(OpenOptions(accept_rollback=True)) as volume:
        assert volume.opened.freshness is Freshness.QUORUM_ONLY
    async with pool.mounted() as volume:
        assert volume.opened.freshness is Freshness.PROVEN


async def test_who_was_fenced_saves_no_anchor(
        pool: Pool, autojump_clock: trio.testing.MockClock) -> None:
    saved: list[Fenced | None] = []
    committer = SimpleNamespace(failure=None)
    async with pool.mounted() as volume, trio.open_nursery() as nursery:
        tender = Tender(volume)
        tender._volume = SimpleNamespace(  # type: ignore[assignment]
            environment=volume.environment, committer=committer,
            save_anchor=lambda durable: saved.append(committer.failure))
        nursery.start_soon(tender._anchor_loop)
        await trio.sleep(2.5 * ANCHOR_INTERVAL_S)
        committer.failure = Fenced("another one has it")
        # The loop ends, or this would wait for ever.
    assert saved == [None, None]


async def test_an_anchor_that_cannot_be_written_is_told_once_and_in_the_status(
        pool: Pool, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture) -> None:
    replacing, full = StateFile.replace, True

    def replace_file(*words: Any, **named: Any) -> bool:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replacing(*words, **named)

    def advice() -> list[str]:
        return [told for told in volume.status().advice if "No space left" in told]

    async with pool.mounted() as volume:
        monkeypatch.setattr(StateFile, "replace", replace_file)
        for number, full in enumerate((True, False) * 2):
            await put(volume, b"%d" % number, b"x")
            await trio.sleep(4.5 * ANCHOR_INTERVAL_S)
            assert len(advice()) == full
    assert caplog.text.count("No space left") == 2, "once each time"
    caplog.clear()


# -- which pool is where -------------------------------------------------------------------------

def test_what_others_noted_since_a_first_look_is_kept(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loading, todo = PathMemory.load, ["/other"]

    def load(memory: PathMemory) -> dict[str, str]:
        found = loading(memory)
        if todo:
            PathMemory(tmp_path).note([todo.pop()], b"q" * 16)
        return found

    PathMemory(tmp_path).note(["/a"], POOL)
    monkeypatch.setattr(PathMemory, "load", load)
    PathMemory(tmp_path).note(["/b"], POOL)
    assert sorted(loading(PathMemory(tmp_path))) == ["/a", "/b", "/other"]


def test_what_comes_while_a_note_is_written_is_kept(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    without_locks(monkeypatch)
    before_the_rename(monkeypatch, lambda: PathMemory(tmp_path).note(["/b"], POOL))
    PathMemory(tmp_path).note(["/a"], POOL)
    assert PathMemory(tmp_path).load() == dict.fromkeys(["/a", "/b"], POOL.hex())
    assert "without the lock" in caplog.text and "No locks available" in caplog.text
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"/a": 5}', '{"/a": "\udc80'])
def test_a_damaged_memory_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    place = tmp_path / "targets.json"
    content = text.encode("utf-8", "surrogateescape")
    place.write_bytes(content)
    with pytest.raises(AnchorUnusable, match="damaged"):
        PathMemory(tmp_path).load()
    with pytest.raises(AnchorUnusable):
        PathMemory(tmp_path).note(["/b"], POOL)
    PathMemory(tmp_path).forget(POOL)
    assert place.read_bytes() == content


async def test_a_mount_is_refused_by_a_damaged_memory(pool: Pool) -> None:
    place = pool.folder / "state" / "targets.json"
    place.write_text("{")
    with pytest.raises(AnchorUnusable, match="which pool is at which path"):
        async with pool.mounted():
            pass
    place.unlink()
    place.mkdir()
    with pytest.raises(AnchorUnusable, match="cannot be read"):
        async with pool.mounted():
            pass


async def test_a_pool_is_noted_before_there_is_anything_of_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(tmp_path)

    def refused(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refused)
        with pytest.raises(AnchorNotWritten):
            await pool.make()
    assert all(not memory.list_names() for memory in pool.memories.values())
    await pool.make()
    noted = json.loads((tmp_path / "state" / "targets.json").read_text())
    assert sorted(noted) == sorted(pool.paths)


# -- the lock ------------------------------------------------------------------------------------

def test_one_at_a_time_and_who_waits_in_vain_goes_on(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pauses: list[float] = []
    place, lock = tmp_path / "f.json", tmp_path / "f.lock"
    holder, waiter = StateFile(place, lock), StateFile(place, lock, pause=pauses.append)
    with holder.alone():
        for count in (LOCK_TRIES_MAX - 1, 0):
            with waiter.alone():
                assert len(pauses) == count
                assert waiter.replace(b"w", is_wanted=lambda: True)
            # It is suspended, perhaps: a commit each second does not wait for it again.
            pauses.clear()
        assert caplog.text.count("another process has held it for too long") == 1
    with waiter.alone():
        pass
    with holder.alone(), waiter.alone():
        assert len(pauses) == LOCK_TRIES_MAX - 1


def test_who_waits_has_its_turn(tmp_path: Path) -> None:
    place, lock = tmp_path / "f.json", tmp_path / "f.lock"
    fd = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    pauses: list[float] = []

    def pause(duration_s: float) -> None:
        pauses.append(duration_s)
        os.close(fd)

    with StateFile(place, lock, pause=pause).alone():
        assert len(pauses) == 1


def test_a_state_directory_that_takes_no_lock_file_is_written_all_the_same(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "f.lock").mkdir()
    file = StateFile(tmp_path / "f.json", tmp_path / "f.lock")
    with caplog.at_level(logging.WARNING), file.alone():
        file.replace(b"x", is_wanted=lambda: True)
    assert (tmp_path / "f.json").read_bytes() == b"x"
    assert "Is a directory" in caplog.text


@pytest.mark.parametrize("name", ["anchors", f"anchors/{POOL.hex()}.json", "targets.json"])
def test_what_leads_nowhere_or_is_no_file_is_not_taken_for_nothing(
        tmp_path: Path, name: str) -> None:
    def load() -> object:
        return PathMemory(tmp_path).load() if name == "targets.json" else AnchorFile(
            tmp_path, POOL).load()

    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    assert not load()
    place.symlink_to(tmp_path / "medium")
    with pytest.raises(AnchorUnusable, match="leads nowhere"):
        load()
    if name != "anchors":
        place.unlink()
        os.mkfifo(place)
        with pytest.raises(AnchorUnusable, match="is not a regular file"):
            load()
