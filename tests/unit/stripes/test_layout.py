"""Where units lie: pure arithmetic, checked property by property."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ecfs.base.errors import Bug, Damage
from ecfs.base.limits import AEAD_TAG_LEN, UNIT_LEN_MAX
from ecfs.base.units import BLOCK_LEN
from ecfs.erasure import Geometry
from ecfs.formats import HEAD_INDEX, fitting_body_len, header_len, record_len
from ecfs.stripes import Layout, Unit, plan_stripe

LENGTHS = st.lists(st.one_of(
    st.integers(0, 300), st.integers(1, 200_000),
    st.sampled_from([4095, 4096, 4097, 65_535, 65_536, 65_537, 131_072, 524_288])), max_size=12)
GEOMETRIES = st.builds(Geometry, st.integers(1, 16), st.integers(0, 8))


def placed(layout: Layout, lengths: list[int]) -> list[tuple[int, int, list[Unit]]]:
    """(start, length, units) of extents one after another, as a stripe is laid out."""
    position, found = 0, []
    for length in lengths:
        units, after = layout.place(position, length)
        start = units[0].shard * layout.body_len + units[0].offset if units else position
        found.append((start, length, units))
        assert after >= position
        position = after
    return found


@settings(max_examples=200, deadline=None)
@given(GEOMETRIES, LENGTHS)
def test_units_fit_and_never_overlap(geometry: Geometry, lengths: list[int]) -> None:
    body_len, starts = plan_stripe(geometry, lengths)
    assert starts == [start for start, _, _ in placed(Layout(geometry.data, body_len), lengths)]
    assert record_len(body_len, geometry.shards) % BLOCK_LEN == 0
    layout = Layout(geometry.data, body_len)
    ends = [0] * geometry.data
    indexes = set()
    for start, length, units in placed(layout, lengths):
        assert sum(unit.length for unit in units) == length
        assert layout.place(start, length)[0] == units
        assert layout.units_of(start, length) == units
        for unit in units:
            assert 0 < unit.length <= UNIT_LEN_MAX
            assert unit.end == unit.offset + unit.length + AEAD_TAG_LEN <= body_len
            assert unit.offset >= ends[unit.shard]
            ends[unit.shard] = unit.end
            assert unit.nonce not in indexes and unit.nonce < HEAD_INDEX
            indexes.add(unit.nonce)
        for unit in units[:-1]:
            assert unit.length % BLOCK_LEN == 0


@settings(max_examples=100, deadline=None)
@given(GEOMETRIES, LENGTHS)
def test_no_shorter_body_was_passed_over(geometry: Geometry, lengths: list[int]) -> None:
    body_len, _ = plan_stripe(geometry, lengths)
    total = sum(lengths)
    assert body_len * geometry.data >= total
    if body_len > fitting_body_len(1, geometry.shards):
        # At most a block for each shard's end and each extent is given away.
        waste = body_len * geometry.data - total
        units = total // UNIT_LEN_MAX + len(lengths) + geometry.data
        assert waste <= (2 * geometry.data + 1) * BLOCK_LEN + AEAD_TAG_LEN * 3 * units


@settings(max_examples=200, deadline=None)
@given(GEOMETRIES, st.integers(1, 400_000), st.data())
def test_units_within_hold_exactly_the_bytes(geometry: Geometry, length: int,
                                             data: st.DataObject) -> None:
    before = data.draw(st.integers(0, 100_000))
    layout = Layout(geometry.data, plan_stripe(geometry, [before, length])[0])
    start, _, units = placed(layout, [before, length])[1]
    low = data.draw(st.integers(0, length - 1))
    high = data.draw(st.integers(low + 1, length))
    chosen, skip = layout.units_within(start, length, low, high)
    assert chosen == [unit for unit in units if unit in chosen]
    position, expected = 0, []
    for unit in units:
        if position < high and position + unit.length > low:
            expected.append(unit)
        position += unit.length
    assert chosen == expected
    first = sum(unit.length for unit in units[: units.index(chosen[0])])
    assert first + skip == low
    assert skip < chosen[0].length
    assert sum(unit.length for unit in chosen) - skip >= high - low
    assert layout.units_within(start, length, low, low) [0] in ([], [chosen[0]])


@settings(max_examples=200, deadline=None)
@given(GEOMETRIES, st.integers(1, 60_000), st.integers(0, 1 << 40), st.integers(0, 1 << 22))
def test_impossible_places_are_damage(geometry: Geometry, body_len: int, start: int,
                                      length: int) -> None:
    """Whatever the database says, units are within the stripe or it is Damage."""
    assume(body_len >= 1)
    layout = Layout(geometry.data, body_len)
    try:
        units = layout.units_of(start, length)
    except Damage:
        with pytest.raises(Damage):
            layout.units_within(start, length, 0, length)
        return
    assert sum(unit.length for unit in units) == length
    for unit in units:
        assert 0 <= unit.shard < geometry.data and unit.end <= body_len


def test_what_does_not_fit_is_a_bug() -> None:
    layout = Layout(2, 4096 + 16)
    assert layout.starts([4096, 4096]) == [0, 4112]
    for lengths in ([4096, 4096, 1], [4096, 4096, 0, 5000], [3 * 4096]):
        with pytest.raises(Bug):
            layout.starts(lengths)
    with pytest.raises(Bug):
        layout.place(0, 3 * 4096)
    with pytest.raises(Bug):
        Layout(2, 16).place(0, 1)
    for body_len in (0, -1):
        with pytest.raises(Bug, match="too short"):
            Layout(2, body_len).place(0, 1)
        with pytest.raises(Bug, match="too short"):
            Layout(2, body_len).starts([1])


@given(st.integers(0, 1 << 21), st.integers(1, 24))
def test_fitting_body_len(content_len: int, shards: int) -> None:
    body_len = fitting_body_len(content_len, shards)
    assert body_len >= max(content_len, 1)
    assert (header_len(shards) + body_len) % BLOCK_LEN == 0
    assert body_len - BLOCK_LEN < max(content_len, 1)
