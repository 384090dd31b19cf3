"""Runs of dirty bytes against a plain byte array with a mask."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.base.rope import Rope, copied
from ecfs.content import runs as runs_module
from ecfs.content.runs import Runs

WINDOW_LEN = 64
PART_LEN_MIN = 8
OFFSETS = st.integers(0, 2 * WINDOW_LEN - 1)
LENGTHS = st.one_of(st.integers(1, 40), st.sampled_from([WINDOW_LEN, WINDOW_LEN + 7]))
STEPS = st.lists(st.one_of(
    st.tuples(st.just("write"), OFFSETS, LENGTHS),
    st.tuples(st.just("cut"), OFFSETS, st.just(0)),
    st.tuples(st.just("full"), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("all"), st.just(0), st.just(0)),
), max_size=14)


@pytest.fixture(autouse=True, scope="module")
def short_windows() -> Iterator[None]:
    """Windows of 64 bytes, so that small examples cross them, and parts that are long with 8."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs_module, "WINDOW_LEN", WINDOW_LEN)
        patch.setattr(runs_module, "PART_LEN_MIN", PART_LEN_MIN)
        yield


class Model:
    """Which bytes are dirty, and what they are."""

    def __init__(self) -> None:
        self.data = bytearray(4 * WINDOW_LEN)
        self.mask = bytearray(4 * WINDOW_LEN)

    def write(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data
        self.mask[offset : offset + len(data)] = b"\1" * len(data)

    def forget(self, low: int, high: int) -> None:
        self.mask[low:high] = bytes(high - low)


def check(runs: Runs, model: Model) -> None:
    assert runs.length == model.mask.count(1)
    seen = bytearray(len(model.mask))
    before = -1
    for offset, data in runs.overlapping(0, len(model.mask)):
        assert offset > before and data
        assert offset // WINDOW_LEN == (offset + len(data) - 1) // WINDOW_LEN
        assert data == model.data[offset : offset + len(data)]
        seen[offset : offset + len(data)] = b"\1" * len(data)
        before = offset + len(data) - 1
    assert seen == model.mask
    assert bool(runs) == (model.mask.count(1) > 0)
    windows = [model.mask[at : at + WINDOW_LEN] for at in range(0, len(model.mask), WINDOW_LEN)]
    assert runs.full_count == sum(0 not in window for window in windows)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_runs_hold_what_was_written_last(steps: list[tuple[str, int, int]]) -> None:
    runs, model = Runs(), Model()
    for number, (what, at, length) in enumerate(steps, 1):
        before = runs.length
        if what == "write":
            data = bytes([number]) * length
            model.write(at, data)
            assert runs.write(at, data) == model.mask.count(1) - before
        elif what == "cut":
            model.forget(at, len(model.mask))
            assert runs.cut(at) == before - model.mask.count(1)
        else:
            taken = runs.take_full(at) if what == "full" else runs.take_all()
            for offset, data_taken in taken:
                assert what == "all" or len(data_taken) == WINDOW_LEN
                assert copied(data_taken, 0, len(data_taken)) == (
                    model.data[offset : offset + len(data_taken)])
                model.forget(offset, offset + len(data_taken))
            assert taken == sorted(taken, key=lambda item: item[0])
        check(runs, model)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30)), max_size=8),
       st.integers(0, 240), st.integers(0, 60))
def test_overlapping_is_exactly_the_overlap(writes: list[tuple[int, int]], low: int,
                                            length: int) -> None:
    runs, data, mask = Runs(), bytearray(300), bytearray(300)
    for number, (offset, size) in enumerate(writes, 1):
        runs.write(offset, bytes([number]) * size)
        data[offset : offset + size] = bytes([number]) * size
        mask[offset : offset + size] = b"\1" * size
    got = bytearray(300)
    for offset, part in runs.overlapping(low, low + length):
        assert low <= offset and offset + len(part) <= low + length
        assert part == data[offset : offset + len(part)]
        got[offset : offset + len(part)] = b"\1" * len(part)
    assert got[low : low + length] == mask[low : low + length]
    assert not any(got[:low]) and not any(got[low + length :])


def test_a_run_never_changes_after_it_was_taken() -> None:
    runs = Runs()
    runs.write(0, b"old")
    [(_, taken)] = runs.take_all()
    runs.write(0, b"new")
    assert taken == b"old"


def test_long_parts_are_taken_as_they_came_and_short_ones_joined() -> None:
    runs = Runs()
    parts = [bytes([number]) * PART_LEN_MIN for number in range(3)]
    for number, part in enumerate(parts):
        runs.write(number * PART_LEN_MIN, part)
    [(_, taken)] = runs.take_all()
    assert isinstance(taken, Rope) and [part is kept for part, kept in zip(
        parts, taken.parts, strict=True)] == [True] * 3
    runs.write(0, bytes(PART_LEN_MIN))
    runs.write(PART_LEN_MIN, bytes(PART_LEN_MIN - 1))
    [(_, taken)] = runs.take_all()
    assert taken == bytes(2 * PART_LEN_MIN - 1)
