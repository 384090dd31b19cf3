"""Every kept input and every seed, through the same functions that fuzzing calls."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.testing.fuzzing.registry import CORPUS, TARGETS, corpus_of
from ecfs.testing.fuzzing.target import FuzzTarget

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
EACH = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
LENGTH_MAX = 3000


@EACH
def test_kept_inputs_and_seeds_stay_within_bounds(target: FuzzTarget) -> None:
    inputs = [path.read_bytes() for path in corpus_of(target)] + list(target.seeds())
    assert inputs
    for data in inputs:
        target.run(data)
        target.measure(data)


@EACH
def test_any_bytes_are_taken_or_refused(target: FuzzTarget) -> None:
    seeds = list(target.seeds())

    @settings(max_examples=10, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from(seeds), st.binary(max_size=40), st.integers(0, LENGTH_MAX),
           st.integers(0, LENGTH_MAX))
    def attack(seed: bytes, patch: bytes, at: int, cut: int) -> None:
        target.run(seed[:at] + patch + seed[at + len(patch):])
        target.run(patch + seed[:cut])

    attack()


def test_the_corpus_has_no_folder_without_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= {target.name for target in TARGETS}
