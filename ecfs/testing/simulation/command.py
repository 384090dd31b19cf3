"""What `scripts/simulate` does with its arguments."""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ecfs.testing.simulation.determinism import HASH_SEED
from ecfs.testing.simulation.plans import Contest, Plan, draw
from ecfs.testing.simulation.running import Outcome, run_plan
from ecfs.testing.simulation.scripts import from_json, to_text
from ecfs.testing.simulation.swarm import run_swarm, write_failure


def main(words: Sequence[str]) -> int:
    """Run a swarm or one world; 0 when nothing was found."""
    arguments = _parser().parse_args(words)
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        # Sets of bytes would be walked in another order each time.
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, "-m", "ecfs.testing.simulation.command", *words])
    quiet()
    with tempfile.TemporaryDirectory(dir=_ram_disk(), prefix="ecfs-simulation-") as folder:
        if arguments.seeds is None:
            return _one(arguments, Path(folder))
        summary = run_swarm(arguments.seeds, minutes=arguments.minutes, jobs=arguments.jobs,
                            out=Path(arguments.out), folder=Path(folder))
    print(summary.table())
    return 1 if summary.failures else 0


def quiet() -> None:
    """What the program logs of faults that were planned is in the trace."""
    logger = logging.getLogger("ecfs")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _one(arguments: argparse.Namespace, folder: Path) -> int:
    plan = arguments.script or draw(arguments.seed)
    outcome = run_plan(plan, folder, keep_lines=True)
    print(to_text(plan))
    for line in outcome.lines:
        if arguments.calls or not line.split(" ", 1)[1].startswith("/simulated/"):
            print(line)
    print(_last_line(outcome))
    if outcome.failure and arguments.shrink:
        path = Path(arguments.out) / f"failure-{plan.seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_failure(plan.seed, outcome.failure, path, folder)
        print(path.with_suffix(".txt").read_text(encoding="utf-8"))
    return 1 if outcome.failure else 0


def _last_line(outcome: Outcome) -> str:
    return (f"seed {outcome.seed}: digest {outcome.digest}, {outcome.calls_count} calls, "
            f"{outcome.virtual_s:.0f} simulated s, {outcome.cpu_s:.2f} s of CPU: "
            f"{outcome.failure or 'all held'}")


def _ram_disk() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def _seeds(text: str) -> range:
    first, _, last = text.partition("..")
    try:
        return range(int(first), int(last or first) + 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"seeds are A..B, not {text}") from error


def _script(path: str) -> Plan | Contest:
    try:
        return from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{path} holds no script: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/simulate", description="Pools in simulated worlds, one for each seed.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seeds", type=_seeds, metavar="A..B",
                      help="a swarm: all worlds from seed A to B")
    what.add_argument("--seed", type=int, metavar="N", help="one world, with its log")
    what.add_argument("--script", type=_script, metavar="FILE",
                      help="one world as a swarm wrote it down")
    parser.add_argument("--minutes", type=float, default=10.0, help="of a swarm (default 10)")
    parser.add_argument("--jobs", type=int, default=2, help="processes of a swarm (default 2)")
    parser.add_argument("--out", default="campaign-results/simulate",
                        help="where results go; a swarm goes on from what is there")
    parser.add_argument("--calls", action="store_true", help="log the calls of targets too")
    parser.add_argument("--shrink", action="store_true", help="look for a shorter script")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
