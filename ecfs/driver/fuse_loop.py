"""Reading requests from the kernel's device, answering them, and never waiting needlessly."""

import errno
import logging
import os
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final

import trio

from ecfs.base.limits import REQUEST_LEN_MAX, REQUESTS_BETWEEN_YIELDS_MAX
from ecfs.base.patience import Patience
from ecfs.base.units import KIB
from ecfs.driver.errnos import errno_of
from ecfs.driver.fuse_protocol import (
    BODY_LEN_MIN,
    IN_HEADER,
    INODE_COUNT,
    LONG_LEN,
    OUT_HEADER,
    PAGE_LEN,
    UNANSWERED,
)
from ecfs.driver.idle_cores import IdleCores

_log = logging.getLogger("ecfs.driver")

# What the device says once there is no mount behind it: ENODEV when it is asked after the end, and
# ECONNABORTED when the end came between a request's leaving the queue and its copy to the reader.
CONNECTION_ENDED = frozenset({errno.ENODEV, errno.ECONNABORTED})

READ_LEN = REQUEST_LEN_MAX + 2 * PAGE_LEN
"""What the kernel must be offered at least: the longest request and its header."""

BYTES_AS_A_REQUEST = 64 * KIB
"""A long request keeps the loop for as long as some short ones."""

Reply = bytes | bytearray | memoryview | None
REPLY_TYPES: Final = (bytes, NoneType, bytearray, memoryview)
Answer = Reply | Coroutine[Any, Any, Reply]


@dataclass(slots=True)
class Request:
    """One request. `body` of less than LONG_LEN is only valid until the handler waits: it must copy
    what it needs. A longer one never changes."""

    opcode: int
    unique: int
    inode: int
    uid: int
    gid: int
    body: memoryview


Handler = Callable[[Request], Answer]


class RequestLoop:
    """A pool of tasks of which one, the leader, reads the device.

    The leader handles a request itself, in place. Only when a handler is about to wait does it let
    another task lead; most requests never wait, so they cost one read and one write and no trip
    through the scheduler. Handlers return a reply, None for no reply at all, or a coroutine of one.
    `answered` is called after each reply, before anything else: the caller goes on meanwhile.
    """

    def __init__(self, fd: int, handlers: dict[int, Handler], patience: Patience,
                 idle_cores: IdleCores, answered: Callable[[], None], *, tasks_count: int) -> None:
        self._fd = fd
        self._answered = answered
        self._patience = patience
        self._idle_cores = idle_cores
        self._tasks_count = tasks_count
        self._handlers = handlers
        self._view = memoryview(bytearray(READ_LEN))
        self._after_long = False
        self._leader: int | None = None
        self._idle = trio.lowlevel.ParkingLot()
        self._ended = False
        self._waiting_count = 0

    async def run(self) -> None:
        """Serve until the kernel ends the connection."""
        async with trio.open_nursery() as nursery:
            for number in range(self._tasks_count):
                nursery.start_soon(self._work, number)

    def notify(self, code: int, body: bytes) -> None:
        """Tell the kernel something unasked."""
        self._send(0, code, body)

    async def _work(self, number: int) -> None:
        while not self._ended:
            if self._leader is not None:
                await self._idle.park()
                continue
            self._leader = number
            try:
                await self._lead(number)
            finally:
                self._step_down(number)

    async def _lead(self, number: int) -> None:
        handled_count = 0
        while self._leader == number:
            data = self._read()
            if data is None and not self._waiting_count:
                # Else the loop is needed, for what some handler waits for.
                data = self._patience.ask(self._read)
            if data is None:
                handled_count = 0
                await trio.lowlevel.wait_readable(self._fd)
                self._patience.woke()
                continue
            if not data:
                self._ended = True
                self._idle.unpark_all()
                return
            self._idle_cores.served()
            rest = self._handle(number, data)
            self._answered()
            if rest is not None:
                await rest
            handled_count += 1 + len(data) // BYTES_AS_A_REQUEST
            if handled_count >= REQUESTS_BETWEEN_YIELDS_MAX:
                handled_count = 0
                await trio.lowlevel.checkpoint()

    def _step_down(self, number: int) -> None:
        if self._leader == number:
            self._leader = None
            self._idle.unpark()

    def _read(self) -> memoryview | None:
        """The next request; None if there is none now, empty if never again.

        A short one lies in a buffer that the next one is read into, see `Request`. After a long one
        the next is read into an object of its own, since it will be long too: so what is written
        is not copied. (Always to do so makes short requests a quarter slower.)
        """
        while True:
            try:
                if self._after_long:
                    data = memoryview(os.read(self._fd, READ_LEN))
                    self._after_long = len(data) >= LONG_LEN
                    return data
                length = os.readv(self._fd, (self._view,))
                if length < LONG_LEN:
                    return self._view[:length]
                self._after_long = True
                return memoryview(bytes(self._view[:length]))
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in CONNECTION_ENDED:
                    return memoryview(b"")
                if error.errno not in (errno.ENOENT, errno.EINTR):
                    raise

    def _handle(self, number: int, data: memoryview) -> Coroutine[Any, Any, None] | None:
        """Answer a request; if its handler waits, another task leads, and this is to be awaited."""
        length = len(data)
        if length < IN_HEADER.size:
            # It names no request that could be answered.
            _log.error("a request of %d bytes is passed over", length)
            return None
        told, opcode, unique, inode, uid, gid, _, _, _ = IN_HEADER.unpack_from(data)
        handler = self._handlers.get(opcode)
        if handler is None:
            self._refuse(opcode, unique, errno.ENOSYS)
        elif told != length or length - IN_HEADER.size < BODY_LEN_MIN.get(opcode, 0):
            self._refuse(opcode, unique, errno.EINVAL)
        elif inode >= INODE_COUNT:
            self._refuse(opcode, unique, errno.ESTALE)
        else:
            request = Request(opcode, unique, inode, uid, gid, data[IN_HEADER.size:])
            try:
                answer = handler(request)
                if isinstance(answer, REPLY_TYPES):
                    reply: Reply = answer
                else:
                    try:
                        trap = answer.send(None)
                    except StopIteration as done:
                        reply = done.value
                    else:
                        self._step_down(number)
                        self._waiting_count += 1
                        return self._wait_for(request, handler, answer, trap)
            except Exception as error:
                self._refuse(opcode, unique, errno_of(error, handler.__name__))
                return None
            if reply is not None:
                self._send(unique, 0, reply)
        return None

    async def _wait_for(self, request: Request, handler: Handler,
                        answer: Coroutine[Any, Any, Reply], trap: object) -> None:
        try:
            reply = await _Begun(answer, trap)
        except Exception as error:
            self._refuse(request.opcode, request.unique, errno_of(error, handler.__name__))
        else:
            if reply is not None:
                self._send(request.unique, 0, reply)
        finally:
            self._waiting_count -= 1
            self._answered()

    def _refuse(self, opcode: int, unique: int, number: int) -> None:
        if opcode not in UNANSWERED:
            self._send(unique, -number)

    def _send(self, unique: int, error: int, body: bytes | bytearray | memoryview = b"") -> None:
        header = OUT_HEADER.pack(OUT_HEADER.size + len(body), error, unique)
        try:
            if len(body) < LONG_LEN:
                os.write(self._fd, header + body)
            else:
                os.writev(self._fd, (header, body))
        except OSError as failure:
            # ENOENT: the caller was interrupted and waits no more.
            if failure.errno != errno.ENOENT and failure.errno not in CONNECTION_ENDED:
                _log.error("the kernel refused the reply to request %d: %s", unique, failure)


class _Begun:
    """Awaits the rest of a coroutine that was begun by hand and now waits with `trap`.

    In the same task: what the coroutine entered in trio's books by then is this task's.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Reply], trap: object) -> None:
        self._coroutine = coroutine
        self._trap = trap

    def __await__(self) -> Generator[Any, Any, Reply]:
        trap = self._trap
        while True:
            try:
                value = yield trap
            except BaseException as error:
                try:
                    trap = self._coroutine.throw(error)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]  # a generator's is untyped
            else:
                try:
                    trap = self._coroutine.send(value)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]  # as above
