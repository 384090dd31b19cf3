"""A slice of the crash campaign, and what shows that the campaign sees what it is there to see."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.testing.crashes.campaign import Campaign
from ecfs.testing.crashes.mutants import MUTANTS
from ecfs.testing.crashes.pool import kept_in_memory
from ecfs.testing.crashes.units import Unit, units


@pytest.fixture(scope="module", autouse=True)
def in_memory() -> Iterator[None]:
    """Nothing here touches a disk."""
    with kept_in_memory():
        yield


@pytest.mark.parametrize("name", [
    "p3|plain|write n large,rename n b|",
    "p4|checkpoint|write a small,fsync a|",
    "p3|compaction|write a large,fsync a,write b large,write a large|",
    "p3|killed|write n small,fsync n|p3;plain;write n small,fsync n;@4@1.2.0",
    "p4|recovery|write n small,fsync n|p4;plain;write n small,fsync n;@4@1.0.0.0",
])
async def test_every_state_comes_back(name: str) -> None:
    campaign = Campaign(1, None, per_batch=3)
    await campaign.unit(Unit.named(name))
    assert not campaign.totals.findings, campaign.totals.findings[0]
    assert campaign.totals.states > 40
    assert campaign.totals.states_with_dropped_changes > 20
    assert campaign.totals.healed_checks and campaign.totals.mounts_with_targets_away


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_a_step_left_out_is_seen(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_it, name, phase = MUTANTS[mutant]
    campaign = Campaign(1, None, per_batch=60 if phase else 7)
    unit = Unit.named(name)
    await campaign.recordings.pool(unit.size)
    break_it(monkeypatch)
    for campaign.turn in range(3):
        await campaign.unit(unit, findings_max=1, phase=phase)
        if campaign.totals.findings:
            break
    assert campaign.totals.findings


async def test_a_campaign_goes_on_where_it_was(tmp_path: Path) -> None:
    first = Campaign(3, tmp_path, per_batch=1)
    await first.run(600.0, units_max=1)
    again = Campaign(3, tmp_path)
    assert again.summary() | {"commit": ""} == first.summary() | {"commit": ""}
    before = again.totals.states
    todo = list(units(3))
    assert again.position == 1 and todo[1] != todo[0]
    assert before > 10
    with pytest.raises(ValueError):
        Campaign(4, tmp_path)


def test_units_are_named_and_all_different() -> None:
    names = [unit.name for unit in units(1)]
    assert [Unit.named(name).name for name in names] == names
    assert len(set(names)) > 1_300
