"""Systematic cases of each call, each kind of file and each kind of user, a slice of each family.

`scripts/differential` runs them all.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.testing.posix_cases import FAMILIES, cases
from ecfs.testing.posix_compare import Places, compare, places_at, reference_parents
from ecfs.testing.posix_programs import is_known

CASES_COUNT = 40


@pytest.fixture(scope="module")
def places(mountpoint: Path) -> Iterator[Places]:
    with places_at(mountpoint, reference_parents()) as found:
        yield found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_slice_of_a_family(places: Places, family: str, lets_others_in: bool) -> None:
    total_count = sum(1 for _ in FAMILIES[family]())
    # A step that shares no factor with the lengths of the lists that cases are products of.
    step = max(1, total_count // CASES_COUNT)
    while any(step % factor == 0 for factor in (2, 3, 5, 7)):
        step += 1
    findings = []
    for name, calls in cases(family, step=step, first=total_count // 2):
        if not lets_others_in and any(call.who != "root" for call in calls):
            continue
        found = compare(calls, places)
        if found is not None and not is_known(found):
            findings.append(f"{name}: {found}")
    assert findings == []


def test_there_are_thousands_of_cases() -> None:
    names = [name for family in FAMILIES for name, _ in cases(family)]
    assert len(names) > 10_000
    assert len(set(names)) > 0.95 * len(names)
