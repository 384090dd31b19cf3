"""Targets: both sides of the control socket of a mounted pool."""

import json
import os
import socket
from collections.abc import Iterator
from io import BytesIO
from typing import Any, cast

import trio

from ecfs.base.errors import EcfsError
from ecfs.cli.control import ControlServer
from ecfs.cli.control_client import result_in
from ecfs.cli.engine import OpenPool, Step, StepTaker
from ecfs.testing.fuzzing.target import INPUT_LEN_MAX, FuzzTarget, expect

BUG_ID = "E-BUG"


class _Pool:
    """An open pool that does with its arguments what the real one does: uses them as paths."""

    def status(self) -> dict[str, Any]:
        """A small report."""
        return {"schema": "ecfs.status/1"}

    async def scrub(self, progress: StepTaker) -> dict[str, Any]:
        """Two steps."""
        progress(Step(1, 2))
        await trio.lowlevel.checkpoint()
        progress(Step(2, 2))
        return {"schema": "ecfs.scrub/1"}

    async def replace(self, old: str, new_path: str, progress: StepTaker) -> dict[str, Any]:
        """Looks at the new path."""
        os.fsencode(old)
        try:
            os.stat(new_path)
        except OSError:
            raise EcfsError(f"there is no directory {new_path}, {old} stays") from None
        return {"schema": "ecfs.rebuild/1"}

    async def sync(self) -> None:
        """At once."""


class _OneConnection:
    """A listener with one connection, and none after it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream: trio.SocketStream | None = stream

    async def accept(self) -> trio.SocketStream:
        """The connection, or nothing for ever."""
        stream, self._stream = self._stream, None
        if stream is None:
            await trio.sleep_forever()
            raise AssertionError("unreachable")
        return stream


def control_request(data: bytes) -> None:
    """What a client sends: answered by lines of JSON, the last a result or a foreseen error."""
    lines = [json.loads(line) for line in trio.run(_answers, data[:INPUT_LEN_MAX]).splitlines()]
    expect(len(lines) > 0, "no answer")
    for line in lines[:-1]:
        expect(set(line) == {"progress"}, f"not a step: {line!r}"[:200])
    error = lines[-1].get("error")
    expect("result" in lines[-1] or error is not None, f"no end: {lines[-1]!r}"[:200])
    if error is not None:
        expect(error["id"] != BUG_ID, error["message"])
        expect(len(error["message"]) < 4096, "an error as long as what caused it")


async def _answers(data: bytes) -> bytes:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    client = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    server = ControlServer(cast(OpenPool, _Pool()))
    content = b""
    async with trio.open_nursery() as nursery, client:
        nursery.start_soon(server.run, cast(trio.SocketListener, _OneConnection(stream)))
        nursery.start_soon(_send, client, data)
        try:
            async for part in client:
                content += part
        except trio.BrokenResourceError:
            # The server hung up before it had read all: what it said is there.
            pass
        nursery.cancel_scope.cancel()
    return content


async def _send(client: trio.SocketStream, data: bytes) -> None:
    try:
        await client.send_all(data)
        if b"\n" not in data:
            await client.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        # The server has refused it by now.
        pass


def control_answer(data: bytes) -> None:
    """What a server sends: steps, then a result or an error."""
    steps: list[Step] = []
    result = result_in(BytesIO(data), "/mnt", steps.append)
    expect(isinstance(result, dict), "a result that is no object")
    for step in steps:
        numbers = (step.done_len, step.total_len, step.mended_count, step.bad_count)
        expect(all(type(number) is int for number in numbers), "a step of no numbers")


def _requests() -> Iterator[bytes]:
    for request in ("status", "sync", "scrub", "replace", "odd"):
        yield json.dumps({"request": request, "old": "a", "new": "/nonexistent/b"}).encode() + b"\n"
    yield b'{"request": "replace", "old": "\\u0000", "new": "/a\\u0000b"}\n'
    yield b'{"request": "replace", "old": "\\ud800", "new": "/\\ud800"}\n'
    yield b'{"request": "replace", "old": "a", "new": "' + b"x" * 5000 + b'"}\n'
    yield b'{"request": ' + b"[" * 900 + b"]" * 900 + b"}\n"
    yield b"[" * 60_000 + b"\n"
    yield b'{"request": "' + b"x" * 60_000 + b'"}\n'
    yield b"x" * 70_000


def _answer_seeds() -> Iterator[bytes]:
    yield (b'{"progress": {"done_len": 1, "total_len": 2, "mended_count": 0, "bad_count": 0}}\n'
           b'{"result": {"schema": "ecfs.scrub/1"}}\n')
    yield b'{"error": {"id": "E-X", "message": "no", "exit_code": 12}}\n'
    yield b'{"error": {}}\n'
    yield b'{"error": 1}\n'
    yield b'{"result": 1}\n'
    yield b'{"progress": {"odd": 1}}\n'
    yield b"[" * 5000 + b"\n"
    yield b'{"error": {"id": 1, "message": [], "exit_code": "x"}}\n'


TARGETS = (
    FuzzTarget("control-request", control_request, _requests),
    FuzzTarget("control-answer", control_answer, _answer_seeds, refusals=(EcfsError,)),
)
