"""Real programs on real pools, the quick ones; `scripts/programs` runs all of them, for longer."""

from pathlib import Path

import pytest

from ecfs.testing.programs import CATALOGUE, run_program
from ecfs.testing.programs.__main__ import main

QUICK = [name for name, program in CATALOGUE.items() if program.quick]
# One of each kind: the rest differs by nothing that a transport sees.
ON_PYFUSE3 = ("git", "sqlite-killed", "crowd", "many-names")


@pytest.mark.parametrize("name", QUICK)
def test_a_program_succeeds(name: str) -> None:
    assert CATALOGUE[name].is_installed()
    run_program(CATALOGUE[name])


@pytest.mark.parametrize("name", ON_PYFUSE3)
def test_a_program_succeeds_on_pyfuse3(name: str) -> None:
    run_program(CATALOGUE[name], transport="pyfuse3")


def test_the_command_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--packages", "fio", "git"]) == 0
    assert capsys.readouterr().out == "fio git\n"
    with pytest.raises(SystemExit):
        main(["nonsense"])
    assert main(["--minutes", "-1", "--out", str(tmp_path)]) == 0
    assert '"programs": []' in (tmp_path / "raw.json").read_text()
