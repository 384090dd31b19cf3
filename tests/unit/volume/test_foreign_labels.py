"""Targets that show labels of another pool: as many as may be hostile do not keep the others out.
"""

import shutil
from pathlib import Path

import pytest

from ecfs.base.errors import ForeignTargets, WrongPassphrase
from ecfs.erasure import Geometry
from ecfs.testing.pools import Ground
from ecfs.testing.quick import remember_keys
from ecfs.volume import OpenOptions, Secret


async def substituted(folder: Path, geometry: Geometry, count: int) -> Ground:
    """A pool with a file of which `count` targets now hold a pool of somebody else's."""
    ground = Ground(folder / "ours", geometry, geometry.shards)
    other = Ground(folder / "other", geometry, geometry.shards,
                   secret=Secret("passphrase", b"somebody else's"))
    await other.create()
    await ground.create()
    async with ground.open() as opening:
        await opening.shell.write(b"file", b"acknowledged")
        await opening.volume.fsync(None)
    for number in range(count):
        shutil.rmtree(ground.paths[number])
        shutil.copytree(other.paths[number], ground.paths[number])
    return ground


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("shards", ["1+1", "2+2", "1+2", "2+3", "4+2"])
async def test_m_targets_with_labels_of_another_pool_are_left_out(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: str, is_known: bool) -> None:
    """`is_known`: this machine has had the pool before. Where it has not, the secret tells."""
    remember_keys(monkeypatch)
    data, parity = map(int, shards.split("+"))
    ground = await substituted(tmp_path, Geometry(data, parity), parity)
    if not is_known:
        shutil.rmtree(ground.state_dir)
    async with ground.open(OpenOptions(read_only=True)) as opening:
        assert await opening.shell.read(b"file") == b"acknowledged"


async def test_where_all_hold_another_pool_it_is_refused_unless_nothing_was_known(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember_keys(monkeypatch)
    ground = await substituted(tmp_path, Geometry(2, 1), 3)
    with pytest.raises(ForeignTargets, match="before and now hold pool"):
        async with ground.open():
            pass
    shutil.rmtree(ground.state_dir)
    with pytest.raises(WrongPassphrase):
        async with ground.open():
            pass
