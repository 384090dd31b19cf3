"""Labels that are not what their names say."""

import shutil
from pathlib import Path

import pytest

from ecfs.erasure import Geometry
from ecfs.formats import labels_among
from ecfs.repair import scrub
from ecfs.testing.pools import Ground
from ecfs.testing.quick import remember_keys


async def test_an_older_label_under_a_newer_name_is_written_anew(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a misdirected or a lost write leaves it: authentic, and not the one that it should be."""
    remember_keys(monkeypatch)
    ground = Ground(tmp_path, geometry=Geometry(2, 1), targets_count=3)
    await ground.create()
    async with ground.open() as opening:
        await opening.shell.write(b"file", b"x")
    target = Path(ground.paths[1])
    newest, older = labels_among(path.name for path in target.iterdir())[:2]
    shutil.copy(target / older[2], target / newest[2])
    async with ground.open() as opening:
        report = await scrub(opening.volume)
        assert report.bad_count == report.mended_count
        assert (await scrub(opening.volume)).bad_count == 0
    fsck = await ground.fsck()
    assert fsck.clean, fsck.findings
