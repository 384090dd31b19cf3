"""Geometry arithmetic and quorums."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecfs.base.errors import Bug, Damage
from ecfs.base.limits import DATA_SHARDS_MAX, MEMBERS_MAX, PARITY_SHARDS_MAX, TARGETS_MAX
from ecfs.erasure import (
    Geometry,
    Quorum,
    data_quorum,
    metadata_geometry,
    narrowed,
    quorum_for,
)

GEOMETRIES = st.builds(
    Geometry, st.integers(1, DATA_SHARDS_MAX), st.integers(0, PARITY_SHARDS_MAX)
)
TARGETS = st.integers(1, TARGETS_MAX)


def test_a_geometry_is_an_ordered_value() -> None:
    assert str(Geometry(4, 2)) == "4+2"
    assert Geometry(4, 2).shards == 6
    assert Geometry(4, 2) == Geometry.checked(4, 2)
    assert sorted([Geometry(4, 2), Geometry(2, 8), Geometry(4, 1)]) == [
        Geometry(2, 8), Geometry(4, 1), Geometry(4, 2)]
    assert len({Geometry(4, 2), Geometry(4, 2)}) == 1


@pytest.mark.parametrize(("data", "parity"), [(0, 1), (17, 0), (-1, 2), (4, -1), (4, 9)])
def test_impossible_counts_are_a_bug_of_ours_or_damage_of_a_target(data: int, parity: int) -> None:
    with pytest.raises(Bug):
        Geometry(data, parity)
    with pytest.raises(Damage):
        Geometry.checked(data, parity)


@pytest.mark.parametrize(("geometry", "targets_count", "expected"), [
    ("4+2", 6, "3+3"), ("4+2", 7, "4+3"), ("4+2", 12, "4+3"), ("1+1", 2, "1+1"),
    ("1+1", 3, "1+2"), ("2+1", 3, "1+2"), ("2+2", 4, "1+3"), ("1+0", 1, "1+0"),
    ("16+8", 24, "16+8"),
])
def test_metadata_survives_one_target_more(geometry: str, targets_count: int,
                                           expected: str) -> None:
    assert str(metadata_geometry(_parsed(geometry), targets_count)) == expected


@given(GEOMETRIES, TARGETS)
def test_metadata_fits_its_targets(geometry: Geometry, targets_count: int) -> None:
    metadata = metadata_geometry(geometry, targets_count)
    assert metadata.shards <= targets_count
    assert metadata.data <= geometry.data
    assert metadata.parity == min(geometry.parity + 1, targets_count - 1, PARITY_SHARDS_MAX)


@pytest.mark.parametrize(("writable_count", "expected"), [
    (9, "4+2"), (6, "4+2"), (5, "3+2"), (4, "2+2"), (3, "1+2"), (2, "1+2"), (1, "1+2"),
])
def test_narrowing_keeps_parity(writable_count: int, expected: str) -> None:
    assert str(narrowed(Geometry(4, 2), writable_count)) == expected


def test_nothing_is_placed_without_targets() -> None:
    assert narrowed(Geometry(4, 2), 0) is None


@given(GEOMETRIES, TARGETS)
def test_new_data_is_never_less_protected(geometry: Geometry, writable_count: int) -> None:
    narrow = narrowed(geometry, writable_count)
    assert narrow is not None
    assert narrow.parity == geometry.parity
    assert narrow.data == 1 or narrow.shards <= writable_count
    assert narrow.data <= geometry.data
    if geometry.shards <= writable_count:
        assert narrow == geometry


@pytest.mark.parametrize(("targets_count", "parity", "expected"), [
    (6, 2, Quorum(members=6, liars=1, commit=4, recover=4)),
    (7, 2, Quorum(members=7, liars=1, commit=5, recover=4)),
    (40, 2, Quorum(members=7, liars=1, commit=5, recover=4)),
    (2, 1, Quorum(members=2, liars=0, commit=2, recover=1)),
    (3, 1, Quorum(members=3, liars=0, commit=2, recover=2)),
    (4, 1, Quorum(members=4, liars=1, commit=3, recover=3)),
    (1, 0, Quorum(members=1, liars=0, commit=1, recover=1)),
    (2, 0, Quorum(members=2, liars=1, commit=2, recover=2)),
    (5, 2, Quorum(members=5, liars=0, commit=3, recover=3)),
    (20, 4, Quorum(members=10, liars=1, commit=6, recover=6)),
    (24, 8, Quorum(members=18, liars=1, commit=10, recover=10)),
])
def test_quorums_of_common_pools(targets_count: int, parity: int, expected: Quorum) -> None:
    assert quorum_for(targets_count, parity) == expected


@given(TARGETS, st.integers(0, PARITY_SHARDS_MAX))
def test_quorums_meet_in_an_honest_member(targets_count: int, parity: int) -> None:
    quorum = quorum_for(targets_count, parity)
    members, liars = quorum.members, quorum.liars
    assert 1 <= members <= min(targets_count, MEMBERS_MAX)
    assert 1 <= quorum.commit <= members
    assert 1 <= quorum.recover <= members
    assert 2 * quorum.commit - members > liars
    assert quorum.commit + quorum.recover - members > liars
    if liars:
        assert quorum.commit <= members - parity


@given(TARGETS, st.integers(0, PARITY_SHARDS_MAX))
def test_enough_targets_stay_writable_without_m_of_them(targets_count: int, parity: int) -> None:
    quorum = quorum_for(targets_count, parity)
    if targets_count >= 2 * parity + 1:
        assert quorum.commit <= quorum.members - parity


@pytest.mark.parametrize(("geometry", "liars", "expected"), [
    ("4+2", 0, 4), ("4+2", 1, 5), ("1+1", 1, 2), ("1+0", 1, 1), ("3+3", 1, 4),
])
def test_data_quorum(geometry: str, liars: int, expected: int) -> None:
    assert data_quorum(_parsed(geometry), liars) == expected


def test_impossible_arguments_are_bugs() -> None:
    for call in (lambda: quorum_for(0, 1), lambda: quorum_for(3, -1), lambda: quorum_for(3, 9),
                 lambda: data_quorum(Geometry(4, 2), -1), lambda: narrowed(Geometry(4, 2), -1),
                 lambda: metadata_geometry(Geometry(4, 2), 0)):
        with pytest.raises(Bug):
            call()


def _parsed(text: str) -> Geometry:
    data, parity = text.split("+")
    return Geometry(int(data), int(parity))
