"""The control socket of a mounted pool, the side that serves it.

One request a connection: a line of JSON in, lines of JSON out. `{"request": "scrub"}` is answered
by any number of `{"progress": {...}}` and one `{"result": {...}}` or `{"error": {...}}`. Requests:
`status`, `scrub`, `replace` (with `old` and `new`), `sync`. Whoever hangs up stops the work that
was asked for. Only the user who serves the mount, and root, are answered.

One lock, held by scrub and replace: they do not run side by side.
"""

import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path

import trio

from ecfs.base.errors import EcfsError, UsageRefusal
from ecfs.cli.engine import OpenPool, Step
from ecfs.cli.outcome import Json, failure_of

REQUEST_LEN_MAX = 64 << 10
CONNECTIONS_MAX = 8
REQUEST_TIMEOUT_S = 10.0
WORD_LEN_SHOWN_MAX = 100
PATH_LEN_MAX = 4096
_CREDENTIALS = struct.Struct("3i")


@asynccontextmanager
async def listening(path: Path) -> AsyncIterator[trio.SocketListener]:
    """A listening Unix socket with mode 0600; one that a dead process left is replaced.

    Reached through the directory's descriptor: a socket's own path may be 107 bytes at most.
    """
    path.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mask = os.umask(0o177)
        try:
            await listener.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.umask(mask)
        listener.listen(CONNECTIONS_MAX)
        yield trio.SocketListener(listener)
    finally:
        listener.close()
        os.close(directory)
        path.unlink(missing_ok=True)


class ControlServer:
    """Answers requests about one open pool."""

    def __init__(self, pool: OpenPool) -> None:
        self._pool = pool
        self._connections = trio.Semaphore(CONNECTIONS_MAX)
        self._work = trio.Lock()

    async def run(self, listener: trio.SocketListener) -> None:
        """Serves until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._connections.acquire()
                try:
                    stream = await listener.accept()
                except BaseException:
                    self._connections.release()
                    raise
                nursery.start_soon(self._converse, stream)

    async def _converse(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                with _hanging_up():
                    if _is_welcome(stream):
                        await self._answer(stream)
        finally:
            self._connections.release()

    async def _answer(self, stream: trio.SocketStream) -> None:
        try:
            request = await _request_of(stream)
            result = await self._until_hung_up(stream, request)
        except trio.BrokenResourceError:
            raise
        except Exception as error:
            await _send(stream, {"error": failure_of(error).to_json()})
        else:
            if result is not None:
                await _send(stream, {"result": result})

    async def _until_hung_up(self, stream: trio.SocketStream, request: Json) -> Json | None:
        """The result; None if the other side left first, in which case the work was cancelled."""
        result: Json | None = None
        told = trio.Event()
        # One step waits at most: whoever reads slowly sees fewer of them.
        steps, waiting = trio.open_memory_channel[Step](1)
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                with _hanging_up():
                    while await stream.receive_some(REQUEST_LEN_MAX):
                        pass
                nursery.cancel_scope.cancel()

            async def tell() -> None:
                with _hanging_up():
                    async for step in waiting:
                        await _send(stream, {"progress": asdict(step)})
                told.set()

            nursery.start_soon(watch)
            nursery.start_soon(tell)
            async with steps:
                result = await self._perform(request, steps)
            await told.wait()
            nursery.cancel_scope.cancel()
        return result

    async def _perform(self, request: Json, steps: "trio.MemorySendChannel[Step]") -> Json:
        def progress(step: Step) -> None:
            try:
                steps.send_nowait(step)
            except (trio.WouldBlock, trio.BrokenResourceError):
                pass

        match request.get("request"):
            case "status":
                return self._pool.status()
            case "sync":
                await self._pool.sync()
                return {"schema": "ecfs.sync/1"}
            case "scrub":
                return await self._alone(lambda: self._pool.scrub(progress))
            case "replace":
                old, new = _name(request.get("old")), _name(request.get("new"))
                return await self._alone(lambda: self._pool.replace(old, new, progress))
            case other:
                known = f" {other[:WORD_LEN_SHOWN_MAX]!r}" if isinstance(other, str) else ""
                raise UsageRefusal(f"unknown request{known}")

    async def _alone(self, work: Callable[[], Awaitable[Json]]) -> Json:
        try:
            self._work.acquire_nowait()
        except trio.WouldBlock:
            raise EcfsError("a scrub or a replacement is already under way; wait for it") from None
        try:
            return await work()
        finally:
            self._work.release()


def _name(value: object) -> str:
    """The name of a target or a path. UsageRefusal for what no system call would take."""
    if not isinstance(value, str):
        raise UsageRefusal("replace needs the names of the old and the new target")
    try:
        name = os.fsencode(value)
    except UnicodeEncodeError:
        name = b""
    if not 0 < len(name) <= PATH_LEN_MAX or b"\0" in name:
        raise UsageRefusal("replace was asked for with what cannot be the name of a target")
    return value


@contextmanager
def _hanging_up() -> Iterator[None]:
    """Whoever asked may leave at any time; that is no error of ours."""
    try:
        yield
    except trio.BrokenResourceError:
        pass


def _is_welcome(stream: trio.SocketStream) -> bool:
    """Whether the peer is root or the user whom this process runs as."""
    raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return uid in (0, os.geteuid())


async def _request_of(stream: trio.SocketStream) -> Json:
    """The request's line, within its bounds of length and time."""
    content = b""
    with trio.move_on_after(REQUEST_TIMEOUT_S):
        while b"\n" not in content and len(content) <= REQUEST_LEN_MAX:
            more = await stream.receive_some(REQUEST_LEN_MAX)
            if not more:
                break
            content += more
    line, end, rest = content.partition(b"\n")
    if not end or rest:
        raise UsageRefusal("a request is one line of JSON")
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageRefusal("a request is one line of JSON") from None
    if not isinstance(request, dict):
        raise UsageRefusal("a request is a JSON object")
    return request


async def _send(stream: trio.SocketStream, document: Json) -> None:
    await stream.send_all(json.dumps(document, ensure_ascii=True).encode() + b"\n")
