"""Ranges of open files: what is allowed, what there is room for, what it does to privileges."""

import errno
import os
import stat
from collections.abc import Awaitable

import pytest

from ecfs.base.errors import EcfsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.base.limits import FILE_LEN_MAX
from ecfs.driver import Requests
from ecfs.testing.memory_volume import MemoryVolume
from tests.unit.driver.conftest import TickingClock

ROOM = 1 << 20


@pytest.fixture
def volume() -> MemoryVolume:
    return MemoryVolume(TickingClock(), total_len=ROOM)


async def refused(number: int, action: Awaitable[object]) -> None:
    with pytest.raises(EcfsError) as caught:
        await action
    assert caught.value.errno == number


async def new_file(requests: Requests, name: bytes, mode: int = 0o644) -> InodeId:
    created = await requests.create_file(ROOT_INODE, name, mode=mode, uid=0, gid=0)
    return created.attributes.inode


async def test_room_is_asked_for_what_is_not_there_yet(requests: Requests) -> None:
    inode = await new_file(requests, b"f")
    await requests.write(inode, 0, b"x" * (ROOM // 2), kill_privileges=False)
    allocate = requests.ranges.allocate
    await allocate(inode, 0, ROOM, 0, kill_privileges=False)
    await allocate(inode, 0, ROOM // 2, 1, kill_privileges=False)
    await refused(errno.ENOSPC, allocate(inode, ROOM, ROOM // 2 + 1, 0, kill_privileges=False))
    await refused(errno.ENOSPC, allocate(inode, 0, 2 * ROOM, 1, kill_privileges=False))
    assert requests.stat(inode).attributes.size == ROOM


@pytest.mark.parametrize("mode", [2, 4, 8, 0x10 | 2, 0x20, 0x40, 0x80])
async def test_other_modes_are_refused(requests: Requests, mode: int) -> None:
    inode = await new_file(requests, b"f")
    await refused(errno.EOPNOTSUPP,
                  requests.ranges.allocate(inode, 0, 1, mode, kill_privileges=False))


async def test_nothing_reaches_past_the_largest_size(requests: Requests) -> None:
    inode = await new_file(requests, b"f")
    other = await new_file(requests, b"g")
    await refused(errno.EFBIG, requests.ranges.allocate(inode, FILE_LEN_MAX, 1, 0,
                                                        kill_privileges=False))
    await refused(errno.EFBIG, requests.ranges.copy(inode, 0, other, FILE_LEN_MAX, 1,
                                                    kill_privileges=False))


async def test_a_full_volume_punches_but_does_not_grow(requests: Requests,
                                                       volume: MemoryVolume) -> None:
    inode = await new_file(requests, b"f")
    await requests.write(inode, 0, b"x" * 10_000, kill_privileges=False)
    volume.full = True
    await requests.ranges.allocate(inode, 0, 8192, 3, kill_privileges=False)
    assert requests.stat(inode).blocks == 8
    await refused(errno.ENOSPC, requests.ranges.allocate(inode, 0, 1, 0, kill_privileges=False))
    await refused(errno.ENOSPC, requests.ranges.copy(inode, 0, inode, 20_000, 10,
                                                     kill_privileges=False))


async def test_what_changes_a_file_takes_privileges(requests: Requests,
                                                    stale: list[InodeId]) -> None:
    source = await new_file(requests, b"s")
    await requests.write(source, 0, b"content", kill_privileges=False)
    for number, mode in enumerate((0, 1, 3, 0x10)):
        inode = await new_file(requests, b"f%d" % number, 0o6755)
        await requests.ranges.allocate(inode, 0, 10, mode, kill_privileges=False)
        assert stat.S_IMODE(requests.stat(inode).attributes.mode) == 0o6755
        await requests.ranges.allocate(inode, 0, 10, mode, kill_privileges=True)
        assert stat.S_IMODE(requests.stat(inode).attributes.mode) == 0o755
        assert stale[-1] == inode
    inode = await new_file(requests, b"g", 0o4755)
    assert await requests.ranges.copy(source, 0, inode, 3, 99, kill_privileges=True) == 7
    assert stat.S_IMODE(requests.stat(inode).attributes.mode) == 0o755
    assert bytes(await requests.read(inode, 0, 99)) == b"\0\0\0content"


async def test_seeking_past_the_end_finds_nothing(requests: Requests) -> None:
    inode = await new_file(requests, b"f")
    seek = requests.ranges.seek
    await refused(errno.ENXIO, seek(inode, 0, os.SEEK_DATA))
    await requests.write(inode, 4096, b"x", kill_privileges=False)
    assert await seek(inode, 0, os.SEEK_DATA) == 4096
    assert await seek(inode, 0, os.SEEK_HOLE) == 0
    assert await seek(inode, 4096, os.SEEK_HOLE) == 4097
    await refused(errno.ENXIO, seek(inode, 4097, os.SEEK_HOLE))
    await refused(errno.EINVAL, seek(inode, 0, os.SEEK_SET))


async def test_an_unnamed_file_goes_once_it_is_forgotten(requests: Requests,
                                                    volume: MemoryVolume) -> None:
    made = await requests.create_unnamed(ROOT_INODE, mode=0o600, uid=1, gid=2, umask=0)
    inode = made.attributes.inode
    await requests.write(inode, 0, b"x", kill_privileges=False)
    assert volume.tree.orphans(9) == [inode]
    requests.forget(inode, 1)
    await requests.tidy()
    assert volume.tree.orphans(9) == [] and not volume.files.knows(inode)


async def test_an_unnamed_file_that_gets_a_name_stays(requests: Requests,
                                                      volume: MemoryVolume) -> None:
    made = await requests.create_unnamed(ROOT_INODE, mode=0o600, uid=1, gid=2, umask=0)
    inode = made.attributes.inode
    await requests.link(inode, ROOT_INODE, b"named")
    requests.forget(inode, 2)
    await requests.tidy()
    assert volume.tree.lookup(ROOT_INODE, b"named").inode == inode
    await requests.unlink(ROOT_INODE, b"named")
    assert volume.tree.orphans(9) == []


async def test_an_unlinked_file_gets_no_name_again(requests: Requests) -> None:
    inode = await new_file(requests, b"f")
    await requests.unlink(ROOT_INODE, b"f")
    await refused(errno.ENOENT, requests.link(inode, ROOT_INODE, b"again"))
