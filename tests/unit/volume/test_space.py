"""How much fits: the formula against placing stripes one by one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.base.limits import RESERVE_LEN_MIN
from ecfs.base.units import GIB, MIB
from ecfs.erasure import Geometry
from ecfs.targets import MemoryTarget, Space
from ecfs.volume.space import placeable_len
from tests.unit.volume.simulated import Pool, put


def placed(free: list[int], geometry: Geometry) -> tuple[int, int]:
    """Content of stripes of one byte a shard when the emptiest targets are filled first: of those
    on k + m of them, and of all, narrower where too few have room."""
    left, wide, narrow = sorted(free, reverse=True), 0, 0
    while (width := min(geometry.shards, sum(one > 0 for one in left))) > geometry.parity:
        for index in range(width):
            left[index] -= 1
        left.sort(reverse=True)
        if width == geometry.shards:
            wide += geometry.data
        else:
            narrow += width - geometry.parity
    return wide, wide + narrow


@settings(max_examples=300)
@given(st.lists(st.integers(0, 25), max_size=9), st.integers(1, 4), st.integers(0, 3))
def test_placeable_is_what_can_be_placed(free: list[int], data: int, parity: int) -> None:
    geometry = Geometry(data, parity)
    if len(free) <= parity:
        assert placeable_len(free, geometry) == max(free, default=0)
        return
    wide, whole = placed(free, geometry)
    assert max(wide, whole - geometry.shards * data) <= placeable_len(free, geometry) <= whole


def test_narrower_stripes() -> None:
    assert placeable_len([100] * 5, Geometry(4, 2)) == 300
    assert placeable_len([100] * 4, Geometry(4, 2)) == 200
    assert placeable_len([], Geometry(4, 2)) == 0


async def test_what_was_written_since_the_targets_were_asked_is_not_free(pool: Pool) -> None:
    """Neither while it is on its way nor once it was appended."""
    async with pool.mounted() as volume:
        await volume.meter.refresh()
        before = volume.space()
        await put(volume, b"f", bytes(4 * MIB))
        for _ in range(2):
            told = volume.space()
            assert before.free_len - told.free_len >= 4 * MIB
            assert before.free_len - told.free_len == before.available_len - told.available_len
            await volume.fsync(None)
        assert volume.files.flusher.dirty_len == 0


def test_one_that_has_next_to_nothing_ends_nothing() -> None:
    """Nor does one that only says so: the others go on without it, as past one that is full."""
    assert placeable_len([1, *[100] * 5], Geometry(4, 2)) == 4 + 99 * 3
    assert placeable_len([0, *[100] * 5], Geometry(4, 2)) == 300
    assert placeable_len([0, 100, 100], Geometry(2, 1)) == 100


def test_no_more_targets_with_room_than_parity_are_no_room() -> None:
    """As the store sees it: what is written would start out without protection."""
    assert placeable_len([0, 0, 0, 0, 100, 100], Geometry(4, 2)) == 0


async def test_targets_on_one_device_share_its_room(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six directories of one disk have the room of one disk: programs are not told six times it."""
    async with pool.mounted() as volume:
        await volume.meter.refresh()
        apart, spaces = volume.space(), dict(volume.meter.spaces)
        monkeypatch.setattr(MemoryTarget, "device", lambda target: 7)
        await volume.meter.refresh()
        shared = volume.space()
        count = len(pool.paths)
        assert abs(shared.total_len - apart.total_len // count) < MIB
        assert shared.free_len < apart.free_len // count + MIB
        assert volume.meter.spaces == spaces
        # What is kept is kept for each of them.
        monkeypatch.setattr(MemoryTarget, "space", lambda target: Space(
            count * GIB, count * RESERVE_LEN_MIN))
        await volume.meter.refresh()
        assert volume.space().available_len == 0
        assert all(member.full for member in volume.fleet)
