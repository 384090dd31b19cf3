"""Where units lie: pure arithmetic, checked property by property."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.base.errors import Bug, Damage
from ecfs.base.limits import AEAD_TAG_LEN, UNIT_LEN, UNIT_LEN_MAX
from ecfs.base.units import BLOCK_LEN
from ecfs.erasure import Geometry
from ecfs.formats import HEAD_INDEX, fitting_body_len, header_len, record_len
from ecfs.stripes import Layout, UnitRun, plan_stripe

LENGTHS = st.lists(st.one_of(
    st.integers(0, 300), st.integers(1, 200_000),
    st.sampled_from([4095, 4096, 4097, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 131_072,
                     524_288])), max_size=12)
GEOMETRIES = st.builds(Geometry, st.integers(1, 16), st.integers(0, 8))
UNIT_LENS = st.sampled_from([UNIT_LEN, UNIT_LEN_MAX])


def placed(layout: Layout, lengths: list[int]) -> list[tuple[int, int, list[UnitRun]]]:
    """(start, length, units) of extents one after another, as a stripe is laid out."""
    position, found = 0, []
    for length in lengths:
        runs, after = layout.place(position, length)
        start = runs[0].shard * layout.body_len + runs[0].offset if runs else position
        found.append((start, length, runs))
        assert after >= position
        position = after
    return found


def each(runs: list[UnitRun]) -> list[UnitRun]:
    return [unit for run in runs for unit in run.units()]


def cut(layout: Layout, start: int, length: int) -> list[UnitRun] | None:
    """The units of an extent, one by one, as docs/format.md has it; None where there is no room."""
    shard, offset = divmod(start, layout.body_len)
    units = []
    while length:
        room = layout.body_len - offset - AEAD_TAG_LEN
        if room < min(length, BLOCK_LEN):
            shard, offset = shard + 1, 0
            if layout.body_len - AEAD_TAG_LEN < min(length, BLOCK_LEN):
                return None
            continue
        if shard >= layout.data:
            return None
        size = min(length, layout.unit_len, room)
        if size < min(length, layout.unit_len):
            size -= size % BLOCK_LEN
        units.append(UnitRun(shard, offset, size, layout.unit_len))
        offset += size + AEAD_TAG_LEN
        length -= size
    return units


@settings(max_examples=200, deadline=None)
@given(GEOMETRIES, LENGTHS, UNIT_LENS)
def test_units_fit_and_never_overlap(geometry: Geometry, lengths: list[int],
                                     unit_len: int) -> None:
    body_len, starts = plan_stripe(geometry, lengths, unit_len=unit_len)
    layout = Layout(geometry.data, body_len, unit_len)
    assert starts == [start for start, _, _ in placed(layout, lengths)]
    assert record_len(body_len, geometry.shards) % BLOCK_LEN == 0
    ends = [0] * geometry.data
    indexes = set()
    for start, length, runs in placed(layout, lengths):
        assert sum(run.length for run in runs) == length
        assert layout.place(start, length)[0] == layout.units_of(start, length) == runs
        units = each(runs)
        assert units == cut(layout, start, length)
        assert len({run.shard for run in runs}) == len(runs)
        for unit in units:
            assert 0 < unit.length <= unit.unit_len == unit_len
            assert unit.end == unit.offset + unit.length + AEAD_TAG_LEN <= body_len
            assert unit.offset >= ends[unit.shard]
            ends[unit.shard] = unit.end
            assert unit.nonce not in indexes and unit.nonce < HEAD_INDEX
            indexes.add(unit.nonce)
        for unit in units[:-1]:
            assert unit.length % BLOCK_LEN == 0
        for run in runs:
            assert run.nonce == run.units()[0].nonce and run.end == run.units()[-1].end
            assert run.sealed_len == sum(unit.sealed_len for unit in run.units())


@settings(max_examples=100, deadline=None)
@given(GEOMETRIES, LENGTHS, UNIT_LENS)
def test_no_shorter_body_was_passed_over(geometry: Geometry, lengths: list[int],
                                         unit_len: int) -> None:
    body_len, _ = plan_stripe(geometry, lengths, unit_len=unit_len)
    total = sum(lengths)
    assert body_len * geometry.data >= total
    if body_len > fitting_body_len(1, geometry.shards):
        # At most a block for each shard's end and each extent is given away.
        waste = body_len * geometry.data - total
        units = total // unit_len + len(lengths) + geometry.data
        assert waste <= (2 * geometry.data + 1) * BLOCK_LEN + AEAD_TAG_LEN * 3 * units


@settings(max_examples=200, deadline=None)
@given(GEOMETRIES, st.integers(1, 400_000), UNIT_LENS, st.data())
def test_units_within_hold_exactly_the_bytes(geometry: Geometry, length: int, unit_len: int,
                                             data: st.DataObject) -> None:
    before = data.draw(st.integers(0, 100_000))
    body_len, _ = plan_stripe(geometry, [before, length], unit_len=unit_len)
    layout = Layout(geometry.data, body_len, unit_len)
    start, _, runs = placed(layout, [before, length])[1]
    low = data.draw(st.integers(0, length - 1))
    high = data.draw(st.integers(low + 1, length))
    chosen, skip = layout.units_within(start, length, low, high)
    position, expected, first = 0, [], None
    for unit in each(runs):
        if position < high and position + unit.length > low:
            expected.append(unit)
            first = position if first is None else first
        position += unit.length
    assert each(chosen) == expected
    assert len({run.shard for run in chosen}) == len(chosen)
    assert first is not None and first + skip == low
    assert skip < each(chosen)[0].length
    assert layout.units_within(start, length, low, low) == ([], 0)
    assert layout.units_within(start, length, low, length + 1) == (
        layout.units_within(start, length, low, length))


@settings(max_examples=400, deadline=None)
@given(GEOMETRIES, st.integers(1, 60_000), st.integers(0, 1 << 40), st.integers(0, 1 << 22),
       UNIT_LENS)
def test_impossible_places_are_damage(geometry: Geometry, body_len: int, start: int,
                                      length: int, unit_len: int) -> None:
    """Whatever the database says, units are within the stripe or it is Damage."""
    layout = Layout(geometry.data, body_len, unit_len)
    if start >= geometry.data * body_len:
        # Most starts are far outside: as many are within.
        start %= geometry.data * body_len * 2
    expected = cut(layout, start, length)
    if expected is None:
        with pytest.raises(Damage):
            layout.units_of(start, length)
        with pytest.raises(Damage):
            layout.units_within(start, length, 0, length)
        return
    units = each(layout.units_of(start, length))
    assert units == expected
    for unit in units:
        assert 0 <= unit.shard < geometry.data and unit.end <= body_len


def test_what_does_not_fit_is_a_bug() -> None:
    layout = Layout(2, 4096 + 16, UNIT_LEN)
    assert layout.starts([4096, 4096]) == [0, 4112]
    for lengths in ([4096, 4096, 1], [4096, 4096, 0, 5000], [3 * 4096]):
        with pytest.raises(Bug):
            layout.starts(lengths)
    with pytest.raises(Bug):
        layout.place(0, 3 * 4096)
    with pytest.raises(Bug):
        Layout(2, 16, UNIT_LEN).place(0, 1)
    for body_len in (0, -1):
        with pytest.raises(Bug, match="too short"):
            Layout(2, body_len, UNIT_LEN).place(0, 1)
        with pytest.raises(Bug, match="too short"):
            Layout(2, body_len, UNIT_LEN).starts([1])


@given(st.integers(0, 1 << 21), st.integers(1, 24))
def test_fitting_body_len(content_len: int, shards: int) -> None:
    body_len = fitting_body_len(content_len, shards)
    assert body_len >= max(content_len, 1)
    assert (header_len(shards) + body_len) % BLOCK_LEN == 0
    assert body_len - BLOCK_LEN < max(content_len, 1)
