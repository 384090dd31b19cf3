"""Making, opening and peeking at pools: what the rooms above call."""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from ecfs.base.errors import Fenced, InUse, ReadOnly
from ecfs.base.ids import ID_LEN
from ecfs.volume.background import Mender
from ecfs.volume.creating import PoolMade, alone, lay_out, note_force, take_back
from ecfs.volume.environment import Environment, OpenOptions, PoolOrder, Secret
from ecfs.volume.looking import look_everywhere
from ecfs.volume.membership import resume_exchange
from ecfs.volume.opening import open_pool
from ecfs.volume.status import PoolStatus, peeked
from ecfs.volume.tending import Tender
from ecfs.volume.volume import Volume


@asynccontextmanager
async def open_volume(paths: Iterable[str], secret: Secret, environment: Environment,
                      options: OpenOptions | None = None,
                      mender: Mender | None = None) -> AsyncIterator[Volume]:
    """Open a pool; on exit everything is durable and the pool is let go.

    Raises refusals on entry, and on exit what kept something from becoming durable.
    """
    chosen = options or OpenOptions()
    opened = await open_pool(paths, secret, environment, chosen)
    try:
        async with trio.open_nursery() as nursery:
            volume = Volume(opened, chosen, nursery, mender)
            try:
                await begin(volume)
                yield volume
            finally:
                with trio.CancelScope(shield=True):
                    await volume.close()
    except BaseExceptionGroup as group:
        raise _single(group) from None
    finally:
        # Nobody is left who could ask for anything.
        opened.close()


async def begin(volume: Volume) -> None:
    """From an opened pool to one in use: its epoch, what a crash cut short, its background."""
    await volume.start()
    try:
        await resume_exchange(volume)
    except ReadOnly as error:
        # No root may be made meanwhile: its columns are the new target's, its members the old ones.
        volume.opened.read_only = str(error)
        return
    if volume.committer is None:
        return
    tender = Tender(volume)
    volume.background = tender
    volume.nursery.start_soon(tender.run)
    volume.keep_up(tender.tend_always)


def _single(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception in a group of a group, or the group."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner


async def create_pool(order: PoolOrder, environment: Environment) -> PoolMade:
    """Make a pool and an empty file system on it. Raises refusals."""
    # An audit log that cannot be written is told of before anything is made.
    environment.journal().close()
    if order.force:
        note_force(order, environment)
    pool_id = environment.entropy.token(ID_LEN)
    with alone(order, environment):
        try:
            return await _create(order, environment, pool_id)
        except (Fenced, InUse):
            # Somebody has opened it: it is theirs now.
            raise
        except BaseException:
            with trio.CancelScope(shield=True):
                await take_back(order, pool_id, environment)
            raise


async def _create(order: PoolOrder, environment: Environment, pool_id: bytes) -> PoolMade:
    made, paths = await trio.to_thread.run_sync(lay_out, order, environment, pool_id)
    async with open_volume(paths, order.secret, environment, OpenOptions(fresh=True)) as volume:
        volume.tree.format_root(os.getuid(), os.getgid(), 0o755)
    return made


async def peek_pool(paths: Iterable[str], environment: Environment) -> PoolStatus:
    """What labels claim, without a key: not authenticated. NotAPool, UnknownFormat."""
    search = await look_everywhere(paths, environment)
    try:
        return peeked(search.sightings)
    finally:
        search.close()
