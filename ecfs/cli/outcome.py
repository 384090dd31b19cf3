"""How a command ends: the one place that turns an error into a message, JSON and an exit code."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import Any

import click
import trio

from ecfs.base.errors import Bug, EcfsError, Refusal, UsageRefusal
from ecfs.cli.streams import OutputFailed
from ecfs.cli.text import printable

LOG = logging.getLogger("ecfs")

Json = dict[str, Any]


class FsckBits(IntFlag):
    """The exit status of fsck(8)."""

    CORRECTED = 1
    UNCORRECTED = 4
    OPERATIONAL = 8
    USAGE = 16
    CANCELLED = 32


class MountBits(IntFlag):
    """The exit status of mount(8)."""

    USAGE = 1
    SYSTEM = 2
    BUG = 4
    INTERRUPTED = 8
    FAILED = 32


class Family(Enum):
    """Which table of exit codes a command follows."""

    PLAIN = "plain"
    FSCK = "fsck"
    MOUNT = "mount"


@dataclass(frozen=True)
class Failure:
    """An error as the user sees it; `exit_code` is the plain one, `exit_for` maps it."""

    id: str
    message: str
    exit_code: int

    def to_json(self) -> Json:
        """As `ecfs.error/1`."""
        return {
            "schema": "ecfs.error/1",
            "id": self.id,
            "message": self.message,
            "exit_code": self.exit_code,
        }

    def line(self, program: str) -> str:
        """The message for standard error, with the id at its end."""
        lines = (printable(line) for line in self.message.splitlines())
        return f"{program}: " + "\n  ".join(lines) + f" [{self.id}]"


INTERRUPTED = Failure("E-INTERRUPTED", "interrupted", 1)
BUG_EXIT_CODE = Bug.exit_code


class RemoteFailure(EcfsError):
    """An error that another process of ours met and told us of."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.id = failure.id
        self.exit_code = failure.exit_code


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions inside a group, at any depth; an ordinary exception is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def _weight(error: BaseException) -> int:
    """Which leaf of a group tells most: a bug, else a refusal, else what else failed."""
    if isinstance(error, trio.Cancelled):
        return 0
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return 1
    if isinstance(error, Refusal | click.ClickException):
        return 3
    if isinstance(error, EcfsError) and not isinstance(error, Bug):
        return 2
    if isinstance(error, OSError):
        return 2
    return 4


def failure_of(error: BaseException) -> Failure:
    """What to tell the user of an exception. What nobody raised on purpose is our bug, logged."""
    cause = max(leaves(error), key=_weight)
    if isinstance(cause, KeyboardInterrupt | click.Abort | trio.Cancelled):
        return INTERRUPTED
    if isinstance(cause, click.UsageError):
        return Failure(UsageRefusal.id, _usage_message(cause), UsageRefusal.exit_code)
    if isinstance(cause, click.ClickException):
        return Failure(EcfsError.id, cause.format_message(), EcfsError.exit_code)
    if isinstance(cause, EcfsError) and not isinstance(cause, Bug):
        return Failure(cause.id, str(cause), cause.exit_code)
    LOG.error("unexpected %s", type(cause).__name__, exc_info=error)
    if isinstance(cause, OSError):
        return Failure("E-OS", _os_message(cause), EcfsError.exit_code)
    detail = f"{type(cause).__name__}: {cause}".splitlines()[0][:200]
    message = f"this is a bug in ecfs ({detail}); the log has the details"
    return Failure(Bug.id, message, BUG_EXIT_CODE)


def _usage_message(error: click.UsageError) -> str:
    hint = ""
    if error.ctx is not None:
        hint = f" (see {error.ctx.command_path} --help)"
    return error.format_message().rstrip(".") + hint


def _os_message(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.filename is None:
        return reason
    name = error.filename
    return f"{name.decode(errors='surrogateescape') if isinstance(name, bytes) else name}: {reason}"


def exit_for(failure: Failure, family: Family) -> int:
    """The exit code of a failure in one family."""
    usage = failure.id == UsageRefusal.id
    interrupted = failure == INTERRUPTED
    if family is Family.FSCK:
        if interrupted:
            return int(FsckBits.CANCELLED)
        return int(FsckBits.USAGE if usage else FsckBits.OPERATIONAL)
    if family is Family.MOUNT:
        if interrupted:
            return int(MountBits.INTERRUPTED)
        if failure.exit_code == BUG_EXIT_CODE:
            return int(MountBits.BUG)
        return int(MountBits.USAGE if usage else MountBits.FAILED)
    return failure.exit_code


def concluded(work: Callable[[], int], *, program: str, family: Family, wants_json: bool) -> int:
    """Runs a command and returns its exit code; whatever it raises is told to the user here."""
    try:
        return work()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return UsageRefusal.exit_code
    except BaseException as error:
        if isinstance(error, SystemExit | GeneratorExit):
            raise
        if isinstance(error, OutputFailed) and error.is_gone:
            # Whoever read our output has gone; there is nobody to tell.
            return exit_for(failure_of(error), family)
        failure = failure_of(error)
    code = exit_for(failure, family)
    if wants_json and failure.id != OutputFailed.id:
        with suppress(OutputFailed):
            print_json(failure.to_json() | {"exit_code": code})
    click.echo(failure.line(program), err=True)
    return code


def print_json(document: Json) -> None:
    """One object on one line of standard output; undecodable bytes of names stay as escapes."""
    click.echo(json.dumps(document, ensure_ascii=True))
