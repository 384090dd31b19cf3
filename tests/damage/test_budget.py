"""At the end of the budget and past it: what can be served is, the rest is an error, never wrong
bytes."""

import random

import pytest

from ecfs.base.errors import Damage, NotAPool, ReadOnly, TooFewReachable
from ecfs.formats import KIND_CONTENT, KIND_METADATA
from ecfs.observe import EventKind
from ecfs.repair import scrub
from ecfs.testing.pools import Opening
from ecfs.volume.sighting import REASONS_TOLD_MAX
from tests.damage.damages import BY_ID, TABLE, Damaging, randomise
from tests.damage.lab import Lab, errors_of, scrub_twice


async def readable(lab: Lab, opening: Opening) -> tuple[set[bytes], set[bytes]]:
    """(paths that read back, paths that are EIO); anything else fails the test."""
    good, bad = set(), set()
    assert opening.shell.paths().keys() == lab.expected.keys()
    for path in lab.expected:
        if opening.shell.is_file(path):
            try:
                assert await opening.shell.read(path) == lab.expected[path], path
                good.add(path)
            except Damage:
                bad.add(path)
    return good, bad


@pytest.mark.parametrize("gone", [(0, 1, 2), (3, 4, 5), (0, 2, 4), (1, 3, 5)])
async def test_three_gone(lab: Lab, gone: tuple[int, ...]) -> None:
    for target in gone:
        BY_ID["deleted"].apply(lab, target, 0)
    async with lab.open() as opening:
        volume = opening.volume
        status = volume.status()
        assert status.state == "read_only"
        assert "3 of 6 members" in volume.read_only
        assert any(volume.read_only in line for line in status.advice)
        assert any("more than the 2" in line for line in status.advice)
        with pytest.raises(ReadOnly):
            volume.admit(grows=False)
        good, bad = await readable(lab, opening)
        assert b"big" in bad
        # Fsynced content that is still in the metadata survives one target more.
        assert b"late1" in good
        assert volume.tree.readlink(opening.shell.find(b"link").inode) == b"docs/small1"
        report = await scrub(volume)
        assert report.unreadable_count
        assert set(report.damaged_paths) >= {"/big"}
    for target in gone[:1]:
        lab.restore(target)
    async with lab.open() as opening:
        assert opening.volume.status().state == "degraded"
        await lab.check_contents(opening)
        await scrub_twice(opening)


@pytest.mark.parametrize("left", [0, 1, 2])
async def test_too_few_are_left(lab: Lab, left: int) -> None:
    for target in range(left, 6):
        BY_ID["deleted"].apply(lab, target, 0)
    with pytest.raises(TooFewReachable if left else NotAPool) as caught:
        async with lab.open():
            pass
    named = range(left, 6) if left else range(REASONS_TOLD_MAX)
    for target in named:
        assert str(lab.path(target)) in str(caught.value)
    assert left or f"and {6 - REASONS_TOLD_MAX} more" in str(caught.value)


async def test_three_rotten(lab: Lab) -> None:
    """Labels and records are whole, content is not: the bad files are named and can go."""
    bad_column = lab.places[KIND_CONTENT][0].column
    for target in (0, 2, 5):
        path = lab.path(target) / bad_column
        path.write_bytes(random.Random(target).randbytes(path.stat().st_size))
    async with lab.open() as opening:
        assert not opening.volume.read_only
        good, bad = await readable(lab, opening)
        assert good and bad
        report = await scrub(opening.volume)
        assert report.unreadable_count
        assert [target for target, count in enumerate(errors_of(opening)) if count] == [0, 2, 5]
        assert {path.encode() for path in report.damaged_paths} == {
            b"/" + name for name in bad - {b"docs/deep/twin"}}
        assert set(opening.volume.status().damaged_paths) == set(report.damaged_paths)
        for name in bad:
            opening.shell.unlink(name)
        await opening.volume.fsync(None)
        for name in good:
            assert await opening.shell.read(name) == lab.expected[name]
    async with lab.open() as opening:
        await opening.volume.tend()
        await scrub_twice(opening)
        assert opening.volume.status().damaged_paths == ()


async def test_rot_on_all_six_at_different_places(lab: Lab) -> None:
    for kind in (KIND_CONTENT, KIND_METADATA):
        for number, place in enumerate(lab.places[kind]):
            for target in (number % 6, (number + 3) % 6):
                with (lab.path(target) / place.column).open("r+b") as file:
                    file.seek(place.offset)
                    file.write(random.Random(number).randbytes(place.record_len))
    async with lab.open() as opening:
        await lab.check_contents(opening)
        await opening.mending.drained()
        await scrub_twice(opening)
        assert opening.volume.journal.count(EventKind.STRIPE_UNREADABLE) == 0
    lab.check_columns(opening, {0, 1, 2, 3, 4, 5})


async def test_rot_in_all_labels_and_records(lab: Lab) -> None:
    """One bit in each label and each record file, on all targets."""
    for target in range(6):
        for name in ("flip-label", "flip-record") if target % 2 else ("flip-label",):
            BY_ID[name].apply(lab, target, 0)
    async with lab.open() as opening:
        await lab.check_contents(opening)
        await scrub_twice(opening)


@pytest.mark.parametrize("kind", [KIND_CONTENT, KIND_METADATA])
async def test_rot_beyond_repair_is_never_wrong_bytes(lab: Lab, kind: int) -> None:
    """All columns of a kind random, on four targets."""
    for target in range(4):
        randomise(kind)(lab, target, 0)
    if kind == KIND_CONTENT:
        async with lab.open() as opening:
            _, bad = await readable(lab, opening)
            assert b"big" in bad
            await scrub(opening.volume)
    else:
        with pytest.raises(Damage):
            async with lab.open():
                pass


@pytest.mark.parametrize("damaging", [damaging for damaging in TABLE if damaging.there],
                         ids=lambda damaging: damaging.id)
async def test_damage_while_open(lab: Lab, damaging: Damaging) -> None:
    """The same after the pool has been opened and read."""
    if damaging.id in ("eio-columns", "older"):
        damaging = TABLE[3]
    async with lab.open() as opening:
        await lab.check_contents(opening)
        damaging.apply(lab, 2, 3)
        await lab.check_contents(opening)
        await opening.mending.drained()
        await scrub_twice(opening)
        await lab.check_contents(opening)
    lab.check_columns(opening, {0, 1, 2, 3, 4, 5})
