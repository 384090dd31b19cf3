"""Which files the kernel is told to write past its page cache."""

import os
from collections.abc import Awaitable
from typing import cast

import pytest

from ecfs.base.ids import ROOT_INODE
from ecfs.base.world import SystemClock
from ecfs.driver import fuse_protocol as fuse
from ecfs.driver.fuse_loop import Request
from ecfs.driver.fuse_protocol import Opcode
from ecfs.driver.kernel_transport import KernelTransport
from ecfs.testing.memory_volume import MemoryVolume

NEW, OLD = fuse.MINOR_DIRECT_MIN, fuse.MINOR_DIRECT_MIN - 1


@pytest.mark.parametrize(("minor", "writeback", "flags", "wanted"), [
    (NEW, False, os.O_WRONLY, fuse.OPEN_DIRECT_IO),
    (NEW + 1, False, os.O_WRONLY | os.O_APPEND | os.O_EXCL, fuse.OPEN_DIRECT_IO),
    (NEW, False, os.O_RDWR, fuse.OPEN_KEEP_CACHE),
    (NEW, False, os.O_RDONLY, fuse.OPEN_KEEP_CACHE),
    (NEW, False, os.O_WRONLY | os.O_SYNC, fuse.OPEN_KEEP_CACHE),
    (NEW, False, os.O_WRONLY | os.O_DSYNC, fuse.OPEN_KEEP_CACHE),
    (OLD, False, os.O_WRONLY, fuse.OPEN_KEEP_CACHE),
    (NEW, True, os.O_WRONLY, fuse.OPEN_KEEP_CACHE),
])  # fmt: skip
@pytest.mark.parametrize("opcode", [Opcode.CREATE, Opcode.TMPFILE])
async def test_what_is_only_written_goes_past_the_cache_of_a_kernel_that_minds_it(
        minor: int, writeback: bool, flags: int, wanted: int, opcode: Opcode) -> None:
    transport = KernelTransport(
        MemoryVolume(SystemClock()), writeback=writeback, entry_timeout_s=1,
        attribute_timeout_s=1, read_ahead_len=1 << 20, notify=lambda code, body: None)
    handlers = transport.handlers()
    handlers[Opcode.INIT](_request(Opcode.INIT, fuse.INIT_IN.pack(fuse.MAJOR, minor, 0, 0)))
    reply = await cast("Awaitable[bytes]", handlers[opcode](_request(
        opcode, fuse.CREATE_IN.pack(flags | os.O_CREAT, 0o644, 0, 0) + b"name\0")))
    _, told, _ = fuse.OPEN_OUT.unpack(reply[-fuse.OPEN_OUT.size:])
    assert told == wanted


def _request(opcode: Opcode, body: bytes) -> Request:
    return Request(opcode, 1, ROOT_INODE, 0, 0, memoryview(body))
