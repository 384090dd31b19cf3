"""The differential campaign: all systematic cases, then random programs, until the time is up.

`scripts/differential` is its front. What it found is shrunk, printed, and kept as JSON.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ecfs.base.errors import Bug
from ecfs.testing.mounted_pool import OPTIONS, REPOSITORY, mounted_pool
from ecfs.testing.posix_call import Call
from ecfs.testing.posix_cases import FAMILIES, RELATIME_FAMILIES, cases
from ecfs.testing.posix_compare import (
    Difference,
    Places,
    compare,
    places_at,
    reference_parents,
    shrink,
)
from ecfs.testing.posix_programs import is_known, program

CALLS_COUNT = 120
FINDINGS_MAX = 20
TRANSPORTS = ("raw", "pyfuse3")
RAW_ONLY_FAMILIES = ("sizes", "opens", "creations", "accesses")


@dataclass(slots=True)
class Report:
    """What a campaign did; counts of cases and programs, seeds from `first_seed` on."""

    commit: str
    transport: str
    first_seed: int
    cases_count: int = 0
    programs_count: int = 0
    seconds: float = 0.0
    findings: list[dict[str, object]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop: at a number of programs, or of seconds on the monotonic clock."""

    programs_max: int
    seconds_max: float
    begun_s: float = field(default_factory=time.monotonic)

    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() - self.begun_s >= self.seconds_max


class Campaign:
    """Runs cases and programs in given places."""

    def __init__(self, places: Places, report: Report, budget: Budget) -> None:
        self._places = places
        self._report = report
        self._budget = budget

    def run(self, families: Iterable[str]) -> None:
        """Their cases, then programs, until the budget is spent or too much was found."""
        self._run_cases(families)
        raw = self._report.transport == "raw"
        while self._report.programs_count < self._budget.programs_max and not self._ends():
            seed = self._report.first_seed + self._report.programs_count
            self._try(f"seed {seed}", program(seed, CALLS_COUNT, raw=raw))
            self._report.programs_count += 1

    def _run_cases(self, families: Iterable[str]) -> None:
        for family in families:
            if family in RAW_ONLY_FAMILIES and self._report.transport != "raw":
                continue
            for name, calls in cases(family):
                if self._ends():
                    return
                self._try(name, calls)
                self._report.cases_count += 1

    def _ends(self) -> bool:
        return self._budget.is_over() or len(self._report.findings) >= FINDINGS_MAX

    def _try(self, name: str, calls: list[Call]) -> None:
        found = compare(calls, self._places)
        if found is None or is_known(found):
            return
        shortest, found = shrink(calls, self._places, found)
        self._note(name, shortest, found)

    def _note(self, name: str, calls: list[Call], found: Difference) -> None:
        text = [str(call) for call in calls]
        print(f"{name}:", *text, str(found), sep="\n  ", flush=True)
        self._report.findings.append({"name": name, "calls": text, "difference": str(found)})


def _commit() -> str:
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, check=False,
                          capture_output=True, text=True).stdout.strip()


def _earlier(path: Path, report: Report) -> bool:
    """Go on where a campaign of the same kind stopped; whether there was one."""
    if not path.is_file():
        return False
    found = json.loads(path.read_text())
    if found["transport"] != report.transport:
        raise Bug(f"{path} is of another transport")
    report.first_seed = found["first_seed"] + found["programs_count"]
    return True


def main(words: Sequence[str]) -> int:
    """The command; 0 when nothing was found."""
    parser = argparse.ArgumentParser(
        prog="differential", description="Compares ecfs with kernel file systems, call by call.")
    parser.add_argument("--programs", type=int, default=1 << 30, help="random programs, at most")
    parser.add_argument("--minutes", type=float, default=10.0, help="time, at most")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first program")
    parser.add_argument("--transport", choices=TRANSPORTS, default="raw")
    parser.add_argument("--relatime", action="store_true", help="on a mount with access times")
    parser.add_argument("--no-cases", action="store_true", help="random programs only")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "campaign-results/differential")
    options = parser.parse_args(words)
    options.out.mkdir(parents=True, exist_ok=True)
    mode = ",relatime" if options.relatime else ""
    path = options.out / f"{options.transport}{mode.replace(',', '-')}.json"
    report = Report(_commit(), options.transport, options.seed)
    begun_before = _earlier(path, report)
    budget = Budget(options.programs, options.minutes * 60)
    families = [] if options.no_cases or begun_before else [
        *FAMILIES, *(RELATIME_FAMILIES if options.relatime else ())]
    with mounted_pool(f"{OPTIONS},transport={options.transport}{mode}") as pool, (
            places_at(pool.mountpoint, reference_parents())) as places:
        try:
            Campaign(places, report, budget).run(families)
        finally:
            report.seconds = round(time.monotonic() - budget.begun_s, 1)
            report.save(path)
    last = report.first_seed + report.programs_count - 1
    print(f"commit {report.commit}  transport {report.transport}  cases {report.cases_count}  "
          f"programs {report.programs_count} (seeds {report.first_seed} to {last})  "
          f"seconds {report.seconds}  findings {len(report.findings)}")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
