"""Making, opening and peeking at pools: what the rooms above call."""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from ecfs.base.errors import ReadOnly
from ecfs.volume.creating import PoolMade, lay_out, note_force, remember
from ecfs.volume.environment import Environment, OpenOptions, PoolOrder, Secret
from ecfs.volume.looking import look_everywhere
from ecfs.volume.membership import resume_exchange
from ecfs.volume.opening import open_pool
from ecfs.volume.status import PoolStatus, peeked
from ecfs.volume.tending import Tender
from ecfs.volume.volume import Mender, Volume


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
            try:
                volume = Volume(opened, chosen, nursery, mender)
            except BaseException:
                # There is no volume to close.
                opened.close()
                raise
            try:
                await begin(volume)
                yield volume
            finally:
                with trio.CancelScope(shield=True):
                    await volume.close()
    except BaseExceptionGroup as group:
        raise _single(group) from None


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
    made, paths = await trio.to_thread.run_sync(lay_out, order, environment)
    remember(order, made, environment)
    async with open_volume(paths, order.secret, environment, OpenOptions(fresh=True)) as volume:
        volume.tree.format_root(os.getuid(), os.getgid(), 0o755)
    return made


async def peek_pool(paths: Iterable[str], environment: Environment) -> PoolStatus:
    """What labels claim, without a key: not authenticated. NotAPool, UnknownFormat."""
    sightings = await look_everywhere(paths, environment)
    try:
        return peeked(sightings)
    finally:
        for sighting in sightings:
            sighting.close()
