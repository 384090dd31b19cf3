"""A target is replaced, and the client dies before one of the labels that go with it."""

import os
from pathlib import Path

import pytest

from ecfs.erasure import Geometry
from ecfs.formats import CheckpointPointer
from ecfs.repair import replace_target
from ecfs.testing.pools import Ground, columns_of
from ecfs.volume.labelling import Labeller

pytestmark = pytest.mark.usefixtures("remembered_keys")
FILES = {b"f%d" % number: b"%d" % number * 400_000 for number in range(4)}


class Killed(BaseException):
    """Nothing more happens to the pool."""


@pytest.mark.parametrize("geometry, count", [(Geometry(4, 2), 6), (Geometry(2, 1), 3)])
@pytest.mark.parametrize("cut_at", range(1, 6))
async def test_what_the_old_target_has_is_read_though_others_are_lost(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, geometry: Geometry, count: int,
        cut_at: int) -> None:
    """m others have lost their columns. The third labels are those that follow the root."""
    ground = Ground(tmp_path / "pool", geometry=geometry, targets_count=count)
    await ground.create()
    async with ground.open() as opening:
        for path, data in FILES.items():
            await opening.shell.write(path, data)
        await opening.volume.fsync(None)
    new = str(ground.base / "new")
    os.mkdir(new)
    whole, calls = Labeller.write, [0]

    async def write(self: Labeller, pointer: CheckpointPointer | None) -> set[bytes]:
        calls[0] += 1
        if calls[0] == cut_at:
            raise Killed
        return await whole(self, pointer)

    with monkeypatch.context() as patch:
        patch.setattr(Labeller, "write", write)
        try:
            async with ground.open_and_crash() as opening:
                await replace_target(opening.volume, f"target{count}", new)
        except* Killed:
            pass
    assert calls[0] >= min(cut_at, 4)
    for place in ground.paths[: geometry.parity]:
        for column in (Path(place, name) for name in columns_of(place)):
            column.write_bytes(bytes(column.stat().st_size))
    async with ground.open(paths=(*ground.paths, new)) as opening:
        messages = [message for message in opening.volume.opened.located.messages
                    if message.startswith(ground.paths[-1])]
        assert all("is no longer part of the pool" in message for message in messages)
        assert await opening.shell.contents() == FILES
        assert not opening.volume.read_only
