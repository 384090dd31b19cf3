"""Running a world to its end, and what came of it."""

import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ecfs.testing.simulation.contests import Contending
from ecfs.testing.simulation.course import Course
from ecfs.testing.simulation.determinism import run_seeded
from ecfs.testing.simulation.plans import Contest, Plan
from ecfs.testing.simulation.trace import Trace
from ecfs.testing.simulation.world import World


@dataclass(slots=True)
class Outcome:
    """What came of a world. `failure` is empty when all held; times in seconds."""

    seed: int
    digest: str
    failure: str
    features: tuple[str, ...]
    counts: Counter[str]
    calls_count: int
    seals_count: int
    virtual_s: float
    cpu_s: float
    lines: list[str] = field(default_factory=list)


def run_plan(plan: Plan | Contest, folder: Path, *, keep_lines: bool = False) -> Outcome:
    """Run a world to its end. `folder` is for state directories; it is emptied."""
    base = folder / f"world-{os.getpid()}"
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    trace = Trace(keep=keep_lines)
    world = World(plan, base, trace)
    began_s = time.process_time()
    failure, virtual_s = "", 0.0

    async def main() -> None:
        nonlocal failure, virtual_s
        try:
            with world.seals.watching():
                if isinstance(plan, Contest):
                    await Contending(world, plan).run()
                else:
                    await Course(world, plan).run()
            world.check()
        except BaseException as error:
            failure = describe(error)
            trace.say("failure", failure)
        virtual_s = trio.current_time()

    try:
        run_seeded(plan.seed, main)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return Outcome(plan.seed, trace.digest, failure, plan.features, trace.counts,
                   trace.calls_count, world.seals.seals_count, virtual_s,
                   time.process_time() - began_s, trace.lines)


def describe(error: BaseException) -> str:
    """An exception in a few words, with the innermost of a group and where it was raised."""
    inner = error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    place, trace = "", inner.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{Path(code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(inner).__name__}: {inner} (at {place})"
