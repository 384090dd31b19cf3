"""Progress of long work: a bar with ETA on a terminal, a plain line now and then otherwise."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from ecfs.base.units import NS_PER_S
from ecfs.base.world import Clock, SystemClock
from ecfs.cli.engine import Step, StepTaker
from ecfs.cli.text import format_duration, format_size

LINE_INTERVAL_S = 10
_FORETOLD_FROM_PART = 200
"""What is left is foretold once a 200th is done: from the first bytes it would be years."""


class LineProgress:
    """Writes a line at the first step, then at most every LINE_INTERVAL_S seconds."""

    def __init__(self, title: str, write: Callable[[str], object], clock: Clock) -> None:
        self._title = title
        self._write = write
        self._clock = clock
        self._started_ns = clock.monotonic_ns()
        self._due_ns = self._started_ns

    def __call__(self, step: Step) -> None:
        """Takes one step."""
        now = self._clock.monotonic_ns()
        if now >= self._due_ns:
            self._due_ns = now + LINE_INTERVAL_S * NS_PER_S
            self._write(self._line(step, (now - self._started_ns) / NS_PER_S))

    def _line(self, step: Step, elapsed_s: float) -> str:
        total = format_size(step.total_len)
        parts = [f"{self._title}: {percent(step)}% ({format_size(step.done_len)} of {total})"]
        told_from_len = step.total_len // _FORETOLD_FROM_PART
        if told_from_len < step.done_len < step.total_len and elapsed_s >= 1:
            rest = elapsed_s * (step.total_len - step.done_len) / step.done_len
            parts.append(f"{format_duration(rest)} left")
        return ", ".join([*parts, *counts(step)])


def percent(step: Step) -> int:
    """Whole percents done; 100 only when all is done."""
    if step.total_len <= 0:
        return 100
    return min(100, step.done_len * 100 // step.total_len)


def counts(step: Step) -> list[str]:
    """What was found so far, in words; nothing while all is well."""
    found = []
    if step.mended_count:
        found.append(f"{step.mended_count} mended")
    if step.bad_count > step.mended_count:
        found.append(f"{step.bad_count - step.mended_count} not mended")
    return found


@contextmanager
def shown(title: str, *, stream: TextIO | None = None, quiet: bool = False) -> Iterator[StepTaker]:
    """Gives a taker of steps that shows them on standard error (or `stream`)."""
    stream = sys.stderr if stream is None else stream
    if quiet:
        yield lambda step: None
    elif stream.isatty():
        with _bar(title, stream) as taker:
            yield taker
    else:

        def write(line: str) -> None:
            print(line, file=stream, flush=True)

        yield LineProgress(title, write, SystemClock())


@contextmanager
def _bar(title: str, stream: TextIO) -> Iterator[StepTaker]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[found]}"),
    )
    with Progress(*columns, console=Console(file=stream)) as progress:
        task = progress.add_task(title, total=None, found="")

        def take(step: Step) -> None:
            progress.update(
                task,
                completed=step.done_len,
                total=step.total_len,
                found=", ".join(counts(step)),
            )

        yield take
