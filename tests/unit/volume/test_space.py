"""How much fits: the formula against placing stripes one by one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.erasure import Geometry
from ecfs.volume.space import placeable_len


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
