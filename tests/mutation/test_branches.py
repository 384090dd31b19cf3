"""The measure of coverage: what it counts, and what it does not let pass."""

from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.testing.branches import TOP, Row, main, measured, rows_of, run_tests, table, unargued

WHOLE = Row("ecfs/a.py", 90, 10, 100, 0, (), (), ())


@pytest.mark.parametrize(("line", "fine"), [
    ("x = 1", True), ("x = 1  # pragma: no cover - CPython never returns None here", True),
    ("x = 1  # pragma: no cover", False), ("x = 1  # pragma: no cover - short", False),
    ("x = 1  # pragma:no cover because I say so, and for a long time", False)])
def test_a_line_is_left_out_only_with_its_reason(line: str, fine: bool) -> None:
    assert list(unargued(f"import os\n{line}\n")) == ([] if fine else [2])


def test_everything_that_is_missed_is_named() -> None:
    text, good = table([WHOLE])
    assert good and "100.0%" in text
    for missed, named in ((replace(WHOLE, covered=99, lines=(7,)), "7"),
                          (replace(WHOLE, covered=99, arcs=((8, 11),)), "8->11"),
                          (replace(WHOLE, unargued=(5,)), "no reason at 5")):
        text, good = table([WHOLE, missed])
        assert not good and named in text.splitlines()[2]


def test_what_is_left_out_is_bounded() -> None:
    assert table([replace(WHOLE, excluded=1)])[1]
    text, good = table([replace(WHOLE, excluded=2)])
    assert not good and "1.96% left out" in text


def test_the_files_are_there() -> None:
    paths = measured()
    assert len(paths) == len(set(paths)) > 40
    assert all((TOP / path).is_file() for path in paths)
    assert {"ecfs/formats/commit.py", "ecfs/volume/recovery.py"} <= set(paths)


def test_a_measure_of_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    paths = ["ecfs/sealing/derivation.py", "ecfs/sealing/units.py"]
    assert run_tests(["tests/unit/sealing/test_derivation.py"], tmp_path / "data") == 0
    whole, partly = rows_of(tmp_path / "data", paths)
    assert whole.whole and whole.branches == 2 and whole.excluded == 0
    assert not partly.whole and partly.lines
    assert main(["--out", str(tmp_path), "--report", "--only", "rooms"]) == 1
    assert "ecfs/sealing/units.py" in capsys.readouterr().out
