import random
import tarfile
from pathlib import Path

import pytest

from scripts.bench_goals import Goal
from scripts.bench_rows import ROWS
from scripts.bench_tree import file_lengths, members, write_tree


def test_the_tree_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_tree(tmp_path / name, count=60, total_len=200_000, seed=seed)
    contents = [(tmp_path / name).read_bytes() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]


def test_the_tree_has_the_files_and_bytes_that_were_asked_for(tmp_path: Path) -> None:
    write_tree(tmp_path / "tar", count=60, total_len=200_000)
    with tarfile.open(tmp_path / "tar") as archive:
        files = [info for info in archive if info.isfile()]
    assert len(files) == len({info.name for info in files}) == 60
    assert sum(info.size for info in files) == 200_000


def test_every_directory_stands_before_what_is_in_it() -> None:
    seen = {""}
    for info, _ in members(200, 10_000, 3):
        assert info.name.rpartition("/")[0] in seen
        seen.add(info.name)


def test_most_files_are_small() -> None:
    lengths = sorted(file_lengths(9_000, 270_000_000, random.Random(1)))
    assert sum(lengths) == 270_000_000
    assert 4_000 < lengths[4_500] < 12_000
    assert lengths[-1] > 1_000_000


@pytest.mark.parametrize(
    ("goal", "figures", "met"),
    [
        (Goal(0.7, "gocryptfs", at_least=True), {"ecfs": 70.0, "gocryptfs": 100.0}, True),
        (Goal(0.7, "gocryptfs", at_least=True), {"ecfs": 69.0, "gocryptfs": 100.0}, False),
        (Goal(0.7, "gocryptfs", at_least=True), {"ecfs": 69.0}, None),
        (Goal(1.53, None, at_least=False), {"ecfs": 1.53}, True),
        (Goal(1.53, None, at_least=False), {"ecfs": 1.54}, False),
    ],
)
def test_goals(goal: Goal, figures: dict[str, float], met: bool | None) -> None:
    assert goal.is_met(figures) is met


def test_rows_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
