"""A slice of the campaign of faults, and cases that once went wrong."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice

import pytest

from ecfs.testing.faults.calls import CallFault, call_faults, run_call_case
from ecfs.testing.faults.cases import Catalogue, run_case
from ecfs.testing.faults.site import SHAPE_OF, Site, build_site
from ecfs.testing.faults.world import quick_keys, scratch_folder

SMALL = "2+1@3"
SINGLES_STEP = 53
PAIRS_COUNT = 40
CALLS_STEP = 397

ONCE_WRONG = [
    # A symbolic link in place of a record file stayed, and its target was given up for it.
    "2+1@3 t2/record1/planted",
    "2+1@3 t0/record8/planted & t1/shard22/ones",
    # Of a stripe past its parity nobody was told whose shards were bad.
    "2+1@3 t0/shard22/target & t2/shard22/cut0",
    # Rot in the parity and the padding of a label, and a label of another target or time under
    # its name, went unnoticed.
    "2+1@3 t0/label1/flip-parity",
    "2+1@3 t0/label0/torn",
    "2+1@3 t2/label1/flip-padding",
    "2+1@3 t2/label1/target",
    "2+1@3 t0/label1/segment",
    # A rotten tag in the header of a dead stripe accused those who held it right.
    "2+1@3 t0/shard14/flip-last-tag",
    "2+1@3 t0/shard1/offset & t1/shard1/flip-own-tag",
    # With another shard gone as many shards were right by the rotten header as by the true one.
    "2+1@3 t0/shard5/ones & t1/shard5/flip-last-tag",
    "2+1@3 t0/shard1/flip-last-tag & t2/shard1/cut2",
    "2+1@3 t0/shard14/flip-last-tag & t2/shard14/zero",
]

ONCE_WRONG_ELSEWHERE = [
    # The length in a record's header led past the records behind it, which were not found.
    "1+1@2 t0/record5/flip-length & t1/record6/junk",
    "1+1@2 t0/record3/flip-length & t1/record5/flip-length",
    # A copy of a record in the place of one that nobody has was not told of.
    "1+1@2 t0/record2/flip-magic & t1/record2/offset",
    # Labels, claims and headers of columns were not looked at where nothing may be written.
    "1+1@2 t0/label0/flip-padding & t1/label0/pool",
    "2+2@4 t1/label0/target & t3/claim0/flip-length",
    "1+1@2 t0/label0/pool & t1/shard12/exchange",
]

CALLS_ONCE_WRONG = [
    # A target that was back was written to in segments that were opened without it, for ever.
    CallFault(0, 0, "io"),
    CallFault(0, 3, "missing"),
]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The small pool."""
    with quick_keys(), scratch_folder() as base:
        yield build_site(SHAPE_OF[SMALL], 1, base / SMALL)


@pytest.fixture(scope="module")
def catalogue(site: Site) -> Catalogue:
    """All faults of it."""
    return Catalogue.of(site)


@pytest.mark.parametrize("case", ONCE_WRONG)
def test_once_wrong(catalogue: Catalogue, case: str) -> None:
    names = case.removeprefix(f"{SMALL} ").split(" & ")
    outcome = run_case(catalogue, tuple(map(catalogue.find, names)))
    assert outcome.verdict is not None
    assert outcome.verdict.problems == []


@pytest.fixture(scope="module")
def catalogues() -> Iterator[Callable[[str], Catalogue]]:
    """All faults of a pool of another geometry."""
    with quick_keys(), scratch_folder() as base:
        yield cache(lambda shape: Catalogue.of(build_site(SHAPE_OF[shape], 1, base / shape)))


@pytest.mark.parametrize("case", ONCE_WRONG_ELSEWHERE)
def test_once_wrong_elsewhere(catalogues: Callable[[str], Catalogue], case: str) -> None:
    shape, _, names = case.partition(" ")
    catalogue = catalogues(shape)
    outcome = run_case(catalogue, tuple(map(catalogue.find, names.split(" & "))))
    assert outcome.verdict is not None
    assert outcome.verdict.problems == []


@pytest.mark.parametrize("fault", CALLS_ONCE_WRONG, ids=lambda fault: fault.id)
def test_calls_once_wrong(site: Site, fault: CallFault) -> None:
    outcome = run_call_case(site, fault)
    assert outcome.verdict is not None
    assert outcome.verdict.problems == []


@pytest.mark.parametrize("fault", [
    # Who came next to the lock asked the database, which was closed by then.
    CallFault(0, 216, "hang"), CallFault(0, 227, "hang"),
    # A name without its bytes, of a file that was never synced: the model did not allow it.
    CallFault(1, 62, "hang"), CallFault(1, 63, "hang-lost"),
], ids=lambda fault: fault.id)
def test_calls_once_wrong_on_two_targets(fault: CallFault) -> None:
    with quick_keys(), scratch_folder() as base:
        outcome = run_call_case(build_site(SHAPE_OF["1+1@2"], 1, base / "1+1@2"), fault)
    assert outcome.verdict is not None
    assert outcome.verdict.problems == []


def test_single_faults(catalogue: Catalogue) -> None:
    outcomes = [run_case(catalogue, faults)
                for faults in islice(catalogue.singles(), 0, None, SINGLES_STEP)]
    assert [(outcome.id, outcome.verdict.problems) for outcome in outcomes
            if outcome.verdict is not None and outcome.verdict.problems] == []
    assert sum(outcome.verdict is not None for outcome in outcomes) > 60


def test_pairs_of_faults(catalogue: Catalogue) -> None:
    outcomes = [run_case(catalogue, faults) for faults in islice(catalogue.pairs(1), PAIRS_COUNT)]
    assert [(outcome.id, outcome.verdict.problems) for outcome in outcomes
            if outcome.verdict is not None and outcome.verdict.problems] == []


def test_calls_that_fail(site: Site) -> None:
    outcomes = [run_call_case(site, fault)
                for fault in islice(call_faults(site), 5, None, CALLS_STEP)]
    assert [(outcome.id, outcome.verdict and outcome.verdict.problems) for outcome in outcomes
            if outcome.verdict is None or outcome.verdict.problems] == []
    assert len(outcomes) > 10
