import json
import random
import subprocess
import sys
import tarfile
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.bench_goals import BEST_PEER, Goal, Goals, at_least, at_most
from scripts.bench_null import NullPyfuse3
from scripts.bench_row import QUICK, Row
from scripts.bench_rows import GROUPS, ROWS, STORES
from scripts.bench_run import chosen_rows, chosen_stores, measure
from scripts.bench_stores import Ecfs, Plain, Store
from scripts.bench_table import Results, document, table
from scripts.bench_tree import file_lengths, make_repository, members, write_tree


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


def test_the_repository_has_the_files_in_one_commit(tmp_path: Path) -> None:
    make_repository(tmp_path / "git", count=20)
    git = ["git", "-C", str(tmp_path / "git")]
    listing = subprocess.run([*git, "ls-tree", "-r", "--name-only", "main"], check=True,
                             capture_output=True, text=True)  # fmt: skip
    assert len(listing.stdout.splitlines()) == 20
    subprocess.run([*git, "fsck", "--strict"], check=True, capture_output=True)


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
        (at_least(0.7, "gocryptfs"), {"ecfs": 70.0, "gocryptfs": 100.0}, True),
        (at_least(0.7, "gocryptfs"), {"ecfs": 69.0, "gocryptfs": 100.0}, False),
        (at_least(0.7, "gocryptfs"), {"ecfs": 69.0}, None),
        (at_most(1.53), {"ecfs": 1.53}, True),
        (at_most(1.53), {"ecfs": 1.54}, False),
        (at_least(0.8, "plain", whose="other"), {"ecfs": 1.0, "other": 9.0, "plain": 10.0}, True),
    ],
)
def test_goals(goal: Goal, figures: dict[str, float], met: bool | None) -> None:
    assert goal.is_met(figures) is met


@pytest.mark.parametrize(
    ("figures", "faster", "slower"),
    [
        ({"ecfs": 10.0, "gocryptfs": 9.0, "securefs": 11.0}, False, False),
        ({"ecfs": 10.0, "gocryptfs": 11.0, "securefs": 9.0}, False, False),
        ({"ecfs": 10.0, "gocryptfs": 9.0, "securefs": 8.0}, True, False),
        ({"ecfs": 10.0, "gocryptfs": 11.0, "securefs": 12.0}, False, True),
        ({"ecfs": 10.0, "securefs": 9.0, "cryfs": 11.0, "plain": 99.0}, True, False),
        ({"ecfs": 10.0, "cryfs": 1.0, "plain": 1.0}, None, None),
    ],
)
def test_the_best_peer_has_the_highest_rate_or_the_shortest_time(
    figures: dict[str, float], faster: bool | None, slower: bool | None
) -> None:
    assert at_least(1, BEST_PEER).is_met(figures) is faster
    assert at_most(1, BEST_PEER).is_met(figures) is slower


def test_a_run_on_a_disk_has_goals_of_its_own() -> None:
    row = Row("some", "some row", "MB/s", Goals((at_least(9),), (at_least(2),)))
    for disk, met in ((False, False), (True, True)):
        results = Results(disk=disk)
        results.add("some", "ecfs", 5.0)
        found = document(results, [row], {})["rows"]["some"]
        assert (found["goal"], found["met"]) == (">= 2" if disk else ">= 9", met)


def test_the_table_tells_medians_ratios_verdicts_and_what_is_missing() -> None:
    rows = [
        Row("fast", "a rate", "/s", Goals((at_least(2, BEST_PEER), at_least(1, "plain", "other")))),
        Row("slow", "a time", "s", Goals((at_most(2, BEST_PEER),))),
    ]
    results = Results()
    for figure in (3000.0, 1.0, 5000.0):
        results.add("fast", "ecfs", figure)
        results.add("slow", "ecfs", 6.0)
    for peer, rate, time_s in (("gocryptfs", 1000.0, 4.0), ("securefs", 2000.0, 5.0)):
        results.add("fast", peer, rate)
        results.add("slow", peer, time_s)
    results.failures["slow"] = {"securefs": "it has no such thing"}
    results.note_peak("ecfs", 7_000_000)
    results.note_peak("ecfs", 6_000_000)
    results.note_peak("gocryptfs", None)
    lines = table(results, rows, ["ecfs", "gocryptfs", "securefs"], [at_most(6)])
    assert [" ".join(line.split()) for line in lines] == [
        "row unit ecfs gocryptfs securefs /peer /plain goal",
        "a rate /s 3,000 1,000 2,000 1.50 - >= 2 x best peer: NO; other >= 1 x plain: -",
        "a time s 6 4 - 1.50 - <= 2 x best peer: yes",
        "most memory of a mount MB 7 - - - - <= 6: NO",
    ]


def test_rows_and_stores_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert len({store.name for store in STORES}) == len(STORES)


def test_goals_and_groups_speak_of_stores_that_there_are() -> None:
    known = {store.name for store in STORES}
    goals = [goal for row in ROWS for goal in (*row.goals.software, *row.goals.disk)]
    assert {goal.than for goal in goals} - {None, BEST_PEER} <= known
    assert {goal.whose for goal in goals} <= known
    assert {name for group in GROUPS for name in group.stores or ()} <= known


def test_what_takes_long_is_measured_when_asked_for() -> None:
    def names(given: str | None, *, quick: bool = False, large: bool = False) -> set[str]:
        return {row.name for row in chosen_rows(given, quick=quick, large=large)}

    assert names(None, large=True) == {row.name for row in ROWS}
    assert names(None, large=True) - names(None) >= {"million-mount", "slow-memory"}
    assert names(None) - names(None, quick=True) >= {"rewrite", "degraded"}
    assert names("million-mount,write", quick=True) == {"million-mount", "write"}
    with pytest.raises(SystemExit, match="no such row: other"):
        names("write,other")


def test_a_quick_run_leaves_out_the_slow_stores() -> None:
    assert [store.name for store in chosen_stores(None, quick=True)] == [
        "ecfs", "gocryptfs", "securefs", "plain"
    ]  # fmt: skip
    assert chosen_stores(None, quick=False) == list(STORES)
    assert [store.name for store in chosen_stores("plain,ecfs", quick=True)] == ["ecfs", "plain"]
    with pytest.raises(SystemExit, match="no such store: zfs"):
        chosen_stores("zfs", quick=False)


class Failing(Plain):
    """It says no to what follows the creation of files."""

    name = "failing"

    def turn_cold(self) -> None:
        raise RuntimeError("it does not get cold")


TINY = replace(
    QUICK, stream_len=2 << 20, small_requests_len=1 << 20, random_len=1 << 20, random_count=10,
    names_count=20
)  # fmt: skip


def tiny_run(monkeypatch: pytest.MonkeyPatch, names: str, kinds: list[type[Store]],
             rounds: int) -> Results:
    monkeypatch.setattr("scripts.bench_stores.drop_caches", lambda: None)
    monkeypatch.setattr("scripts.bench_null.drop_caches", lambda: None)
    rows = chosen_rows(names, quick=True, large=False)
    return measure(Namespace(disk=None), rows, kinds, replace(TINY, rounds=rounds))


def test_a_store_that_fails_stops_neither_the_run_nor_the_rows_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tiny_run(monkeypatch, "create,stat,unlink", [Failing, Plain], 3)
    assert {row: {store: len(rounds) for store, rounds in stores.items()}
            for row, stores in results.figures.items()} == {
        "create": {"failing": 1, "plain": 3}, "stat": {"plain": 3}, "unlink": {"plain": 3}
    }  # fmt: skip
    assert results.failures == {
        "stat": {"failing": "it does not get cold"}, "unlink": {"failing": "it does not get cold"}
    }  # fmt: skip
    assert "failing fails: it does not get cold" in capsys.readouterr().err


def test_rows_run_on_real_mounts_and_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = "write,read,mkdir,create,create-4k,open-read,rename,unlink"
    results = tiny_run(monkeypatch, names, [Ecfs, NullPyfuse3], 1)
    assert results.failures == {}
    assert set(results.figures) == set(names.split(","))
    for row, figures in results.figures.items():
        assert figures["ecfs"][0] > 0, row
        assert figures["null-pyfuse3"][0] > 0, row
    assert set(results.peaks) == {"ecfs", "null-pyfuse3"}
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_the_figures_as_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.bench_run", "--quick", "--stores", "plain", "--rows",
               "fsync-gain", "--disk", str(tmp_path), "--json", str(tmp_path / "json")]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads((tmp_path / "json").read_text())
    assert found["schema"] == "ecfs.bench/1"
    assert found["place"] == str(tmp_path)
    assert list(found["rows"]) == ["fsync-gain"]
    assert found["rows"]["fsync-gain"]["met"] is None
    assert found["rows"]["fsync-gain"]["medians"]["plain"] > 0
    assert "eight writers over one" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["json"]
