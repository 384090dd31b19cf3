"""`scripts/exercise`: random calls on mounts while targets rot, vanish and are set back in time."""

import argparse
import sys
from typing import Any

from ecfs.testing.exercising.course import Course
from ecfs.testing.pool_campaign import add_options, run_pools


def main() -> int:
    """0 when every byte was right and nobody was wronged, else 1 with the first case."""
    parser = argparse.ArgumentParser(prog="exercise", description=__doc__)
    add_options(parser, "exercise")
    parser.add_argument("--no-torment", action="store_true", help="leave the targets alone")
    options = parser.parse_args()
    return run_pools("exercise", options, lambda base, seed: Course(
        base, seed, torment=not options.no_torment), _told)


def _told(result: dict[str, Any]) -> str:
    return (f"{sum(result['calls'].values())} calls, {sum(result['torments'].values())} torments, "
            f"{result['rounds_count']} rounds")


if __name__ == "__main__":
    sys.exit(main())
