"""A record that a crash left on one member only, shown by that one where it does not belong."""

import shutil
from pathlib import Path

import pytest

from ecfs.base.limits import LOG_READ_LEN_MAX
from ecfs.base.units import BLOCK_LEN, MIB
from ecfs.erasure import Geometry
from ecfs.formats import commits_name
from ecfs.testing.pools import Ground
from ecfs.volume.loglength import LogLength

pytestmark = pytest.mark.usefixtures("remembered_keys")


class Killed(BaseException):
    """Nothing more happens to the pool."""


@pytest.mark.parametrize("geometry, count", [(Geometry(4, 2), 6), (Geometry(2, 1), 3)])
async def test_a_record_shown_far_out_does_not_lead_past_what_is_read(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, geometry: Geometry, count: int) -> None:
    """The next mount gives it to all, and is killed before its first checkpoint: the mount after
    that reads all that was acknowledged, on honest targets alone too."""
    ground = Ground(tmp_path / "pool", geometry=geometry, targets_count=count)
    kept = tmp_path / "kept"
    await ground.create()
    async with ground.open_and_crash() as opening:
        epoch = opening.volume.opened.epoch
        await opening.shell.write(b"a", b"acknowledged")
        await opening.volume.fsync(None)
        assert opening.volume.committer is not None
        before = opening.volume.committer.tip
        for path in ground.paths[1:]:
            shutil.copytree(path, kept / Path(path).name)
        await opening.shell.write(b"b", b"on one target")
        await opening.volume.fsync(None)
    for path in ground.paths[1:]:
        shutil.rmtree(path)
        shutil.copytree(kept / Path(path).name, path)
    own = Path(ground.paths[0], commits_name(epoch))
    end = before.offset + before.length
    newest = own.read_bytes()[end:].rstrip(b"\0")
    with open(own, "r+b") as file:
        file.truncate(end)
        file.seek(LOG_READ_LEN_MAX - 40 * BLOCK_LEN)
        file.write(newest.ljust(-(-len(newest) // BLOCK_LEN) * BLOCK_LEN, b"\0"))

    async def killed(self: LogLength) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(LogLength, "shorten", killed)
        with pytest.RaisesGroup(Killed, allow_unwrapped=True, flatten_subgroups=True):
            async with ground.open_and_crash():
                raise AssertionError("not reached")
    assert all(Path(path, commits_name(epoch)).stat().st_size <= 8 * MIB
               for path in ground.paths[1:])
    async with ground.open(paths=ground.paths[1:]) as opening:
        assert not opening.volume.read_only
        assert await opening.shell.read(b"a") == b"acknowledged"
