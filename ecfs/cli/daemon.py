"""A mount goes into the background: fork, a pipe that brings back how it went, a quiet process."""

import json
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO

import click

from ecfs.base.errors import Bug, EcfsError
from ecfs.cli.outcome import Failure, Json, RemoteFailure, failure_of

REPORT_LEN_MAX = 16 << 20

SLOW_S = 6.0
SLOW_WORDS = (
    "still waiting: a target does not answer, or another machine had the pool mounted last, which "
    "has to be silent for half a minute"
)

Report = Callable[[Json], None]
"""Tells the parent that all is well; to be called once."""


def in_background(work: Callable[[Report], None]) -> Json:
    """Runs `work` in a background process; returns what it reports.

    Returns once `work` has called its argument, or raises as `work` did before that. Call it before
    any thread or event loop starts: only the calling thread lives on in the child.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(work, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = _patiently(pid, lambda: _told_in(pipe))
    return _conclusion(pid, content)


def _told_in(pipe: BinaryIO) -> bytes:
    """What the child says; in the meantime, after SLOW_S, what it may be waiting for."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    if not poll.poll(SLOW_S * 1000):
        click.echo(f"ecfs: {SLOW_WORDS}", err=True)
    return pipe.read(REPORT_LEN_MAX)


def _patiently(pid: int, read: Callable[[], bytes]) -> bytes:
    """Waits for the child's word; Ctrl-C meanwhile stops the child, which unmounts."""
    try:
        return read()
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
        read()
        raise


def _conclusion(pid: int, content: bytes) -> Json:
    if not content:
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        raise EcfsError(f"the background process {how} before the file system was ready")
    try:
        answer = json.loads(content)
    except ValueError:
        raise Bug("the background process spoke nonsense") from None
    if "error" in answer:
        os.waitpid(pid, 0)
        error = answer["error"]
        raise RemoteFailure(Failure(error["id"], error["message"], error["exit_code"]))
    report: Json = answer["ready"]
    return report


def _child(work: Callable[[Report], None], pipe: int) -> None:
    """The background process; never returns."""
    code = EcfsError.exit_code
    said = False

    def say(document: Json) -> None:
        nonlocal said
        if not said:
            said = True
            with os.fdopen(pipe, "wb") as file:
                file.write(json.dumps(document, ensure_ascii=True).encode())

    try:
        os.setsid()
        os.chdir("/")
        _silence()
        work(lambda report: say({"ready": report}))
        code = 0
    except BaseException as error:
        failure = failure_of(error)
        code = failure.exit_code
        say({"error": failure.to_json()})
    finally:
        # The interpreter's own end would flush and run what belongs to the parent.
        os._exit(code)


def _silence() -> None:
    """Points the standard descriptors at nothing."""
    nowhere = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    if nowhere > 2:
        os.close(nowhere)
