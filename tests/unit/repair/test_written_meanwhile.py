"""What is written while a target is replaced has all its shards, whatever becomes of that."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from ecfs.base.errors import ReadOnly
from ecfs.repair import replace_target, scrub
from ecfs.repair.mending import catch_up
from ecfs.stripes import Written
from ecfs.testing.pools import Opening
from ecfs.volume import membership
from tests.crash.world import some_bytes
from tests.unit.repair.sites import POOLS, Died, Site, holds_everything

LATER = {b"later%d" % number: some_bytes((number, 7), 200_000) for number in range(3)}
ALL = pytest.mark.parametrize(("site", "lost_count"), [(pool, pool[2]) for pool in POOLS],
                              indirect=["site"])


def meanwhile(patch: pytest.MonkeyPatch, do: Callable[[], Awaitable[None]]) -> None:
    """Done when the new target is known and its columns are not its yet."""
    join = membership._join

    async def joins(*asked: Any) -> bool:
        await do()
        return await join(*asked)

    patch.setattr(membership, "_join", joins)


async def write_later(opening: Opening) -> None:
    for name, data in LATER.items():
        await opening.shell.write(name, data)
        await opening.volume.fsync(None)


async def holds_later(opening: Opening) -> None:
    found = await opening.shell.contents()
    assert {name: found[name] for name in LATER} == LATER


def check_columns(opening: Opening) -> None:
    """All are on targets of the pool."""
    for entry in opening.volume.files.index.segments.values():
        assert all(opening.volume.fleet.get(one) is not None for one in entry.columns)


@ALL
@pytest.mark.parametrize("dies", [False, True])
async def test_where_the_new_target_does_not_come_after_all(
        site: Site, lost_count: int, dies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one has the shards, and the same command is not refused later."""
    await site.make()
    with monkeypatch.context() as patch:
        async with site.ground.open_and_crash() as opening:

            async def ends() -> None:
                await write_later(opening)
                raise Died if dies else ReadOnly("too few targets hold the records")

            meanwhile(patch, ends)
            with pytest.raises(Died if dies else ReadOnly):
                await replace_target(opening.volume, site.old, site.new)
            check_columns(opening)
    site.disks.crash()
    site.lose(lost_count)
    async with site.ground.open() as opening:
        check_columns(opening)
        await holds_everything(opening)
        await holds_later(opening)
    site.lost = set()
    async with site.ground.open() as opening:
        for member in opening.volume.fleet:
            await catch_up(opening.volume, member)
        assert (await replace_target(opening.volume, site.old, site.new)).complete
        assert not (await scrub(opening.volume)).bad_count
        await holds_later(opening)


@ALL
async def test_where_the_old_one_is_lost_and_the_new_one_does_not_come(
        site: Site, lost_count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies on all others has room for a column on the new one, which has most."""
    await site.make()
    site.lost = {site.old}
    async with site.ground.open() as opening:

        async def ends() -> None:
            await write_later(opening)
            raise ReadOnly("too few targets hold the records")

        with monkeypatch.context() as patch:
            meanwhile(patch, ends)
            with pytest.raises(ReadOnly):
                await replace_target(opening.volume, site.old, site.new)
        check_columns(opening)
        await holds_later(opening)
        assert (await replace_target(opening.volume, site.old, site.new)).complete
        assert not (await scrub(opening.volume)).bad_count


@ALL
async def test_where_it_comes_and_others_go_before_it_is_filled(
        site: Site, lost_count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one, which is read from until then, has the shards."""
    async def dies(*_: object) -> int:
        raise Died

    await site.make()
    with monkeypatch.context() as patch:
        patch.setattr("ecfs.repair.rebuilding.catch_up", dies)
        patch.setattr("ecfs.repair.mending.catch_up", dies)
        async with site.ground.open_and_crash() as opening:

            async def writes() -> None:
                await write_later(opening)

            meanwhile(patch, writes)
            with pytest.raises(Died):
                await replace_target(opening.volume, site.old, site.new)
            check_columns(opening)
            await opening.shell.write(b"last", b"l" * 90_000)
            await opening.volume.fsync(None)
            old = next(one for one in opening.volume.fleet if one.path == site.new).source
            assert old is not None and old.path == site.old
    site.disks.crash()
    site.lose(lost_count)
    async with site.ground.open(paths=(*site.paths, site.new)) as opening:
        await holds_everything(opening)
        await holds_later(opening)
        assert await opening.shell.read(b"last") == b"l" * 90_000


@pytest.mark.parametrize("site", [POOLS[0]], indirect=True)
async def test_a_stripe_that_is_on_its_way_when_it_begins(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place was chosen before; it lacks no shard."""
    await site.make()
    async with site.ground.open() as opening:
        volume = opening.volume
        append, sync = volume.store._write_records, volume.store.sync
        begun, sealed = trio.Event(), trio.Event()
        missed: list[frozenset[bytes]] = []

        async def late(*asked: Any) -> frozenset[bytes]:
            sealed.set()
            await begun.wait()
            return await append(*asked)

        async def noted(stripes: Any) -> Any:
            outcome = await sync(stripes)
            missed.extend(one.missed for one in outcome if isinstance(one, Written))
            return outcome

        async def begins() -> None:
            begun.set()

        monkeypatch.setattr(volume.store, "sync", noted)
        with monkeypatch.context() as patch:
            meanwhile(patch, begins)
            async with trio.open_nursery() as nursery:
                # The checkpoint that an exchange begins with is over by then.
                prepare = membership._prepare

                async def prepares(*asked: Any) -> None:
                    patch.setattr(volume.store, "_write_records", late)
                    nursery.start_soon(write_later, opening)
                    await sealed.wait()
                    await prepare(*asked)

                patch.setattr(membership, "_prepare", prepares)
                assert (await replace_target(volume, site.old, site.new)).complete
        assert missed and not any(missed)
        await holds_later(opening)
        assert not (await scrub(volume)).bad_count
