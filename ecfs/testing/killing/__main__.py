"""`scripts/kill-loop`: kill real mounts for as long as there is time, one pool after another."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from ecfs.testing.killing.loop import KillLoop

POOL_MINUTES = 6.0


def main() -> int:
    """0 when nothing was lost and nobody was wronged, 1 with the first case that says otherwise."""
    parser = argparse.ArgumentParser(prog="kill-loop", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1, help="of the first pool; the next has the "
                        "next one. Seeds that the summary has already are passed over")
    parser.add_argument("--out", type=Path, default=Path("campaign-results/kill-loop"))
    parser.add_argument("--no-damage", action="store_true", help="only kill")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "summary.json"
    summary: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {
        "campaign": "kill-loop", "pools": []}
    seed = max([options.seed, *[pool["seed"] + 1 for pool in summary["pools"]]])
    until = time.monotonic() + 60 * options.minutes
    failed = False
    while not failed and (left_s := until - time.monotonic()) > 0:
        minutes = min(POOL_MINUTES, left_s / 60)
        result = _run(seed, minutes, options.out, damage=not options.no_damage)
        summary["pools"].append(result)
        path.write_text(json.dumps(summary, indent=1) + "\n")
        failed = bool(result["finding"])
        print(f"seed {seed}: {result['kills_count']} kills, {result['acknowledged_count']} "
              f"acknowledged, {sum(result['damages'].values())} damaged files, "
              f"{result['seconds']:.0f} s{', FAILED' if failed else ''}", flush=True)
        seed += 1
    pools = summary["pools"]
    print(f"all: {len(pools)} pools, {sum(pool['kills_count'] for pool in pools)} kills, "
          f"{sum(pool['acknowledged_count'] for pool in pools)} acknowledged, "
          f"{sum(pool['seconds'] for pool in pools) / 60:.0f} minutes, "
          f"{sum(bool(pool['finding']) for pool in pools)} findings")
    return 1 if any(pool["finding"] for pool in pools) else 0


def _run(seed: int, minutes: float, out: Path, *, damage: bool) -> dict[str, Any]:
    """One pool; what is left of it stays in `out` when something is wrong."""
    base = Path(tempfile.mkdtemp(prefix="ecfs-kill-", dir="/dev/shm"))
    began = time.monotonic()
    loop = KillLoop(base, seed, damage=damage)
    finding = ""
    try:
        loop.run(minutes=minutes)
    except Exception:
        finding = traceback.format_exc()
    finally:
        loop.clear()
    if finding:
        kept = out / f"seed-{seed}"
        shutil.copytree(base, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run", "mnt"))
        (kept / "finding.txt").write_text("\n".join(loop.history) + "\n" + finding)
        print(finding, file=sys.stderr)
    shutil.rmtree(base)
    return {"seed": seed, "commit": _commit(), "seconds": time.monotonic() - began,
            "finding": finding} | loop.tally.to_json()


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], check=False,
                          capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
