"""What is asked of the model checker, and how its answers are read."""

import json
from pathlib import Path

import pytest

from ecfs.base.errors import Bug
from ecfs.testing.modelling import (
    MODEL,
    MUTATIONS,
    RACE,
    UNLABELLED,
    Case,
    Verdict,
    outcome_of,
    save,
    table,
)

HELD = """
State-vector 72 byte, depth reached 346, errors: 0
  1255233 states, stored
  247.928	total actual memory usage
"""
FAILED = """
pan:1: assertion violated ((best!=255)&&((chain& ~(view))==0)) (at depth 272)
pan: wrote commit.pml.trail
State-vector 72 byte, depth reached 310, errors: 1
    72270 states, stored
  150.174	total actual memory usage
"""


def test_quorums_are_those_of_a_pool() -> None:
    assert RACE.macros()[:3] == ["-DN=4", "-DW=3", "-DR=3"]
    assert Case("five", 5, 1).macros() == ["-DN=5", "-DW=4", "-DR=3"]
    assert Case("three", 3, 1).macros() == ["-DN=3", "-DW=2", "-DR=2"]
    assert Case("less", 4, 1, small_quorum=True).macros() == ["-DN=4", "-DW=3", "-DR=2"]


def test_no_liar_where_the_pool_withstands_none() -> None:
    with pytest.raises(Bug):
        Case("three", 3, 1, {"LIAR": 0}).macros()


def test_what_the_checker_says_is_read() -> None:
    held = outcome_of(RACE, HELD, 1.5)
    assert held.good and (held.states_count, held.depth) == (1255233, 346)
    failed = outcome_of(RACE.without("NO_SECURE"), FAILED, 1.5)
    assert failed.good and (failed.failed, failed.length) == ("NoGap", 272)
    assert not outcome_of(RACE, FAILED, 1.5).good


@pytest.mark.parametrize("text", ["", HELD + "error: max search depth too small\n",
                                  HELD + "pan: reached -DMEMLIM bound\n"])
def test_what_ended_early_proves_nothing(text: str) -> None:
    outcome = outcome_of(RACE, text, 1.5)
    assert outcome.verdict is Verdict.CUT and not outcome.good


def test_the_summary_names_the_commit(tmp_path: Path) -> None:
    outcomes = [outcome_of(RACE, HELD, 1.5)]
    save(outcomes, tmp_path / "out" / "summary.json", "abc")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["commit"] == "abc" and summary["runs"][0]["good"]
    assert "NOT AS WANTED" not in table(outcomes)
    assert "NOT AS WANTED" in table([outcome_of(RACE, FAILED, 1.5)])


def test_every_mutation_is_in_the_model_and_explained_there() -> None:
    text = MODEL.read_text()
    listed = {name for case in [*MUTATIONS, UNLABELLED] for name in case.defines
              if f" *   {name} " in text}
    assert listed | {"SMALL_QUORUM"} == {case.name for case in MUTATIONS} | {"UNLABELLED"}
    for name in listed:
        assert f"def {name}\n" in text or f"defined({name})" in text
