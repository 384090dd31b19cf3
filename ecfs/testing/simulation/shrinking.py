"""From a plan that fails to a small one that still fails in the same way."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from ecfs.testing.simulation.plans import Chapter, Contest, Life, Plan

T = TypeVar("T")

SHORTEST_CONTEST_S = 10.0

Runs = Callable[[Plan | Contest], str]
"""Runs a plan; how it failed, or nothing."""


def shrink(plan: Plan | Contest, failure: str, run: Runs, *,
           seconds: float) -> Plan | Contest:
    """The smallest plan found in that time whose failure is of the same kind: pieces are left out
    as long as it goes on failing."""
    until_s = time.monotonic() + seconds
    kind = kind_of(failure)
    progress = True
    while progress:
        progress = False
        for smaller in _smaller(plan):
            if time.monotonic() > until_s:
                return plan
            if kind_of(run(smaller)) == kind:
                plan, progress = smaller, True
                break
    return plan


def kind_of(failure: str) -> str:
    """What a failure is called, without the numbers and names in it."""
    name, _, text = failure.partition(":")
    words = [word for word in text.split() if word.isalpha()]
    return " ".join([name, *words[:4]])


def _smaller(plan: Plan | Contest) -> Iterator[Plan | Contest]:
    """Plans with one piece less, large pieces first."""
    if isinstance(plan, Contest):
        for lies in _without_pieces(plan.lies):
            yield replace(plan, lies=lies)
        if plan.duration_s > SHORTEST_CONTEST_S:
            yield replace(plan, duration_s=plan.duration_s / 2)
        if plan.machines_count > 2:
            yield replace(plan, machines_count=2)
        return
    for chapters in _without_pieces(plan.chapters):
        if chapters:
            yield replace(plan, chapters=chapters)
    for number, chapter in enumerate(plan.chapters):
        for less in _smaller_chapters(chapter):
            yield replace(plan, chapters=_put(plan.chapters, number, less))
    if plan.delay_s:
        yield replace(plan, delay_s=0.0)


def _smaller_chapters(chapter: Chapter) -> Iterator[Chapter]:
    for lives in _without_pieces(chapter.lives):
        yield replace(chapter, lives=lives)
    for lies in _without_pieces(chapter.lies):
        yield replace(chapter, lies=lies)
    for absent in _without_pieces(chapter.absent):
        yield replace(chapter, absent=absent)
    for number, life in enumerate(chapter.lives):
        for less in _smaller_lives(life):
            yield replace(chapter, lives=_put(chapter.lives, number, less))


def _smaller_lives(life: Life) -> Iterator[Life]:
    for troubles in _without_pieces(life.troubles):
        yield replace(life, troubles=troubles)
    for wounds in _without_pieces(life.wounds):
        yield replace(life, wounds=wounds)
    for programs in _without_pieces(life.programs):
        if programs:
            yield replace(life, programs=programs)
    for number, program in enumerate(life.programs):
        for ops in _without_pieces(program):
            yield replace(life, programs=_put(life.programs, number, ops))
    if life.wall_skew_s:
        yield replace(life, wall_skew_s=0.0)


def _without_pieces(items: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    length = len(items)
    while length:
        for start in range(0, len(items), length):
            yield items[:start] + items[start + length:]
        length //= 2


def _put(items: tuple[T, ...], number: int, item: T) -> tuple[T, ...]:
    return (*items[:number], item, *items[number + 1:])
