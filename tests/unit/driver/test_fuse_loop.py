"""The request loop over a socket in place of the kernel's device."""

import errno
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import trio

from ecfs.base.errors import FsError
from ecfs.base.patience import Patience
from ecfs.base.world import SystemClock
from ecfs.driver.fuse_loop import Answer, Reply, Request, RequestLoop
from ecfs.driver.fuse_protocol import IN_HEADER, OUT_HEADER
from ecfs.driver.idle_cores import IdleCores

FORGETFUL, PROMPT, SLOW, FAILING = 1001, 1002, 1003, 1004
UNIQUE = 7


@dataclass
class Device:
    """The kernel's end. `seen`: at each call of `answered`, the replies that had come by then."""

    kernel: socket.socket
    seen: list[list[tuple[int, int]]] = field(default_factory=list)

    def ask(self, opcode: int) -> None:
        self.kernel.send(IN_HEADER.pack(IN_HEADER.size, opcode, UNIQUE, 1, 0, 0, 0, 0, 0))

    def replies(self) -> list[tuple[int, int]]:
        """`(unique, error)` of each reply that waits to be read."""
        found: list[tuple[int, int]] = []
        while True:
            try:
                data = self.kernel.recv(1 << 12, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            _, error, unique = OUT_HEADER.unpack_from(data)
            found.append((unique, error))

    def answered(self) -> None:
        self.seen.append(self.replies())


@pytest.fixture
def device() -> Iterator[tuple[Device, socket.socket]]:
    kernel, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.setblocking(False)
    with kernel, server:
        yield Device(kernel), server


async def served(device: Device, server: socket.socket, opcode: int,
                 handler: Callable[[Request], Answer]) -> None:
    clock = SystemClock()
    loop = RequestLoop(server.fileno(), {opcode: handler}, Patience(
        clock, cores_count=1, window_ns_max=1), IdleCores(clock, None), device.answered,
        tasks_count=2)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.run)
            device.ask(opcode)
            while not any(device.seen[-1:]) and opcode != FORGETFUL:
                await trio.sleep(0.001)
            while not device.seen:
                await trio.sleep(0.001)
            device.kernel.shutdown(socket.SHUT_WR)


async def test_who_asked_has_the_reply_before_what_was_promised_is_done(
        device: tuple[Device, socket.socket]) -> None:
    await served(*device, PROMPT, lambda request: b"reply")
    assert device[0].seen == [[(UNIQUE, 0)]]


async def test_a_refusal_is_a_reply(device: tuple[Device, socket.socket]) -> None:
    def refuse(request: Request) -> Answer:
        raise FsError(errno.EBUSY)

    await served(*device, FAILING, refuse)
    assert device[0].seen == [[(UNIQUE, -errno.EBUSY)]]


async def test_what_is_promised_is_done_where_nothing_is_replied(
        device: tuple[Device, socket.socket]) -> None:
    await served(*device, FORGETFUL, lambda request: None)
    assert device[0].seen == [[]]


async def test_who_waits_lets_what_was_promised_be_done_before_and_after(
        device: tuple[Device, socket.socket]) -> None:
    """Before, because others go on meanwhile; after, because he may have promised more."""
    async def wait() -> Reply:
        await trio.sleep(0.001)
        return b"reply"

    await served(*device, SLOW, lambda request: wait())
    assert device[0].seen == [[], [(UNIQUE, 0)]]
