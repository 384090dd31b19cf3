"""`scripts/faults`: the campaign of faults from the command line."""

import argparse
import json
import logging
import multiprocessing
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from ecfs.testing.faults.calls import FAILURES, CallFault, run_call_case
from ecfs.testing.faults.campaign import Book, Budget, Campaign, run_share
from ecfs.testing.faults.cases import Catalogue, Outcome, UnknownCase, run_case
from ecfs.testing.faults.site import SHAPE_OF, Shape, build_site
from ecfs.testing.faults.world import quick_keys, scratch_folder


def main(words: list[str] | None = None) -> int:
    """0 when nothing was found, 1 when something was."""
    parser = argparse.ArgumentParser(
        prog="scripts/faults", description="Faults at every place of a pool, alone and together.")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long, default 1")
    parser.add_argument("--seed", type=int, default=1, help="of the pools and the order of pairs")
    parser.add_argument("--out", type=Path, default=Path("campaign-results/faults"),
                        help="folder of results; an earlier run in it is gone on with")
    parser.add_argument("--jobs", type=int, default=1, help="processes, default 1")
    parser.add_argument("--shapes", default="", help="only these, as 2+1@3,4+2@6")
    parser.add_argument("--families", default="single,call,pair",
                        help="kinds of cases, default single,call,pair")
    parser.add_argument("--case", help="repeat one case and print what happened")
    options = parser.parse_args(words)
    names = [name for name in options.shapes.split(",") if name]
    if options.case:
        names = [options.case.partition(" ")[0]]
    for name in names:
        if name not in SHAPE_OF:
            parser.error(f"no shape is called {name}; there are {', '.join(SHAPE_OF)}")
    if options.case:
        try:
            return repeat(options.case, options.seed)
        except UnknownCase as error:
            parser.error(str(error))
    shapes = tuple(map(SHAPE_OF.__getitem__, names)) or tuple(SHAPE_OF.values())
    families = tuple(options.families.split(","))
    budgets = [Budget(options.seed, options.minutes, share, options.jobs, shapes, families)
               for share in range(options.jobs)]
    if options.jobs == 1:
        books = [Campaign(budgets[0], options.out).run()]
    else:
        with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
            books = pool.starmap(run_share, [(budget, options.out) for budget in budgets])
    return summarise(books, options.out)


def summarise(books: list[Book], out: Path) -> int:
    """Write `summary.json`, print a table."""
    counts: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    done: Counter[str] = Counter()
    for book in books:
        counts.update(book.counts)
        problems.update(book.problems)
        done.update(book.done)
    distinct = sum(counts[family] for family in ("single", "call", "pair"))
    findings = sum(book.findings_count for book in books)
    summary = {
        "schema": "ecfs.campaign/1", "campaign": "faults", "commit": commit(),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"), "seed": books[0].seed,
        "shares": len(books), "seconds": round(sum(book.seconds for book in books), 1),
        "cpu_seconds": round(sum(book.cpu_seconds for book in books), 1),
        "distinct": distinct, "counts": dict(counts), "cases_by_block": dict(done),
        "findings": findings, "problems": dict(problems)}
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(f"{distinct} distinct cases ({counts['single']} single faults, {counts['pair']} pairs, "
          f"{counts['call']} failing calls) in {summary['seconds']} s, {summary['cpu_seconds']} s "
          f"of them at work, "
          f"{findings} with findings")
    for kind, count in problems.most_common():
        print(f"  {count:6} {kind}")
    return 1 if findings else 0


def commit() -> str:
    """The commit of the tree that runs, with `+` where it was changed."""
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(Path(__file__).parent), *words], text=True,
                              capture_output=True, check=False).stdout.strip()

    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")


def repeat(case_id: str, seed: int) -> int:
    """One case by its id, with its log."""
    outcome = find_and_run(case_id, seed)
    if outcome.verdict is None:
        print("this case changes nothing")
        return 0
    for line in outcome.verdict.log:
        print(line)
    for problem in outcome.verdict.problems:
        print(f"PROBLEM {problem}")
    return 1 if outcome.verdict.problems else 0


def _call_fault(text: str, shape: Shape) -> CallFault:
    words = text.removeprefix("call t").split("/")
    if (len(words) != 3 or not words[0].isdecimal() or not words[1].isdecimal()
            or int(words[0]) >= shape.targets_count or words[2] not in FAILURES):
        raise UnknownCase(f"no call of {shape.name} that fails is named {text}")
    return CallFault(int(words[0]), int(words[1]), words[2])


def find_and_run(case_id: str, seed: int) -> Outcome:
    """`2+1@3 t0/shard4/zero & t1/label0/junk` or `2+1@3 call t1/57/io`."""
    shape_name, _, rest = case_id.partition(" ")
    with quick_keys(), scratch_folder() as base:
        shape = SHAPE_OF[shape_name]
        site = build_site(shape, seed, base / shape.name)
        if rest.startswith("call "):
            return run_call_case(site, _call_fault(rest, shape))
        catalogue = Catalogue.of(site)
        return run_case(catalogue, tuple(map(catalogue.find, rest.split(" & "))), keep_log=True)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    sys.exit(main())
