"""The command behind `scripts/mutate`."""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from ecfs.testing.mutation.catalogue import MUTANTS
from ecfs.testing.mutation.mutant import Mutant
from ecfs.testing.mutation.running import KILLED, Verdict, run_mutants, without_mutants

TOP = Path(__file__).resolve().parents[3]


def main(arguments: list[str] | None = None) -> int:
    """Run mutants; 0 only when all were judged and every one of them was killed."""
    options = _options(arguments)
    chosen = [mutant for mutant in MUTANTS
              if not options.only or any(part in mutant.name for part in options.only)]
    if not chosen:
        print("no mutant has that in its name; --list says which there are", file=sys.stderr)
        return 2
    for mutant in chosen:
        mutant.check(TOP)
    if options.list:
        for mutant in chosen:
            print(f"{mutant.name:44} {mutant.path}")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    report = options.out / "mutants.json"
    commit = _commit()
    done = _known(report, commit)
    left = [mutant for mutant in chosen if mutant.name not in done]
    started = time.monotonic()

    def note(verdict: Verdict) -> None:
        done[verdict.name] = verdict
        print(f"{verdict.state:9}{verdict.name:44} {verdict.killer}", flush=True)
        _save(report, commit, chosen, done, time.monotonic() - started)

    run_mutants(left, TOP, until=started + options.minutes * 60, note=note)
    done.update({verdict.name: verdict
                 for verdict in without_mutants(list(done.values()), TOP)})
    _save(report, commit, chosen, done, time.monotonic() - started)
    return _summed_up(chosen, done, commit)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/mutate", description="Change the source in small wrong ways, in a copy, and "
        "see that a test fails each time.")
    parser.add_argument("--out", type=Path, default=TOP / "campaign-results" / "mutation",
                        help="where mutants.json goes; a run of the same commit goes on from it")
    parser.add_argument("--only", action="append", metavar="NAME",
                        help="only mutants whose name has this in it; may be repeated")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after this long")
    parser.add_argument("--list", action="store_true", help="say which mutants there are")
    return parser.parse_args(arguments)


def _summed_up(chosen: list[Mutant], done: dict[str, Verdict], commit: str) -> int:
    verdicts = [done[mutant.name] for mutant in chosen if mutant.name in done]
    alive = [verdict for verdict in verdicts if verdict.state != KILLED]
    print(f"{len(verdicts)} of {len(chosen)} mutants judged at {commit}, "
          f"{len(verdicts) - len(alive)} killed")
    for verdict in alive:
        print(f"  {verdict.state}: {verdict.name} ({verdict.path}) {verdict.killer}")
    return 1 if alive or len(verdicts) < len(chosen) else 0


def _known(report: Path, commit: str) -> dict[str, Verdict]:
    """Verdicts of an earlier run of the same commit that need not be asked for again."""
    if commit.endswith("+") or not report.exists():
        return {}
    saved = json.loads(report.read_text())
    if saved["commit"] != commit:
        return {}
    return {row["name"]: Verdict(**row) for row in saved["mutants"] if row["state"] == KILLED}


def _save(report: Path, commit: str, chosen: list[Mutant], done: dict[str, Verdict],
          seconds: float) -> None:
    rows = [asdict(verdict) for verdict in done.values()]
    alive = [row["name"] for row in rows if row["state"] != KILLED]
    report.write_text(json.dumps({
        "schema": "ecfs.mutation/1", "commit": commit, "chosen_count": len(chosen),
        "judged_count": len(rows), "killed_count": len(rows) - len(alive),
        "seconds": round(seconds, 1), "findings": alive, "mutants": rows}, indent=1) + "\n")


def _commit() -> str:
    """The commit of the tree; with a `+` when files differ from it."""
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(TOP), *words], capture_output=True, text=True,
                              check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("+" if changed else "")


if __name__ == "__main__":
    sys.exit(main())
