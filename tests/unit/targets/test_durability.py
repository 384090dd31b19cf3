"""Which bytes and names a directory target makes durable, and in which order.

No test can pull the plug of the file system below; the calls that ask it for durability are what is
watched.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.base.errors import Fault
from ecfs.targets import DirectoryTarget
from ecfs.testing.target_contract import raises

NAME = "segments/00/column"


class Calls:
    """Calls that change or sync anything, as (call, name of the file or folder)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, str]] = []
        for call in ("fdatasync", "fsync", "pwritev", "rename", "ftruncate"):
            self._wrap(call, monkeypatch)

    def _wrap(self, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
        real = getattr(os, call)

        def watched(place: object, *rest: object, **named: object) -> object:
            where = os.readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else place
            self.seen.append((call.replace("fdatasync", "sync").replace("fsync", "sync"),
                              Path(str(where)).name))
            return real(place, *rest, **named)

        monkeypatch.setattr(os, call, watched)

    def take(self) -> list[tuple[str, str]]:
        """What was called since the last look."""
        seen, self.seen = self.seen, []
        return seen


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


@pytest.fixture
def target(tmp_path: Path, calls: Calls) -> Iterator[DirectoryTarget]:
    (tmp_path / "pool").mkdir()
    target = DirectoryTarget(tmp_path / "pool")
    yield target
    target.close()


def test_a_new_file_is_durable_with_its_name(target: DirectoryTarget, calls: Calls) -> None:
    target.create(NAME, b"header")
    seen = calls.take()
    written = seen.index(("pwritev", "column"))
    assert seen.index(("sync", "column")) > written
    # Its folder, and the folders that had to be made for it, up to the top.
    for folder in ("00", "segments", "pool"):
        assert ("sync", folder) in seen[written:]


def test_a_replaced_file_is_whole_before_it_gets_its_name(target: DirectoryTarget,
                                                          calls: Calls) -> None:
    target.create("label", b"old")
    calls.take()
    target.replace("label", b"new")
    seen = calls.take()
    kinds = [call for call, _ in seen]
    assert kinds == ["pwritev", "sync", "rename", "sync"]
    assert seen[0][1] == seen[1][1] == seen[2][1] != "label" and seen[3][1] == "pool"


def test_a_sync_reaches_the_file(target: DirectoryTarget, calls: Calls) -> None:
    target.create(NAME, b"header")
    target.write(NAME, 4096, [b"x" * 5000])
    calls.take()
    target.sync(NAME)
    assert calls.take() == [("sync", "column")]


def test_a_file_that_need_not_last_is_not_waited_for(target: DirectoryTarget,
                                                     calls: Calls) -> None:
    target.create("heartbeat", b"1", sync=False)
    assert calls.take() == [("pwritev", "heartbeat")]


@pytest.mark.parametrize("plant", ["symlink", "hard link", "fifo", "folder link"])
def test_what_was_planted_is_neither_read_nor_written(tmp_path: Path, target: DirectoryTarget,
                                                      plant: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "column").write_bytes(b"somebody's own file")
    folder = tmp_path / "pool" / "segments" / "00"
    if plant == "folder link":
        folder.parent.mkdir()
        folder.symlink_to(outside)
    else:
        folder.mkdir(parents=True)
        if plant == "symlink":
            (folder / "column").symlink_to(outside / "column")
        elif plant == "hard link":
            (folder / "column").hardlink_to(outside / "column")
        else:
            os.mkfifo(folder / "column")
    with raises(Fault.UNSAFE):
        target.read(NAME, 0, 10)
    with raises(Fault.UNSAFE):
        target.write(NAME, 0, [b"ours"])
    assert (outside / "column").read_bytes() == b"somebody's own file"
