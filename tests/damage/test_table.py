"""The table of damage: each case alone, and each pair on two different targets."""

import itertools

import pytest

from ecfs.observe import EventKind
from ecfs.repair import replace_target
from ecfs.testing.pools import Opening
from tests.damage.damages import MORE, TABLE, Damaging
from tests.damage.lab import Lab, caught_up, errors_of, scrub_twice, states_of

HEALTHY = {0, 1, 2, 3, 4, 5}
PAIRS = [(one, two) for one, two in itertools.combinations_with_replacement(TABLE, 2)
         if one is not two or one.id != "swapped"]
"""A swap hurts two targets by itself; swapped back, nothing is wrong."""


async def heal(lab: Lab, hurt: dict[int, Damaging]) -> None:
    """Open, read all, let it mend, scrub, close; then what is still there must be as before."""
    gone = {target for target, damaging in hurt.items() if not damaging.there}
    async with lab.open() as opening:
        await lab.check_contents(opening)
        _check_told(opening, hurt, gone)
        # What was read ahead may still be on its way.
        await lab.pause()
        await opening.mending.drained()
        await check_read_is_healed(lab, opening)
        await scrub_twice(opening)
        for target in gone:
            assert states_of(opening)[target] == "missing", "adopted silently"
    lab.check_columns(opening, HEALTHY - gone)
    lab.end_of_faults()
    await bring_back(lab, gone)
    report = await lab.ground.fsck()
    assert report.clean, report.findings


def _check_told(opening: Opening, hurt: dict[int, Damaging], gone: set[int]) -> None:
    states, errors = states_of(opening), errors_of(opening)
    status = opening.volume.status()
    assert {number for number, state in enumerate(states) if state != "online"} == gone
    assert status.state == "degraded" or not gone
    assert len(status.advice) >= len(gone)
    for target, damaging in hurt.items():
        # One that was rolled back looks as if it had been away: that is told, and blames nobody.
        is_stale = damaging.id == "older" and opening.volume.journal.count(EventKind.TARGET_STALE)
        assert errors[target] or is_stale or not damaging.counted, f"not counted: {damaging.id}"
    innocent = HEALTHY - hurt.keys()
    if "swapped" in {damaging.id for damaging in hurt.values()}:
        innocent -= {3}
    assert not any(errors[target] for target in innocent), "an honest target is accused"


async def check_read_is_healed(lab: Lab, opening: Opening) -> None:
    """What was read is right on disk now: reading it again meets no damage."""
    mended = opening.mending.mended_count
    await lab.check_contents(opening)
    await opening.mending.drained()
    assert opening.mending.mended_count == mended


async def bring_back(lab: Lab, gone: set[int]) -> None:
    """What is gone comes back: its column files equal the lost ones."""
    if not gone:
        return
    for target in gone:
        lab.make_blank(target)
    async with lab.open() as opening:
        assert {number for number, state in enumerate(states_of(opening))
                if state != "online"} == gone
        for target in sorted(gone):
            path = str(lab.path(target))
            report = await replace_target(opening.volume, path, path)
            assert report.complete
        assert set(states_of(opening)) == {"online"}
        await lab.check_contents(opening)
        await scrub_twice(opening)
        await caught_up(opening)
        assert opening.volume.status().state == "healthy"
    lab.check_columns(opening, HEALTHY)


@pytest.mark.parametrize("damaging", [*TABLE, *MORE], ids=lambda damaging: damaging.id)
async def test_alone(lab: Lab, damaging: Damaging) -> None:
    damaging.apply(lab, 2, 3)
    await heal(lab, {2: damaging})


@pytest.mark.parametrize("one, two", PAIRS, ids=lambda damaging: damaging.id)
async def test_in_pairs(lab: Lab, one: Damaging, two: Damaging) -> None:
    hurt = {1: one, 4: two}
    # A swap needs both columns, so it comes first.
    for target in sorted(hurt, key=lambda target: hurt[target].id != "swapped"):
        hurt[target].apply(lab, target, 5 - target)
    await heal(lab, hurt)
