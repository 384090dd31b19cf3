"""A change that a program was told of, and that then cannot be made: nothing builds on it, nobody
is told again that all is well, and all that came before is safe."""

import pytest

from ecfs.base.errors import Damage, ReadOnly
from ecfs.base.ids import ROOT_INODE
from ecfs.base.promises import keep_all
from ecfs.driver import Requests
from ecfs.formats import SEGMENTS_FOLDER
from ecfs.observe import EventKind
from ecfs.volume import Volume
from tests.unit.volume.simulated import Pool, get, put

pytestmark = pytest.mark.usefixtures("remembered_keys")


async def unlink_in_vain(volume: Volume, pool: Pool, name: bytes) -> None:
    """The name and its inode can be read, the pages of what has no name cannot any more."""
    for promises in volume.promises:
        promises.postpones = True
    volume.tree.lookup(ROOT_INODE, name)
    pool.fail_on(methods=("read",), folder=SEGMENTS_FOLDER)
    assert volume.tree.unlink(ROOT_INODE, name).nlink == 0


async def test_a_change_that_is_lost_is_the_last_and_every_sync_says_so(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"old", b"o" * 9000)
    seen = False
    with pytest.raises(Damage):
        async with pool.mounted() as volume:
            await put(volume, b"new", b"n" * 900)
            await put(volume, b"unsynced", b"u" * 900, sync=False)
            await unlink_in_vain(volume, pool, b"old")
            with pytest.raises(Damage):
                keep_all(volume.promises, answered=True)
            assert "told of is lost" in volume.read_only and "ecfs fsck" in volume.read_only
            assert volume.status().state == "read_only"
            assert volume.journal.count(EventKind.CHANGE_LOST) == 1
            with pytest.raises(ReadOnly):
                volume.admit(grows=False)
            assert volume.tree.lookup(ROOT_INODE, b"old").nlink == 1
            for _ in range(2):
                with pytest.raises(Damage):
                    await volume.fsync(ROOT_INODE)
            # What was written before is still made durable at the end, which raises all the same.
            pool.heal()
            seen = True
    assert seen
    async with pool.mounted() as volume:
        assert await get(volume, b"old") == b"o" * 9000
        assert await get(volume, b"new") == b"n" * 900
        assert await get(volume, b"unsynced") == b"u" * 900


async def test_a_change_that_fails_before_it_is_answered_is_its_callers_alone(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"old", b"o" * 9000)
    async with pool.mounted() as volume:
        await put(volume, b"new", b"n" * 900)
        await unlink_in_vain(volume, pool, b"old")
        with pytest.raises(Damage):
            keep_all(volume.promises, answered=False)
        pool.heal()
        assert not volume.read_only and not volume.journal.count(EventKind.CHANGE_LOST)
        assert volume.tree.lookup(ROOT_INODE, b"old").nlink == 1
        volume.tree.unlink(ROOT_INODE, b"old")
        await volume.fsync(ROOT_INODE)
    async with pool.mounted() as volume:
        assert volume.tree.find(ROOT_INODE, b"old") is None


async def test_an_unlink_that_fails_is_told_of_though_nobody_has_the_file_open(pool: Pool) -> None:
    """Its rows are dropped at once then, by who never fails."""
    async with pool.mounted() as volume:
        await put(volume, b"old", b"o" * 9000)
    async with pool.mounted() as volume:
        for promises in volume.promises:
            promises.postpones = True
        requests = Requests(volume, lambda inode: None)
        volume.tree.lookup(ROOT_INODE, b"old")
        pool.fail_on(methods=("read",), folder=SEGMENTS_FOLDER)
        with pytest.raises(Damage):
            await requests.unlink(ROOT_INODE, b"old")
        pool.heal()
        assert not volume.read_only and await get(volume, b"old") == b"o" * 9000
