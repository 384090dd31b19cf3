"""Who would be refused for lack of room is refused only once what is dead has given it back."""

import errno

import pytest

from ecfs.base.errors import EcfsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.driver import Requests
from ecfs.driver.errnos import errno_of
from ecfs.testing.memory_volume import MemoryVolume


async def new_file(requests: Requests, name: bytes) -> InodeId:
    created = await requests.create_file(ROOT_INODE, name, mode=0o644, uid=0, gid=0)
    return created.attributes.inode


async def test_room_that_is_given_back_is_used_at_once(requests: Requests,
                                                       volume: MemoryVolume) -> None:
    inode = await new_file(requests, b"f")
    volume.full = volume.may_make_room = True
    await new_file(requests, b"g")
    assert not volume.full
    volume.full = True
    assert await requests.write(inode, 0, b"x" * 5000, kill_privileges=False) == 5000
    assert bytes(await requests.read(inode, 0, 5000)) == b"x" * 5000


async def test_where_nothing_is_dead_it_is_refused(requests: Requests,
                                                   volume: MemoryVolume) -> None:
    inode = await new_file(requests, b"f")
    volume.full = True
    with pytest.raises(EcfsError) as refused:
        await requests.write(inode, 0, b"x", kill_privileges=False)
    assert errno_of(refused.value, "write") == errno.ENOSPC
