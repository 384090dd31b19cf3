"""A write that was answered and is not done yet is seen by whoever asks for anything next."""

from collections.abc import Awaitable, Callable

import pytest

from ecfs.base.ids import InodeId
from ecfs.content import Files
from tests.unit.content.simulated import files_world

INODE = InodeId(10)


async def read(files: Files) -> bytes:
    return bytes(await files.read(INODE, 0, 100))


async def size(files: Files) -> bytes:
    return b"old new"[:files.size(INODE)]


async def pending(files: Files) -> bytes:
    found = files.pending(INODE)
    return b"old new"[:found[0]] if found else b""


async def flush(files: Files) -> bytes:
    await files.flush(INODE)
    assert files.flusher.dirty_len == 0
    return await read(files)


async def extend(files: Files) -> bytes:
    await files.truncate(INODE, 8)
    return (await read(files)).rstrip(b"\0")


async def copy(files: Files) -> bytes:
    await files.copy(INODE, 0, InodeId(11), 0, 100)
    return bytes(await files.read(InodeId(11), 0, 100))


@pytest.mark.parametrize("look", [read, size, pending, flush, extend, copy])
async def test_whoever_looks_sees_it(look: Callable[[Files], Awaitable[bytes]]) -> None:
    async with files_world() as world:
        promises = world.files.flusher.promises
        promises.postpones = True
        files = world.files
        await files.write(INODE, 0, b"old ")
        promises.keep()
        await files.write(INODE, 4, b"new")
        assert promises.due is not None and files.flusher.dirty_len == 4
        assert await look(files) == b"old new"


async def test_writes_that_follow_each_other_are_all_there() -> None:
    async with files_world() as world:
        world.files.flusher.promises.postpones = True
        for number in range(5):
            await world.files.write(INODE, 3 * number, b"%03d" % number)
        assert await read(world.files) == b"000001002003004"
        world.check_accounting()
        assert world.files.flusher.dirty_len == 15
