"""Branch coverage of the rooms that stand between a user and the loss of data.

`scripts/coverage` runs their tests in this process's children under coverage.py and prints a table.
Code may be left out only with an argument beside it: a pragma "no cover" followed by a dash and the
reason. What is left out is counted, and bounded.
"""

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import coverage

TOP = Path(__file__).resolve().parents[2]
ROOMS = ("sealing", "erasure", "keys", "formats", "stripes")
VOLUME = ("records", "recordfiles", "recordscan", "everywhere", "committing", "claiming", "opening",
          "recovery", "logmending", "checkpointing", "rejoining", "behind", "membership",
          "adopting", "descent", "labelling", "entry", "mending", "housekeeping")
EXCLUDED_MAX = 0.01
UNIT_TESTS = (*(f"tests/unit/{room}" for room in ROOMS), "tests/golden")
VOLUME_TESTS = ("tests/unit/volume", "tests/unit/repair", "tests/crash/test_claims.py",
                "tests/crash/test_exchange.py", "tests/damage")
_PRAGMA = re.compile(r"#\s*pragma:\s*no\s*cover\b(.*)")
_ARGUED = re.compile(r"\s+-\s+\S.{15,}")


@dataclass(frozen=True, slots=True)
class Row:
    """One file. Counts are of statements and of branches; `lines` and `arcs` are what was missed.
    """

    path: str
    statements: int
    branches: int
    covered: int
    excluded: int
    lines: tuple[int, ...]
    arcs: tuple[tuple[int, int], ...]
    unargued: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether every statement and branch that counts was taken."""
        return not self.lines and not self.arcs and not self.unargued


def measured(rooms: Sequence[str] = ROOMS, volume: Sequence[str] = VOLUME) -> list[str]:
    """Paths of the files that are measured, relative to the top."""
    found = [path for room in rooms for path in sorted((TOP / "ecfs" / room).glob("*.py"))]
    found += [TOP / "ecfs" / "volume" / f"{name}.py" for name in volume]
    return [str(path.relative_to(TOP)) for path in found]


def run_tests(tests: Sequence[str], data_file: Path) -> int:
    """The exit code of pytest over these tests, measured into `data_file`."""
    command = [sys.executable, "-m", "coverage", "run", "--branch", "--source=ecfs",
               f"--data-file={data_file}", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    # With CI set, Hypothesis knows no deadline, which a test under coverage would miss.
    environment = os.environ | {"PYTHONPATH": str(TOP), "CI": "1"}
    return subprocess.run(command, cwd=TOP, env=environment, check=False).returncode


def rows_of(data_file: Path, paths: Sequence[str]) -> list[Row]:
    """What was measured of these files."""
    strict, everything = _report(data_file, paths, True), _report(data_file, paths, False)
    return [_row(path, strict[path], everything[path]) for path in paths]


def _row(path: str, strict: Mapping[str, object], everything: Mapping[str, object]) -> Row:
    summary, whole = strict["summary"], everything["summary"]
    assert isinstance(summary, dict) and isinstance(whole, dict)
    lines, arcs = strict["missing_lines"], strict["missing_branches"]
    assert isinstance(lines, list) and isinstance(arcs, list)
    count = summary["num_statements"] + summary["num_branches"]
    excluded = whole["num_statements"] + whole["num_branches"] - count
    return Row(path, summary["num_statements"], summary["num_branches"],
               summary["covered_lines"] + summary["covered_branches"], excluded, tuple(lines),
               tuple((first, last) for first, last in arcs),
               tuple(unargued((TOP / path).read_text())))


def unargued(text: str) -> Iterator[int]:
    """Lines that are left out without a reason."""
    for number, line in enumerate(text.splitlines(), 1):
        found = _PRAGMA.search(line)
        if found and not _ARGUED.match(found[1]):
            yield number


def _report(data_file: Path, paths: Sequence[str],
            exclude: bool) -> dict[str, Mapping[str, object]]:
    """coverage.py's report by path; without `exclude`, pragmas do not count."""
    measure = coverage.Coverage(data_file=str(data_file), branch=True, config_file=False)
    measure.load()
    if not exclude:
        measure.clear_exclude()
    out = data_file.with_suffix(".json")
    with contextlib.redirect_stdout(io.StringIO()):
        measure.json_report(morfs=[str(TOP / path) for path in paths], outfile=str(out))
    files: dict[str, Mapping[str, object]] = json.loads(out.read_text())["files"]
    # Absolute, or relative to where we are.
    return {str(Path(path).resolve().relative_to(TOP)): report for path, report in files.items()}


def table(rows: Sequence[Row]) -> tuple[str, bool]:
    """The rows as text, and whether all is as it should be."""
    width = max(len(row.path) for row in rows)
    text = [f"{'file':{width}}  parts  covered  left out  missed"]
    for row in rows:
        total = row.statements + row.branches
        missed = [str(line) for line in row.lines] + [
            f"{first}->{last}" for first, last in row.arcs if last not in row.lines]
        missed += [f"no reason at {line}" for line in row.unargued]
        share = 100.0 * row.covered / total if total else 100.0
        text.append(f"{row.path:{width}}  {total:5}  {share:6.1f}%  {row.excluded:8}  "
                    + ", ".join(missed))
    total = sum(row.statements + row.branches for row in rows)
    excluded = sum(row.excluded for row in rows)
    share = excluded / (total + excluded) if total else 0.0
    covered = sum(row.covered for row in rows)
    text.append(f"{'all':{width}}  {total:5}  {100.0 * covered / max(total, 1):6.2f}%  "
                f"{excluded:8}  {100.0 * share:.2f}% left out, less than "
                f"{100.0 * EXCLUDED_MAX:.0f}% may be")
    return "\n".join(text), all(row.whole for row in rows) and share < EXCLUDED_MAX


def main(arguments: Sequence[str] | None = None) -> int:
    """0 only when the tests pass and nothing is missed."""
    parser = argparse.ArgumentParser(
        prog="scripts/coverage", description="Branch coverage of sealing, erasure, keys, formats, "
        "stripes, and of commit and recovery in volume.")
    parser.add_argument("--only", choices=("rooms", "volume"), help="one half of it")
    parser.add_argument("--out", type=Path, default=TOP / "campaign-results" / "coverage",
                        help="where data and report go")
    parser.add_argument("--report", action="store_true", help="show what was measured before")
    parser.add_argument("tests", nargs="*", help="in place of the tests that belong to them")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    data_file = options.out / "data"
    rooms = () if options.only == "volume" else ROOMS
    volume = () if options.only == "rooms" else VOLUME
    tests = options.tests or [*(UNIT_TESTS if rooms else ()), *(VOLUME_TESTS if volume else ())]
    failed = 0 if options.report else run_tests(tests, data_file)
    text, good = table(rows_of(data_file, measured(rooms, volume)))
    print(text)
    return 0 if good and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
