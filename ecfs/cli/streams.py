"""The three standard streams of a program: there from the start, and what happens when one fails.

What was asked for goes to standard output: where that cannot be written the command has failed,
OutputFailed. Standard error is only told things: nobody ends his work because nobody listens.
"""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from ecfs.base.errors import EcfsError

_NOWHERE = "/dev/null"


class OutputFailed(EcfsError):
    """Standard output cannot be written. `is_gone`: whoever read it has left."""

    id = "E-OUTPUT"

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror or error}")
        self.is_gone = isinstance(error, BrokenPipeError)


class _Output(io.TextIOWrapper):
    """Standard output. Its errors are told from those of other files: OutputFailed, once."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputFailed(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputFailed(error) from error


class _Messages(io.TextIOWrapper):
    """Standard error; what cannot be written is lost."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def settle_streams() -> None:
    """Makes standard input, output and error usable. Before any file is opened.

    One that is closed, as cron and some daemons leave it, leads nowhere from now on: else the next
    file that is opened, perhaps one of a target, would get its number and what is printed. Names
    need not be text; they go out as the bytes that they are.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free, which is this one.
            os.set_inheritable(os.open(_NOWHERE, os.O_RDWR), True)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = _opened(sys.stdout, 1, _Output)
    sys.stderr = _opened(sys.stderr, 2, _Messages)


def _opened(stream: TextIO | None, descriptor: int, kind: type[io.TextIOWrapper]) -> TextIO:
    if isinstance(stream, io.TextIOWrapper):
        encoding, by_line = stream.encoding, stream.line_buffering
        buffer = stream.detach()
    else:
        encoding, by_line = "utf-8", False
        buffer = os.fdopen(descriptor, "wb", closefd=False)
    return kind(buffer, encoding=encoding, errors="surrogateescape", line_buffering=by_line)
