"""Real programs on a real pool, the quick ones; `scripts/programs` runs all of them, for longer.

They share a pool for each transport, which must be clean at the end.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.testing.programs import CATALOGUE, Stage, staged
from ecfs.testing.programs.__main__ import main

QUICK = [name for name, program in CATALOGUE.items() if program.quick]
# What differs by transport; the rest differs by nothing that a transport sees.
ON_PYFUSE3 = ("sqlite-killed", "crowd", "many-names")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(transport="raw", scale=1) as found:
        yield found


@pytest.fixture(scope="module")
def pyfuse3_stage() -> Iterator[Stage]:
    with staged(transport="pyfuse3", scale=1) as found:
        yield found


@pytest.mark.parametrize("name", QUICK)
def test_a_program_succeeds(stage: Stage, name: str) -> None:
    play(stage, name)


@pytest.mark.parametrize("name", ON_PYFUSE3)
def test_a_program_succeeds_on_pyfuse3(pyfuse3_stage: Stage, name: str) -> None:
    play(pyfuse3_stage, name)


def play(stage: Stage, name: str) -> None:
    assert CATALOGUE[name].is_installed()
    own = replace(stage, mounted=stage.mounted / name, plain=stage.plain / name)
    own.mounted.mkdir()
    own.plain.mkdir()
    CATALOGUE[name].play(own)


def test_the_command_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--packages", "fio", "git"]) == 0
    assert capsys.readouterr().out == "fio git\n"
    with pytest.raises(SystemExit):
        main(["nonsense"])
    assert main(["--minutes", "-1", "--out", str(tmp_path)]) == 0
    assert '"programs": []' in (tmp_path / "raw.json").read_text()
