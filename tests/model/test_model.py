"""The protocol holds at a small size, and fails with a step left out."""

from pathlib import Path

import pytest

from ecfs.testing.modelling import (
    CHECKPOINT,
    EXCHANGE,
    MUTATIONS,
    POWER,
    SMALL,
    Case,
    Verdict,
    check,
)

QUICK = {"NO_RECHECK", "SMALL_QUORUM", "NO_SECURE", "SECURE_UNSYNCED", "EARLY_LABELS",
         "OLD_COUNTS"}


@pytest.mark.parametrize("case", [POWER, CHECKPOINT, EXCHANGE], ids=lambda case: case.name)
def test_it_holds_in_every_state(case: Case, tmp_path: Path) -> None:
    outcome = check(case, tmp_path)
    assert outcome.verdict is Verdict.HOLDS, outcome
    assert outcome.states_count > 100_000


@pytest.mark.parametrize("case", [case for case in MUTATIONS if case.name in QUICK],
                         ids=lambda case: case.name)
def test_it_fails_without_a_step(case: Case, tmp_path: Path) -> None:
    outcome = check(case, tmp_path)
    assert outcome.verdict is Verdict.FAILS, outcome
    assert outcome.length > 0


def test_every_mutation_starts_from_a_case_that_holds() -> None:
    assert [case.name for case in SMALL] == ["race", "crashes", "power", "checkpoint", "exchange"]
    assert len({case.name for case in MUTATIONS}) == len(MUTATIONS)
