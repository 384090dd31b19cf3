"""`scripts/crashes`: runs a campaign, or one case of it with a log that can be read."""

import argparse
import sys
import traceback
from functools import partial
from pathlib import Path

from ecfs.testing.crashes.campaign import Campaign, choices, single, table
from ecfs.testing.crashes.enumerating import Enumerator
from ecfs.testing.crashes.grammar import Told
from ecfs.testing.crashes.judging import Judge
from ecfs.testing.crashes.pool import kept_in_memory
from ecfs.testing.crashes.units import Recordings, Unit, picks_of
from ecfs.testing.quick import run_in_virtual_time


def main() -> int:
    """0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="scripts/crashes", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("campaign-results/crashes"))
    parser.add_argument("--case", help="repeat one case, named as in a summary")
    chosen = parser.parse_args()
    if chosen.case:
        try:
            name, batch, picks = chosen.case.split("#")
            case = Unit.named(name), int(batch), picks_of(picks)
        except ValueError:
            parser.error(f"{chosen.case}: no case; a summary has them as NAME#NUMBER#PICKS")
    with kept_in_memory():
        if chosen.case:
            return int(run_in_virtual_time(partial(repeat, *case)))
        return int(run_in_virtual_time(partial(campaign, chosen)))


async def campaign(chosen: argparse.Namespace) -> int:
    """Until the time is over."""
    running = Campaign(chosen.seed, chosen.out)
    await running.run(60 * chosen.minutes)
    summary = running.summary()
    print("\n".join(table(summary)))
    for finding in summary["findings"]:
        print(f"{finding['case']}\n    {finding['error']}")
    return 1 if summary["findings"] else 0


async def repeat(unit: Unit, number: int, picks: tuple[int, ...]) -> int:
    """One state again, with what led to it."""
    recordings = Recordings()
    run = await recordings.run(unit)
    pool = await recordings.pool(unit.size)
    for at, one in enumerate(run.log.batches[: number + 1]):
        for told in (note for when, note in run.log.notes if when == at and isinstance(note, Told)):
            print(f"     {told}")
        for path, entries in one.entries.items():
            for entry in entries:
                print(f"{at:4} {one.phase:12} {path} {entry.what.name} {entry.name or entry.file} "
                      f"at {entry.number:x}, {len(entry.data)} bytes")
    state = Enumerator(run, unit.name).state(number, picks)
    print("the power goes: " + "; ".join(state.story))
    how, anchor = choices(pool, run, state)
    print(f"met with {how}, anchor {anchor}")
    try:
        await Judge(pool).judge(state.images, run.oracle_at(number)[0],
                                run.anchors_at(number)[anchor], how)
    except Exception as group:
        error = single(group)
        print("".join(traceback.format_exception(error)))
        return 1
    print("nothing is wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
