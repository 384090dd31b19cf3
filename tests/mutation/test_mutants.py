"""The net under the tests: every mutant still applies, and a handful of quick ones are killed.

`scripts/mutate` tries them all.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.testing.mutation import MUTANTS, Mutant, StaleMutant, run_mutants, without_mutants
from ecfs.testing.mutation import command as command_module
from ecfs.testing.mutation.command import main
from ecfs.testing.mutation.running import BROKEN, KILLED, SURVIVED, Verdict

TOP = Path(__file__).resolve().parents[2]
QUICK = ("derived-key-without-salt", "commit-quorum-one-less", "kdf-cap-without-ram",
         "heartbeat-of-another-epoch", "dropped-tail-accepted", "named-columns-are-strays",
         "recheck-before-the-sync", "full-target-is-away")
ROOMS = {"sealing", "keys", "erasure", "formats", "stripes", "targets", "metadata", "namespace",
         "content", "volume", "repair", "driver", "base", "cli", "observe"}


def by_name(name: str) -> Mutant:
    return next(mutant for mutant in MUTANTS if mutant.name == name)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_applies_and_is_a_program(mutant: Mutant) -> None:
    """A text that changed takes its mutant along; one that no longer fits would test nothing."""
    mutant.check(TOP)
    compile(mutant.applied_to((TOP / mutant.path).read_text()), mutant.path, "exec")


def test_names_are_names_and_every_room_that_matters_has_some() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names)) >= 200
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", name) for name in names)
    assert {mutant.path.split("/")[1] for mutant in MUTANTS} == ROOMS


def test_a_handful_is_killed() -> None:
    verdicts: list[Verdict] = []
    chosen = [by_name(name) for name in QUICK]
    run_mutants(chosen, TOP, until=float("inf"), note=verdicts.append)
    assert [(one.name, one.state) for one in verdicts] == [(name, KILLED) for name in QUICK]
    assert all("::" in one.killer for one in verdicts)


HARMLESS = Mutant("harmless", "ecfs/sealing/derivation.py", "KEY_LEN = 32", "KEY_LEN = 2 * 16",
                  ("tests/unit/sealing/test_derivation.py",))


def test_what_nobody_notices_survives_and_what_cannot_be_tested_is_broken() -> None:
    verdicts: list[Verdict] = []
    broken = replace(HARMLESS, name="broken", new="KEY_LEN = = 32")
    run_mutants([HARMLESS, broken], TOP, until=float("inf"), note=verdicts.append)
    assert [one.state for one in verdicts] == [SURVIVED, BROKEN]


def test_after_the_deadline_nothing_is_begun() -> None:
    verdicts: list[Verdict] = []
    run_mutants([HARMLESS], TOP, until=0.0, note=verdicts.append)
    assert verdicts == []


def test_a_test_that_fails_anyway_has_killed_nothing(tmp_path: Path) -> None:
    """Judged in a small tree of its own, in which one test is always red."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "tests" / "test_red.py").write_text(
        "def test_red():\n    assert False\n\n\ndef test_green():\n    pass\n")
    verdicts = [Verdict("one", "x", KILLED, "tests/test_red.py::test_red", 0.0),
                Verdict("two", "x", KILLED, "tests/test_red.py::test_green", 0.0)]
    assert [one.state for one in without_mutants(verdicts, tmp_path)] == [BROKEN, KILLED]


@pytest.mark.parametrize("changes", [
    {"old": "no such text"}, {"old": "KEY_LEN"}, {"new": "KEY_LEN = 32"},
    {"tests": ("tests/unit/sealing/test_nothing.py",)},
    {"tests": ("tests/unit/sealing/test_derivation.py::test_nothing",)},
    {"also": (("no such text", "x"),)},
])
def test_stale_mutants_are_errors(changes: dict[str, object]) -> None:
    HARMLESS.check(TOP)
    with pytest.raises(StaleMutant, match="harmless"):
        replace(HARMLESS, **changes).check(TOP)  # type: ignore[arg-type]


def test_the_command_goes_on_where_it_stopped_and_fails_for_survivors(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    def judged(mutants: list[Mutant], top: Path, *, until: float, note: object) -> None:
        for mutant in mutants:
            asked.append(mutant.name)
            state = SURVIVED if mutant.name == "harmless" else KILLED
            note(Verdict(mutant.name, mutant.path, state, "", 0.1))  # type: ignore[operator]

    monkeypatch.setattr(command_module, "run_mutants", judged)
    monkeypatch.setattr(command_module, "without_mutants", lambda verdicts, top: verdicts)
    monkeypatch.setattr(command_module, "MUTANTS", (by_name(QUICK[0]), by_name(QUICK[1])))
    monkeypatch.setattr(command_module, "_commit", lambda: "0123456789ab")
    arguments = ["--out", str(tmp_path / "out")]
    assert main(arguments) == 0 and asked == list(QUICK[:2])
    assert main(arguments) == 0 and asked == list(QUICK[:2])
    monkeypatch.setattr(command_module, "MUTANTS", (by_name(QUICK[0]), HARMLESS))
    assert main(arguments) == 1 and asked[2:] == ["harmless"]
    assert "survived: harmless" in capsys.readouterr().out
    monkeypatch.setattr(command_module, "_commit", lambda: "0123456789ab+")
    assert main([*arguments, "--only", "salt"]) == 0 and asked[3:] == [QUICK[0]]
    assert main(["--list"]) == 0 and "harmless" in capsys.readouterr().out
