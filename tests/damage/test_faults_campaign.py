"""The campaign keeps its books: cut short, it goes on where it was."""

import json
from pathlib import Path

import pytest

from ecfs.testing.faults.__main__ import find_and_run, main, summarise
from ecfs.testing.faults.campaign import Book, Budget, Campaign
from ecfs.testing.faults.site import SHAPE_OF

SHAPES = (SHAPE_OF["1+1@2"],)


def run(out: Path, cases_max: int, **changes: int) -> Book:
    """So many cases of a small campaign."""
    budget = Budget(seed=changes.get("seed", 1), minutes=5.0, share=changes.get("share", 0),
                    shares=changes.get("shares", 1), shapes=SHAPES,
                    families=("single", "pair"), cases_max=cases_max)
    return Campaign(budget, out, say=lambda line: None).run()


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 60)
    run(tmp_path / "parts", 25)
    parts = run(tmp_path / "parts", 35)
    assert parts.done == whole.done == {"1+1@2 single": 60}
    assert parts.counts == whole.counts
    assert parts.findings_count == 0


def test_shares_do_not_overlap(tmp_path: Path) -> None:
    books = [run(tmp_path, 20, share=share, shares=2) for share in (0, 1)]
    together = run(tmp_path / "one", 40)
    assert sum(book.counts.total() for book in books) == together.counts.total() == 40
    assert summarise(books, tmp_path) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert together.counts["single"] <= summary["distinct"] <= 40
    assert summary["seed"] == 1 and summary["findings"] == 0 and summary["commit"]


def test_another_campaign_is_not_mixed_in(tmp_path: Path) -> None:
    run(tmp_path, 1)
    with pytest.raises(SystemExit):
        run(tmp_path, 1, seed=2)


def test_a_case_repeats_from_its_id() -> None:
    once, again = (find_and_run("1+1@2 t0/shard3/junk & t1/label0/flip-body", 1)
                   for _ in range(2))
    assert once.verdict is not None and again.verdict is not None
    assert once.verdict.problems == []
    assert (once.id, once.digest, once.verdict.log) == (
        again.id, again.digest, again.verdict.log)


@pytest.mark.parametrize("case", [
    "nonsense", "9+9@1 t0/shard3/junk", "1+1@2 t9/shard3/junk", "1+1@2 t0/shard3/junk & t0/x/y",
    "1+1@2 call t0/x/io", "1+1@2 call t2/0/io", "1+1@2 call t0/0/nothing"])
def test_a_case_that_is_none_is_not_taken_for_one_that_held(
        case: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--case", case])
    assert ended.value.code == 2
    assert "scripts/faults: error: no " in capsys.readouterr().err
