"""The control socket of a mounted pool, the side that asks."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from ecfs.base.errors import EcfsError
from ecfs.cli.engine import Step, StepTaker
from ecfs.cli.outcome import Failure, Json, RemoteFailure
from ecfs.cli.runtime import MountRecord

ANSWER_LINE_LEN_MAX = 128 << 20
STATUS_TIMEOUT_S = 60.0


@contextmanager
def _connected(record: MountRecord, timeout_s: float | None) -> Iterator[socket.socket]:
    """A connection to the mount's process; what goes wrong on it becomes an EcfsError."""
    directory_path, name = os.path.split(record.socket)
    directory = os.open(directory_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(f"/proc/self/fd/{directory}/{name}")
            yield connection
    except OSError as error:
        raise EcfsError(
            f"the process that serves {record.mountpoint} (pid {record.pid}) does not "
            f"answer: {error.strerror or 'it took too long'}"
        ) from error
    finally:
        os.close(directory)


def ask(
    record: MountRecord,
    request: Json,
    progress: StepTaker | None = None,
    timeout_s: float | None = None,
) -> Json:
    """Sends one request and returns its result; raises RemoteFailure with the server's error."""
    with _connected(record, timeout_s) as connection:
        connection.sendall(json.dumps(request, ensure_ascii=True).encode() + b"\n")
        with connection.makefile("rb") as lines:
            return result_in(lines, record.mountpoint, progress)


def result_in(lines: BinaryIO, mountpoint: str, progress: StepTaker | None = None) -> Json:
    """The result that the lines of an answer end in; raises RemoteFailure with the server's error.
    """
    while line := lines.readline(ANSWER_LINE_LEN_MAX):
        answer = _parsed(line)
        if "result" in answer:
            return _object(answer["result"])
        if "error" in answer:
            raise RemoteFailure(_failure(answer["error"]))
        if progress is not None and "progress" in answer:
            progress(_step(answer["progress"]))
    raise EcfsError(f"the process that serves {mountpoint} ended before it answered")


def _parsed(line: bytes) -> Json:
    try:
        return _object(json.loads(line))
    except (ValueError, RecursionError):
        raise _senseless() from None


def _object(value: Any) -> Json:
    if not isinstance(value, dict):
        raise _senseless()
    return value


def _step(value: Any) -> Step:
    """Progress as `asdict` of a Step: numbers only, and no others."""
    numbers = _object(value)
    if not all(type(number) is int for number in numbers.values()):
        raise _senseless()
    try:
        return Step(**numbers)
    except TypeError:
        raise _senseless() from None


def _failure(value: Any) -> Failure:
    document = _object(value)
    identity, message = document.get("id"), document.get("message")
    code = document.get("exit_code")
    if not (isinstance(identity, str) and isinstance(message, str) and type(code) is int
            and message and 0 < code < 256):
        raise _senseless()
    return Failure(identity, message, code)


def _senseless() -> EcfsError:
    return EcfsError("the answer of the mount's process makes no sense; see its log")


def status_of(record: MountRecord) -> Json:
    """`ecfs.status/1` of a mounted pool."""
    return ask(record, {"request": "status"}, timeout_s=STATUS_TIMEOUT_S)
