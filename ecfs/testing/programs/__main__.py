"""`python -m ecfs.testing.programs`: programs one after the other within a budget of time."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ecfs.testing.mounted_pool import REPOSITORY
from ecfs.testing.programs import CATALOGUE, Program, run_program


def outcome(program: Program, *, transport: str, scale: int) -> dict[str, object]:
    """How one program went: `result` is ok, failed or missing."""
    if not program.is_installed():
        return {"name": program.name, "result": "missing", "seconds": 0.0,
                "text": f"needs {' '.join(program.commands)}"}
    begun_s = time.monotonic()
    text = ""
    try:
        run_program(program, transport=transport, scale=scale)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
    return {"name": program.name, "result": "failed" if text else "ok",
            "seconds": round(time.monotonic() - begun_s, 1), "text": text}


def main(words: Sequence[str]) -> int:
    """The command; 0 when every program that was run succeeded, and all were there."""
    parser = argparse.ArgumentParser(prog="programs", description="Runs real programs on ecfs.")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CATALOGUE)}; all without any")
    parser.add_argument("--minutes", type=float, default=30.0, help="no program begins later")
    parser.add_argument("--scale", type=int, default=4, help="how much each does; tests use 1")
    parser.add_argument("--transport", choices=("raw", "pyfuse3"), default="raw")
    parser.add_argument("--packages", action="store_true", help="print Debian packages and end")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "campaign-results/programs")
    options = parser.parse_args(words)
    unknown = set(options.names) - CATALOGUE.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    chosen = [CATALOGUE[name] for name in options.names or CATALOGUE]
    if options.packages:
        print(*dict.fromkeys(package for program in chosen for package in program.packages))
        return 0
    begun_s = time.monotonic()
    outcomes = []
    for program in chosen:
        if time.monotonic() - begun_s > options.minutes * 60:
            break
        found = outcome(program, transport=options.transport, scale=options.scale)
        outcomes.append(found)
        print(f"{found['name']:<20}  {found['result']:<8}{found['seconds']:>8} s  {found['text']}",
              flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, check=False,
                            capture_output=True, text=True).stdout.strip()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{options.transport}.json").write_text(json.dumps({
        "commit": commit, "transport": options.transport, "scale": options.scale,
        "seconds": round(time.monotonic() - begun_s, 1), "programs": outcomes}, indent=1) + "\n")
    return 0 if all(found["result"] == "ok" for found in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
