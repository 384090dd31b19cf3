"""A campaign: cases of all pools in an order that repeats, within a budget, and what came of them.

Each share (one process) does every n-th case and keeps its own book in the folder of results: how
far it came, the digests of the states that it saw, and each finding as it is met. So it can be cut
short at any time and goes on where it was.
"""

import json
import logging
import os
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from blake3 import blake3

from ecfs.testing.faults.calls import CallFault, call_faults, run_call_case
from ecfs.testing.faults.cases import Catalogue, Fault, Outcome, run_case
from ecfs.testing.faults.site import SHAPES, Shape, Site, build_site
from ecfs.testing.faults.world import quick_keys, scratch_folder

SAVED_EVERY_S = 10.0
FINDINGS_TOLD_MAX = 200
PAIRS_AT_ONCE = 2_000
CALLS_STEP = 11


@dataclass(frozen=True, slots=True)
class Budget:
    """Which part of the campaign: cases `share`, `share + shares`, ... until the time is up."""

    seed: int
    minutes: float
    share: int = 0
    shares: int = 1
    shapes: tuple[Shape, ...] = SHAPES
    families: tuple[str, ...] = ("single", "call", "pair")
    cases_max: int | None = None


@dataclass(slots=True)
class Book:
    """What a share did. `done`: cases of each block; `counts`: by family; `problems`: by kind."""

    seed: int
    share: int
    shares: int
    done: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    findings_count: int = 0

    @classmethod
    def load(cls, path: Path, budget: Budget) -> "Book":
        """The book of an earlier run of this share, or an empty one."""
        if not path.exists():
            return cls(budget.seed, budget.share, budget.shares)
        kept = json.loads(path.read_text(encoding="utf-8"))
        book = cls(**{**kept, "counts": Counter(kept["counts"]),
                      "problems": Counter(kept["problems"])})
        if (book.seed, book.share, book.shares) != (budget.seed, budget.share, budget.shares):
            raise SystemExit(f"{path} is of another campaign (seed {book.seed}, share "
                             f"{book.share} of {book.shares}); give another --out")
        return book

    def save(self, path: Path) -> None:
        """Keep it."""
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({
            "seed": self.seed, "share": self.share, "shares": self.shares, "done": self.done,
            "counts": dict(self.counts), "problems": dict(self.problems),
            "seconds": self.seconds, "cpu_seconds": self.cpu_seconds,
            "findings_count": self.findings_count}, indent=1), encoding="utf-8")
        os.replace(temporary, path)


Case = Callable[[], Outcome]


@dataclass(slots=True)
class Block:
    """Cases of one family on one pool, in a fixed order."""

    name: str
    family: str
    cases: Iterator[Case]
    ended: bool = False


class Sites:
    """Pools by shape, made when they are first needed."""

    def __init__(self, base: Path, seed: int) -> None:
        self._base = base
        self._seed = seed
        self._sites: dict[str, Site] = {}
        self._catalogues: dict[str, Catalogue] = {}

    def site(self, shape: Shape) -> Site:
        """The pool of a shape."""
        if shape.name not in self._sites:
            self._sites[shape.name] = build_site(shape, self._seed, self._base / shape.name)
        return self._sites[shape.name]

    def catalogue(self, shape: Shape) -> Catalogue:
        """All faults of that pool."""
        if shape.name not in self._catalogues:
            self._catalogues[shape.name] = Catalogue.of(self.site(shape))
        return self._catalogues[shape.name]


def _cases_of(catalogue: Catalogue, chosen: Iterator[tuple[Fault, ...]]) -> Iterator[Case]:
    for faults in chosen:
        yield lambda faults=faults: run_case(catalogue, faults)  # type: ignore[misc]


def _calls_of(site: Site, chosen: Iterator[CallFault]) -> Iterator[Case]:
    for fault in chosen:
        yield lambda fault=fault: run_call_case(site, fault)  # type: ignore[misc]


def blocks_of(sites: Sites, budget: Budget) -> list[Block]:
    """What is done in turns: first all single faults and a spread of calls, then pairs for ever."""
    blocks = []
    for shape in budget.shapes:
        blocks.append(Block(f"{shape.name} single", "single", _share(budget, _lazy(
            lambda shape=shape: _cases_of(  # type: ignore[misc]
                sites.catalogue(shape), sites.catalogue(shape).singles())))))
        blocks.append(Block(f"{shape.name} call", "call", _share(budget, _lazy(
            lambda shape=shape: _calls_of(  # type: ignore[misc]
                sites.site(shape), _spread(list(call_faults(sites.site(shape)))))))))
        blocks.append(Block(f"{shape.name} pair", "pair", _share(budget, _lazy(
            lambda shape=shape: _cases_of(  # type: ignore[misc]
                sites.catalogue(shape), sites.catalogue(shape).pairs(budget.seed))))))
    return [block for block in blocks if block.family in budget.families]


def _lazy(make: Callable[[], Iterator[Case]]) -> Iterator[Case]:
    yield from make()


def _share(budget: Budget, cases: Iterator[Case]) -> Iterator[Case]:
    return islice(cases, budget.share, None, budget.shares)


def _spread(faults: list[CallFault]) -> Iterator[CallFault]:
    """All of them, those far apart first: a short run sees a bit of everything."""
    for first in range(CALLS_STEP):
        yield from faults[first::CALLS_STEP]


class Campaign:
    """One share of a campaign, with its folder of results."""

    def __init__(self, budget: Budget, out: Path, say: Callable[[str], None] = print) -> None:
        self._budget = budget
        self._say = say
        out.mkdir(parents=True, exist_ok=True)
        name = f"share-{budget.share}of{budget.shares}"
        self._book_path = out / f"{name}.json"
        self._digests_path = out / f"{name}.digests"
        self._findings_path = out / f"{name}.findings.jsonl"
        self.book = Book.load(self._book_path, budget)
        self._seen = set(_digests(self._digests_path))
        self._cases_count = 0

    def run(self) -> Book:
        """Until the time is up. The book is kept as it goes."""
        began, began_cpu = time.monotonic(), time.process_time()
        before_s, before_cpu = self.book.seconds, self.book.cpu_seconds
        deadline = began + self._budget.minutes * 60
        with quick_keys(), scratch_folder() as base, self._digests_path.open("ab") as digests:
            blocks = blocks_of(Sites(base, self._budget.seed), self._budget)
            saved = began
            for block, case in self._in_turns(blocks):
                outcome = case()
                self.book.done[block.name] = self.book.done.get(block.name, 0) + 1
                self._note(block, outcome)
                if outcome.verdict is not None and outcome.digest:
                    digests.write(blake3(outcome.digest).digest(8))
                now = time.monotonic()
                self.book.seconds = before_s + now - began
                self.book.cpu_seconds = before_cpu + time.process_time() - began_cpu
                if now - saved > SAVED_EVERY_S:
                    digests.flush()
                    self.book.save(self._book_path)
                    saved = now
                self._cases_count += 1
                if now > deadline or self._cases_count == self._budget.cases_max:
                    break
        self.book.save(self._book_path)
        return self.book

    def _in_turns(self, blocks: list[Block]) -> Iterator[tuple[Block, Case]]:
        """Single faults of every pool first, calls between them; then calls and pairs."""
        for block in blocks:
            skipped = self.book.done.get(block.name, 0)
            block.cases = islice(block.cases, skipped, None)
        while open_blocks := [block for block in blocks if not block.ended]:
            singles_left = any(block.family == "single" for block in open_blocks)
            for block in open_blocks:
                if singles_left and block.family == "pair":
                    continue
                turn = {"single": 40, "call": 1, "pair": 40}[block.family]
                for case in islice(block.cases, turn):
                    yield block, case
                    turn -= 1
                block.ended = turn > 0

    def _note(self, block: Block, outcome: Outcome) -> None:
        if outcome.verdict is None:
            self.book.counts["without effect"] += 1
            return
        digest = blake3(outcome.digest).digest(8)
        self.book.counts["same as another" if digest in self._seen else block.family] += 1
        self._seen.add(digest)
        kinds = {problem.split(":")[0] for problem in outcome.verdict.problems}
        self.book.problems.update(kinds)
        if kinds:
            self.book.findings_count += 1
            with self._findings_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"case": outcome.id,
                                       "problems": outcome.verdict.problems}) + "\n")
            if self.book.findings_count <= FINDINGS_TOLD_MAX:
                self._say(f"FOUND {outcome.id}: {outcome.verdict.problems[0][:300]}")


def run_share(budget: Budget, out: Path) -> Book:
    """One share, in a process of its own."""
    logging.disable(logging.CRITICAL)
    return Campaign(budget, out).run()


def _digests(path: Path) -> Iterator[bytes]:
    data = path.read_bytes() if path.exists() else b""
    for (digest,) in struct.iter_unpack("8s", data[: len(data) // 8 * 8]):
        yield digest
