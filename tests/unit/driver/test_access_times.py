"""What is noted as a read where access times are kept, and what the kernel is told then."""

import os
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.driver import Requests
from ecfs.driver import fuse_protocol as fuse
from ecfs.driver.attributes import Change
from ecfs.driver.fuse_loop import Request
from ecfs.driver.fuse_protocol import Feature, Opcode
from ecfs.driver.kernel_transport import KernelTransport
from ecfs.testing.memory_volume import MemoryVolume

SET_NS = 7
DESCRIPTOR = os.O_RDWR | os.O_APPEND
Read = Callable[[Requests, InodeId, int], Awaitable[object]]


@pytest.fixture
def requests(volume: MemoryVolume, stale: list[InodeId]) -> Requests:
    return Requests(volume, stale=stale.append, relatime=True)


async def new_file(requests: Requests, name: bytes) -> InodeId:
    """A file with content, whose next read is due."""
    created = await requests.create_file(ROOT_INODE, name, mode=0o644, uid=0, gid=0)
    inode = created.attributes.inode
    await requests.write(inode, 0, b"content", kill_privileges=False)
    await requests.change(inode, Change(atime_ns=SET_NS, mtime_ns=SET_NS))
    return inode


async def read(requests: Requests, inode: InodeId, flags: int) -> None:
    assert await requests.read(inode, 0, 99, flags=flags) == b"content"


async def copy(requests: Requests, inode: InodeId, flags: int) -> None:
    target = await requests.create_file(ROOT_INODE, b"copy", mode=0o644, uid=0, gid=0)
    assert await requests.ranges.copy(inode, 0, target.attributes.inode, 0, 7,
                                      kill_privileges=False, source_flags=flags) == 7


async def entries(requests: Requests, inode: InodeId, flags: int) -> None:
    fh = requests.directories.open(inode)
    assert len(list(requests.directories.entries(fh, 0, flags=flags))) >= 2


async def plain_entries(requests: Requests, inode: InodeId, flags: int) -> None:
    fh = requests.directories.open(inode)
    assert len(list(requests.directories.plain_entries(fh, 0, flags=flags))) >= 2


@pytest.mark.parametrize("how", [read, copy, entries, plain_entries])
async def test_a_read_is_noted_unless_the_descriptor_says_otherwise(
        requests: Requests, how: Read) -> None:
    inode = ROOT_INODE if how in (entries, plain_entries) else await new_file(requests, b"f")
    await requests.change(inode, Change(atime_ns=SET_NS))
    await how(requests, inode, DESCRIPTOR | os.O_NOATIME)
    assert requests.stat(inode).attributes.atime_ns == SET_NS
    if how is copy:
        await requests.unlink(ROOT_INODE, b"copy")
    await how(requests, inode, DESCRIPTOR)
    assert requests.stat(inode).attributes.atime_ns > SET_NS


async def test_the_kernel_hears_of_a_copy_that_was_noted(requests: Requests,
                                                         stale: list[InodeId]) -> None:
    inode = await new_file(requests, b"f")
    await copy(requests, inode, os.O_NOATIME)
    assert stale == []
    await requests.unlink(ROOT_INODE, b"copy")
    await copy(requests, inode, 0)
    assert stale == [inode]
    await requests.unlink(ROOT_INODE, b"copy")
    await copy(requests, inode, 0)
    assert stale == [inode], "a second one is not due"


def transport(volume: MemoryVolume, *, relatime: bool) -> KernelTransport:
    """One that is asked without a kernel."""
    return KernelTransport(volume, writeback=False, entry_timeout_s=1, attribute_timeout_s=1,
                           read_ahead_len=1 << 20, notify=lambda code, body: None,
                           relatime=relatime)


def asked(opcode: Opcode, inode: InodeId, body: bytes) -> Request:
    return Request(opcode, 1, inode, 0, 0, memoryview(body))


@pytest.mark.parametrize("relatime", [True, False])
def test_the_kernel_keeps_links_where_reading_them_is_not_noted(volume: MemoryVolume, *,
                                                                relatime: bool) -> None:
    init = transport(volume, relatime=relatime).handlers()[Opcode.INIT]
    reply = cast("bytes", init(asked(Opcode.INIT, InodeId(0), fuse.INIT_IN.pack(
        fuse.MAJOR, fuse.MINOR, 0, 0xFFFFFFFF))))
    told = fuse.INIT_OUT.unpack(reply)[3]
    assert bool(told & Feature.CACHE_SYMLINKS) != relatime
    assert bool(told & Feature.ATOMIC_O_TRUNC) == relatime


@pytest.mark.parametrize(("flags", "noted"), [
    (os.O_RDONLY, True), (os.O_RDWR | os.O_APPEND, True), (os.O_RDWR | os.O_NOATIME, False)])
async def test_a_copy_goes_by_the_flags_of_the_open(volume: MemoryVolume, flags: int, *,
                                                    noted: bool) -> None:
    one = transport(volume, relatime=True)
    inode, target = await new_file(one.requests, b"f"), await new_file(one.requests, b"to")
    handlers = one.handlers()
    opened = await cast("Awaitable[bytes]", handlers[Opcode.OPEN](
        asked(Opcode.OPEN, inode, fuse.OPEN_IN.pack(flags, 0))))
    fh = fuse.OPEN_OUT.unpack(opened)[0]
    await cast("Awaitable[bytes]", handlers[Opcode.COPY_FILE_RANGE](
        asked(Opcode.COPY_FILE_RANGE, inode,
              fuse.COPY_FILE_RANGE_IN.pack(fh, 0, target, 0, 0, 7, 0))))
    assert (one.requests.stat(inode).attributes.atime_ns != SET_NS) == noted


@pytest.mark.parametrize("opcode", [Opcode.READ, Opcode.READDIR, Opcode.READDIRPLUS])
@pytest.mark.parametrize("flags", [0, os.O_NOATIME])
async def test_a_read_goes_by_the_flags_of_the_request(volume: MemoryVolume, opcode: Opcode,
                                                       flags: int) -> None:
    one = transport(volume, relatime=True)
    inode, fh = await new_file(one.requests, b"f"), 0
    if opcode != Opcode.READ:
        inode, fh = ROOT_INODE, one.requests.directories.open(ROOT_INODE)
        await one.requests.change(inode, Change(atime_ns=SET_NS))
    assert one.handlers()[opcode](asked(opcode, inode, fuse.READ_IN.pack(
        fh, 0, 4096, 0, 0, flags, 0)))
    assert (one.requests.stat(inode).attributes.atime_ns == SET_NS) == bool(flags)
