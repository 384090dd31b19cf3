"""Ropes: the same bytes as their parts have when they are joined."""

from hypothesis import given
from hypothesis import strategies as st

from ecfs.base.rope import Rope, copied

PARTS = st.lists(st.binary(max_size=5), max_size=6)


@given(PARTS, st.integers(0, 40), st.integers(0, 40))
def test_a_copy_is_the_same_range_of_the_whole(parts: list[bytes], low: int, high: int) -> None:
    whole = b"".join(parts)
    rope = Rope(parts)
    assert len(rope) == len(whole)
    assert rope.copied(low, high) == copied(whole, low, high) == whole[low:high]
    assert copied(rope, low, high) == whole[low:high]


@given(PARTS, st.integers(0, 40))
def test_a_part_from_somewhere_is_not_empty_before_the_end(parts: list[bytes], at: int) -> None:
    whole = b"".join(parts)
    part = Rope(parts).part_from(at)
    assert whole[at:].startswith(bytes(part)) and bool(part) == (at < len(whole))
    assert not part or any(part.obj is given for given in parts)
