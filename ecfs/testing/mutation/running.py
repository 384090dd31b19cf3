"""Applies mutants to a copy of the tree, one after the other, and runs the tests that should fail.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ecfs.testing.mutation.mutant import Mutant

TEST_DEADLINE_S = 120.0
COPIED = ("ecfs", "tests", "docs", "man", "scripts", "pyproject.toml", "setup.cfg")
KILLED, SURVIVED, BROKEN = "killed", "survived", "broken"
_PYTEST_FAILED = 1
_FAILED_LINE = re.compile(r"^(?:FAILED|ERROR) (\S+(?: \S+\])?)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a mutant. `killer`: the id of the test that failed first, or what else did.

    `state`: "killed"; "survived" when all its tests passed; "broken" when they could not even be
    run, which proves nothing.
    """

    name: str
    path: str
    state: str
    killer: str
    seconds: float


class Workshop:
    """A copy of a tree in which mutants come and go."""

    def __init__(self, top: Path, copy: Path) -> None:
        self.top = top
        self.copy = copy
        self._age = 1_000_000_000
        for name in COPIED:
            source = top / name
            if source.is_dir():
                # Compiled files come along: they are valid as long as times are kept.
                shutil.copytree(source, copy / name)
            elif source.exists():
                shutil.copy2(source, copy / name)

    def judge(self, mutant: Mutant) -> Verdict:
        """Apply, test, take back. StaleMutant when it does not apply."""
        place = self.copy / mutant.path
        text, times = place.read_text(), place.stat()
        mutated = mutant.applied_to(text)
        started = time.monotonic()
        self._age += 10
        try:
            place.write_text(mutated)
            # A time of its own, so that no file compiled from another version passes for this one.
            os.utime(place, (self._age, self._age))
            state, killer = self._tested(mutant.tests)
        finally:
            place.write_text(text)
            os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
        return Verdict(mutant.name, mutant.path, state, killer, time.monotonic() - started)

    def failing(self, tests: Sequence[str]) -> set[str]:
        """Those of these tests that fail without any mutant: they would kill anything."""
        done = self._pytest([*tests], TEST_DEADLINE_S * 10)
        return set(_FAILED_LINE.findall(done.stdout))

    def _tested(self, tests: Sequence[str]) -> tuple[str, str]:
        try:
            done = self._pytest(["-x", *tests], TEST_DEADLINE_S)
        except subprocess.TimeoutExpired:
            return KILLED, f"no end within {TEST_DEADLINE_S:.0f} s"
        found = _FAILED_LINE.search(done.stdout)
        if done.returncode == 0:
            return SURVIVED, ""
        if done.returncode != _PYTEST_FAILED or found is None:
            return BROKEN, f"pytest ended with {done.returncode}: {done.stdout[-300:].strip()}"
        return KILLED, found[1]

    def _pytest(self, arguments: Sequence[str],
                deadline_s: float) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no",
                   *arguments]
        # With CI set, Hypothesis draws the same examples each time and knows no deadline: a busy
        # machine kills no mutant.
        environment = os.environ | {"PYTHONPATH": str(self.copy), "CI": "1"}
        return subprocess.run(command, cwd=self.copy, env=environment, capture_output=True,
                              text=True, timeout=deadline_s, check=False)


@contextmanager
def workshop(top: Path) -> Iterator[Workshop]:
    """A workshop in memory, gone afterwards."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="ecfs-mutation.",
                                     dir=memory if memory.is_dir() else None) as folder:
        yield Workshop(top, Path(folder))


def run_mutants(mutants: Sequence[Mutant], top: Path, *, until: float,
                note: Callable[[Verdict], None]) -> None:
    """Judge mutants until `until` on the monotonic clock; `note` is told of each verdict."""
    with workshop(top) as place:
        for mutant in mutants:
            if time.monotonic() >= until:
                return
            note(place.judge(mutant))


def without_mutants(verdicts: Sequence[Verdict], top: Path) -> list[Verdict]:
    """Verdicts once more, after their killers ran on the tree as it is: who fails there too has
    killed nothing, and the verdict is "broken"."""
    killers = sorted({verdict.killer for verdict in verdicts if "::" in verdict.killer})
    with workshop(top) as place:
        failing = place.failing(killers) if killers else set()
    return [replace(verdict, state=BROKEN, killer=f"fails without it too: {verdict.killer}")
            if verdict.killer in failing else verdict for verdict in verdicts]
