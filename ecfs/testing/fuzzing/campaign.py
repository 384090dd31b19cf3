"""A campaign: every target in turn under atheris, each with its share of the time.

`--out` keeps the corpus that grew, what was found, and `summary.json`. A campaign that is begun
again with the same seed goes on with the targets that had not their share yet; one with another
seed begins anew from the corpus that is there.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ecfs.base.errors import Bug, EcfsError
from ecfs.testing.fuzzing.material import TOP
from ecfs.testing.fuzzing.registry import TARGETS, corpus_of, target_named
from ecfs.testing.fuzzing.target import INPUT_LEN_MAX, FuzzTarget

HANG_S = 20
SHARE_S_MIN = 1
_RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_COVER = re.compile(r"cov: (\d+)")


@dataclass(slots=True)
class Outcome:
    """What one target's run came to. `findings`: files below `findings/NAME`."""

    name: str
    seed: int
    seconds: float
    run_count: int
    cover_count: int
    corpus_count: int
    findings: list[str] = field(default_factory=list)
    failed: str = ""


class Worker:
    """The process that fuzzes, instrumented once for all targets."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ecfs.testing.fuzz_worker"], cwd=TOP, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)

    def run(self, job: dict[str, Any]) -> int:
        """The exit status of one target's run."""
        source, sink = self._process.stdout, self._process.stdin
        if source is None or sink is None:
            raise Bug("pipes were asked for")
        sink.write(json.dumps(job) + "\n")
        sink.flush()
        answer = source.readline()
        if not answer:
            raise EcfsError("the fuzz worker ended; is the extra `fuzz` installed?")
        return int(answer)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def run_target(target: FuzzTarget, out: Path, worker: Worker, *, seconds: int,
               seed: int) -> Outcome:
    """Fuzz one target for so many seconds in a process of its own."""
    corpus, findings, seeds = (out / kind / target.name
                               for kind in ("corpus", "findings", "seeds"))
    for folder in (corpus, findings, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    kept = [path.read_bytes() for path in corpus_of(target)]
    for number, data in enumerate([*target.seeds(), *kept]):
        (seeds / f"{number:04d}").write_bytes(data)
    log = out / f"{target.name}.log"
    options = [str(corpus), str(seeds), f"-max_total_time={seconds}", f"-seed={seed}",
               f"-timeout={HANG_S}", f"-max_len={INPUT_LEN_MAX}",
               f"-artifact_prefix={findings}/", "-print_final_stats=1", "-rss_limit_mb=0"]
    began = time.monotonic()
    status = worker.run({"name": target.name, "findings": str(findings), "log": str(log),
                         "options": options})
    text = log.read_text(errors="replace")
    runs, cover = _RUNS.findall(text), _COVER.findall(text)
    return Outcome(
        target.name, seed, round(time.monotonic() - began, 1), int(runs[-1]) if runs else 0,
        int(cover[-1]) if cover else 0, sum(1 for _ in corpus.iterdir()),
        sorted(path.name for path in findings.iterdir() if path.suffix != ".txt"),
        f"it ended with {status}, see {log}" if status else "")


def summary_in(out: Path) -> dict[str, Any]:
    """The summary of an earlier run in that directory, empty if there is none."""
    path = out / "summary.json"
    return dict(json.loads(path.read_text())) if path.exists() else {"targets": {}}


def run(targets: list[FuzzTarget], out: Path, *, minutes: float, seed: int) -> list[Outcome]:
    """Fuzz the targets that had not their share yet; the outcomes of all of them."""
    out.mkdir(parents=True, exist_ok=True)
    share = max(SHARE_S_MIN, int(minutes * 60 / len(targets)))
    summary = summary_in(out)
    worker = Worker()
    try:
        for target in targets:
            before = summary["targets"].get(target.name)
            if before and before["seed"] == seed and before["seconds"] >= share:
                continue
            outcome = run_target(target, out, worker, seconds=share, seed=seed)
            print(_row(outcome), flush=True)
            summary["targets"][target.name] = asdict(outcome)
            summary |= {"schema": "ecfs.fuzz/1", "commit": _commit(), "seed": seed,
                        "minutes": minutes}
            (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    finally:
        worker.close()
    return [Outcome(**summary["targets"][target.name]) for target in targets]


def main(arguments: list[str]) -> int:
    """0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--target", action="append", metavar="NAME", default=[],
                        help="this target only; may be given again")
    parser.add_argument("--minutes", type=float, default=30.0, help="in all (default 30)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=TOP / "campaign-results" / "fuzz")
    parser.add_argument("--list", action="store_true", help="name the targets")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(target.name for target in TARGETS))
        return 0
    targets = [target_named(name) for name in options.target] or list(TARGETS)
    print(f"{'target':20} {'seconds':>8} {'inputs':>10} {'edges':>7} {'corpus':>7}  found")
    outcomes = run(targets, options.out.resolve(), minutes=options.minutes, seed=options.seed)
    found = sum(len(outcome.findings) for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.failed]
    print(f"{sum(outcome.run_count for outcome in outcomes)} inputs to {len(outcomes)} targets, "
          f"{found} findings, {len(failed)} workers failed")
    return 1 if found or failed else 0


def _row(outcome: Outcome) -> str:
    return (f"{outcome.name:20} {outcome.seconds:8.1f} {outcome.run_count:10} "
            f"{outcome.cover_count:7} {outcome.corpus_count:7}  "
            f"{' '.join(outcome.findings) or '-'} {outcome.failed}").rstrip()


def _commit() -> str:
    result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=TOP, capture_output=True, text=True,
                            check=False)
    return result.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
