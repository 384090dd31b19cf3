"""`scripts/kill-loop`: kill real mounts for as long as there is time, one pool after another."""

import argparse
import sys
from typing import Any

from ecfs.testing.killing.loop import KillLoop
from ecfs.testing.pool_campaign import add_options, run_pools


def main() -> int:
    """0 when nothing was lost and nobody was wronged, 1 with the first case that says otherwise."""
    parser = argparse.ArgumentParser(prog="kill-loop", description=__doc__)
    add_options(parser, "kill-loop")
    parser.add_argument("--no-damage", action="store_true", help="only kill")
    options = parser.parse_args()
    return run_pools("kill-loop", options, lambda base, seed: KillLoop(
        base, seed, damage=not options.no_damage), _told)


def _told(result: dict[str, Any]) -> str:
    return (f"{result['kills_count']} kills, {result['acknowledged_count']} acknowledged, "
            f"{sum(result['damages'].values())} damaged files")


if __name__ == "__main__":
    sys.exit(main())
