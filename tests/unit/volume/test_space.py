"""How much fits: the formula against placing stripes one by one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.base.units import MIB
from ecfs.erasure import Geometry
from ecfs.volume.space import placeable_len
from tests.unit.volume.simulated import Pool, put


def placed(free: list[int], shards: int) -> int:
    """Stripes of one byte a shard that fit when the emptiest targets are filled first."""
    left, count = sorted(free, reverse=True), 0
    while len(left) >= shards and left[shards - 1] > 0:
        for index in range(shards):
            left[index] -= 1
        left.sort(reverse=True)
        count += 1
    return count


@settings(max_examples=300)
@given(st.lists(st.integers(0, 25), max_size=9), st.integers(1, 4), st.integers(0, 3))
def test_placeable_is_what_can_be_placed(free: list[int], data: int, parity: int) -> None:
    geometry = Geometry(data, parity)
    if len(free) >= geometry.shards:
        assert placeable_len(free, geometry) == data * placed(free, geometry.shards)
    else:
        narrow = max(0, len(free) - parity)
        assert placeable_len(free, geometry) >= narrow * min(free, default=0)


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
