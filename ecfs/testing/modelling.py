"""The model of the protocol (`models/commit.pml`) and the checker spin: sizes, mutations, runs.

Each case names the sizes at which everything that is reachable is looked at; each mutation leaves a
step out and has to make an assertion fail. Quorums come from `ecfs.erasure`, as in a pool.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from ecfs.base.errors import Bug
from ecfs.erasure import quorum_for

MODEL = Path(__file__).resolve().parents[2] / "models" / "commit.pml"
DEPTH_MAX = 100_000
MEMORY_MAX_MIB = 3_000
MEMORY_FULL_MIB = 6_000
BUILD_DEADLINE_S = 60.0
STEPS = ("CLAIM", "READ", "ADOPT", "SECURE", "OPEN", "STRIPES", "RECORD", "SYNC", "RECHECK",
         "ACKNOWLEDGE", "CHECKPOINT", "LABELS", "DELETE", "EXCHANGE", "REJOIN")

_ERRORS = re.compile(r"depth reached (\d+), errors: (\d+)")
_STATES = re.compile(r"^\s*(\d+) states, stored", re.MULTILINE)
_MEMORY = re.compile(r"^\s*([\d.]+)\s+total actual memory usage", re.MULTILINE)
_FAILED = re.compile(r"^pan:\d+: (.*) \(at depth (\d+)\)", re.MULTILINE)
_CUT = ("max search depth too small", "out of memory", "reached -DMEMLIM")
_PROPERTIES = (
    ("best!=255", "NoGap"),
    ("line>>head", "OneHistory"),
    ("acked& ~(line)", "NothingLost"),
    ("(line>>", "Fenced"),
    ("assertion violated 0", "NoGap"),
    ("acked!=", "Goal"),
)


class Verdict(StrEnum):
    """What came of a run."""

    HOLDS = "holds"
    FAILS = "fails"
    CUT = "cut short"


@dataclass(frozen=True, slots=True)
class Case:
    """One size of the model. `defines` are macros of the model; `wanted` is what must come out.

    `goal`: a mask of records; the run asserts that nobody ever acknowledges just these and lets
    the last reader see them, and must fail: that is how a case shows that it gets anywhere.
    """

    name: str
    targets_count: int
    parity: int
    defines: Mapping[str, int | None] = field(default_factory=dict)
    wanted: Verdict = Verdict.HOLDS
    small_quorum: bool = False

    def macros(self) -> list[str]:
        """Arguments of spin. The quorum is that of a pool of this size."""
        quorum = quorum_for(self.targets_count, self.parity)
        commit, recover = quorum.commit, quorum.recover
        if self.small_quorum:
            commit = quorum.members // 2 + 1
            recover = quorum.members - commit + 1
        if ("LIAR" in self.defines) and quorum.liars != 1:
            raise Bug(f"{self.name}: a liar in a pool that withstands none")
        sizes = {"N": quorum.members, "W": commit, "R": recover, **self.defines}
        return [f"-D{name}" if value is None else f"-D{name}={value}"
                for name, value in sizes.items()]

    def without(self, mutation: str) -> "Case":
        """The same with a step left out."""
        return replace(self, name=mutation, wanted=Verdict.FAILS,
                       defines={**self.defines, mutation: None})

    def reaching(self, goal: int) -> "Case":
        """The same, to show that a state is reached."""
        return replace(self, name=f"{self.name} gets there", wanted=Verdict.FAILS,
                       defines={**self.defines, "REACH": None, "GOAL": goal})


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures of a run. `failed`: the property that failed; `length`: steps of the shortest
    counterexample that was looked for, or of the first; `depth`: of the search."""

    case: str
    wanted: Verdict
    verdict: Verdict
    failed: str
    length: int
    states_count: int
    depth: int
    memory_mib: float
    elapsed_s: float

    @property
    def good(self) -> bool:
        """Whether it came out as wanted."""
        return self.verdict is self.wanted


def outcome_of(case: Case, text: str, elapsed_s: float) -> Outcome:
    """Read what the checker printed. A run that ended early without a failure is cut short."""
    errors, states = _ERRORS.search(text), _STATES.search(text)
    memory, failed = _MEMORY.search(text), _FAILED.search(text)
    if failed is not None and "max search depth" not in failed[1]:
        verdict = Verdict.FAILS
    elif errors is None or errors[2] != "0" or any(word in text for word in _CUT):
        verdict = Verdict.CUT
    else:
        verdict = Verdict.HOLDS
    return Outcome(
        case.name, case.wanted, verdict,
        _property_of(failed[1]) if failed is not None and verdict is Verdict.FAILS else "",
        int(failed[2]) if failed is not None and verdict is Verdict.FAILS else 0,
        int(states[1]) if states else 0, int(errors[1]) if errors else 0,
        float(memory[1]) if memory else 0.0, round(elapsed_s, 2))


def _property_of(text: str) -> str:
    return next((name for mark, name in _PROPERTIES if mark in text), text)


def check(case: Case, folder: Path, *, memory_mib: int = MEMORY_MAX_MIB,
          deadline_s: float = 600.0) -> Outcome:
    """Build a checker for a case in `folder`, run it, and say what came out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL.name).write_bytes(MODEL.read_bytes())
    _built(["spin", *case.macros(), "-a", MODEL.name], folder)
    _built(["gcc", "-w", "-O2", "-DSAFETY", f"-DMEMLIM={memory_mib}", "-o", "pan", "pan.c"], folder)
    began = time.monotonic()
    # A writer that is fenced everywhere waits for ever: -E takes that for an end like any other.
    command = ["./pan", "-E", f"-m{DEPTH_MAX}"]
    try:
        text = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False,
                              timeout=deadline_s).stdout
    except subprocess.TimeoutExpired as expired:
        text = expired.stdout.decode() if isinstance(expired.stdout, bytes) else ""
    return outcome_of(case, text, time.monotonic() - began)


def _built(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False,
                          timeout=BUILD_DEADLINE_S)
    if done.returncode != 0:
        raise Bug(f"{' '.join(command)}: {(done.stdout + done.stderr)[-2000:]}")


# -- what is run -----------------------------------------------------------------------------

# Four members that withstand one liar; three that withstand none.
RACE = Case("race", 4, 1, {"LIAR": 0, "NW": 3, "K": 2})
CRASHES = Case("crashes", 4, 1, {"LIAR": 0, "NW": 4, "K": 2, "LATER_K": 1, "SERIAL": None})
POWER = Case("power", 3, 1, {"POWER": 1, "NW": 3, "K": 2, "LATER_K": 1, "SERIAL": None})
CHECKPOINT = Case("checkpoint", 4, 1, {"LIAR": 0, "NW": 2, "K": 3, "CHECKPOINTS": None})
EXCHANGE = Case("exchange", 3, 1, {"NW": 2, "K": 3, "EXCHANGE": None, "ROOT_K": 2})
EXCHANGE_CRASHES = Case("exchange, crashes", 3, 1, {
    "NW": 3, "K": 2, "LATER_K": 1, "EXCHANGE": None, "ROOT_K": 1, "SERIAL": None})

SMALL = (RACE, CRASHES, POWER, CHECKPOINT, EXCHANGE)
# Not a mutation that fails: deletion is safe by the root's acknowledgement, labels only guide.
UNLABELLED = replace(CHECKPOINT.without("UNLABELLED"), name="delete unlabelled",
                     wanted=Verdict.HOLDS)
REACHED = (
    # Writer 0 and the second writer acknowledge all that they may.
    RACE.reaching(0b1111),
    # The first two writers crash, the third goes on from what the first left on one member.
    CRASHES.reaching(0b10001),
    EXCHANGE_CRASHES.reaching(0b111),
)
LARGER = (
    replace(RACE, name="race, three commits", defines={**RACE.defines, "K": 3, "LATER_K": 2}),
    replace(RACE, name="race of three", defines={
        "LIAR": 0, "NW": 3, "K": 2, "LATER_K": 1, "THREE": None}),
    replace(RACE, name="race on five", targets_count=5,
            defines={"LIAR": 0, "NW": 2, "K": 3}),
    replace(POWER, name="power, two cuts", defines={**POWER.defines, "POWER": 2, "LATER_K": 2}),
    replace(CHECKPOINT, name="checkpoint, third reader", defines={
        **CHECKPOINT.defines, "NW": 3, "LATER_K": 1}),
    EXCHANGE_CRASHES,
    *(replace(EXCHANGE, name=f"exchange, liar {liar}", targets_count=4,
              defines={**EXCHANGE.defines, "LIAR": liar}) for liar in (0, 3, 4)),
)
MUTATIONS = (
    RACE.without("NO_RECHECK"),
    replace(RACE, name="SMALL_QUORUM", wanted=Verdict.FAILS, small_quorum=True),
    RACE.without("NO_SECURE"),
    RACE.without("PIPELINE"),
    RACE.without("READ_FIRST"),
    RACE.without("READ_UNCLAIMED"),
    CRASHES.without("GREEDY"),
    POWER.without("COUNT_UNSYNCED"),
    POWER.without("SECURE_UNSYNCED"),
    CHECKPOINT.without("EARLY_DELETE"),
    CHECKPOINT.without("EARLY_LABELS"),
    EXCHANGE.without("EARLY_MEMBER"),
    EXCHANGE.without("OLD_COUNTS"),
    replace(EXCHANGE, defines={**EXCHANGE.defines, "ROOT_K": 1}).without("OLD_MEMBERS"),
    EXCHANGE_CRASHES.without("NEW_MEMBERS"),
)


def table(outcomes: Iterable[Outcome]) -> str:
    """One line a run."""
    lines = [f"{'case':22} {'wanted':7} {'verdict':10} {'property':12} {'length':>6} "
             f"{'states':>11} {'depth':>6} {'MiB':>6} {'s':>7}"]
    for one in outcomes:
        lines.append(f"{one.case:22} {one.wanted:7} {one.verdict:10} {one.failed:12} "
                     f"{one.length or '':>6} {one.states_count:>11,} {one.depth:>6} "
                     f"{one.memory_mib:>6.0f} {one.elapsed_s:>7.1f}"
                     f"{'' if one.good else '   NOT AS WANTED'}")
    return "\n".join(lines)


def save(outcomes: Iterable[Outcome], path: Path, commit: str) -> None:
    """The summary as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    rows = [asdict(one) | {"good": one.good} for one in outcomes]
    temporary.write_text(json.dumps({"commit": commit, "runs": rows}, indent=1) + "\n")
    os.replace(temporary, path)


def main(arguments: list[str] | None = None) -> int:
    """The command of `scripts/model`."""
    parser = argparse.ArgumentParser(prog="model")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path, default=Path("campaign-results/model"))
    chosen = parser.parse_args(arguments)
    cases = [*SMALL, UNLABELLED, *REACHED, *MUTATIONS, *(LARGER if chosen.full else ())]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True,
                            check=False).stdout.strip()
    memory_mib = MEMORY_FULL_MIB if chosen.full else MEMORY_MAX_MIB
    outcomes = []
    for case in cases:
        if chosen.only not in case.name:
            continue
        with tempfile.TemporaryDirectory(prefix="ecfs-model-") as folder:
            outcomes.append(check(case, Path(folder), memory_mib=memory_mib))
        sys.stderr.write(f"{case.name}: {outcomes[-1].verdict}\n")
        save(outcomes, chosen.out / "summary.json", commit)
    sys.stdout.write(table(outcomes) + "\n")
    return 0 if outcomes and all(one.good for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
