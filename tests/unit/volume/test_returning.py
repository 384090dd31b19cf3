"""A target that was not there while others were written to."""

import shutil
from pathlib import Path

import pytest
import trio

from ecfs.erasure import Geometry
from ecfs.observe import EventKind
from ecfs.testing.pools import Ground
from ecfs.testing.quick import remember_keys


async def test_what_a_target_never_got_is_not_held_against_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even while the pool is being opened, when the metadata is read from it."""
    remember_keys(monkeypatch)
    ground = Ground(tmp_path, geometry=Geometry(2, 1), targets_count=3)
    await ground.create()
    away = tmp_path / "away"
    for number in range(9):
        path = ground.paths[number % 3]
        shutil.move(path, away)
        for _ in range(1 + number // 3):
            async with ground.open() as opening:
                await opening.shell.write(b"file", b"%d" % number * 50_000)
        shutil.move(away, path)
        async with ground.open() as opening:
            assert await opening.shell.read(b"file") == b"%d" % number * 50_000
            journal = opening.volume.journal
            assert journal.count(EventKind.TARGET_STALE) == 1
            assert journal.count(EventKind.SHARD_MISSING) == 0
            assert journal.count(EventKind.SHARD_BAD) == 0
            with trio.fail_after(600):
                while opening.volume.status().state != "healthy":
                    await trio.sleep(1)
