"""Making, opening and peeking at pools: what the rooms above call."""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from ecfs.base.errors import ReadOnly
from ecfs.volume.creating import PoolMade, lay_out, note_force, remember
from ecfs.volume.environment import Environment, OpenOptions, PoolOrder, Secret
from ecfs.volume.locate import look_everywhere
from ecfs.volume.membership import resume_exchange
from ecfs.volume.opened import Opened
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
    given, chosen = tuple(paths), options or OpenOptions()
    async with _opened_once(given, secret, environment, chosen, mender) as volume:
        if not _rests_on_what_went(volume.opened):
            yield volume
            return
    # Claim and READ anew, as the next mount would: those that are left tell what was acknowledged.
    async with _opened_once(given, secret, environment, chosen, mender) as volume:
        yield volume


@asynccontextmanager
async def _opened_once(paths: tuple[str, ...], secret: Secret, environment: Environment,
                       chosen: OpenOptions, mender: Mender | None) -> AsyncIterator[Volume]:
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


def _rests_on_what_went(opened: Opened) -> bool:
    """Whether the pool can only be read since all members that had a record of what was adopted
    have failed after it was read, though those that are left are enough to go on without them.
    What they alone had was never acknowledged: else one of those would have it too."""
    chain, view, quorum = opened.chain, opened.view, opened.quorum
    if not opened.read_only or chain is None or view is None:
        return False
    here = {member.id for member in opened.fleet.online()}
    enough = max(quorum.commit, quorum.recover)
    return all(len(here.intersection(opened.claim_holders, group)) >= enough
               for group in opened.groups) and any(
        not here & view.holders[found.commit.epoch, found.commit.seq] for found in chain.records)


async def begin(volume: Volume) -> None:
    """From an opened pool to one in use: its epoch, what a crash cut short, its background."""
    await volume.start()
    if volume.committer is None:
        return
    try:
        await resume_exchange(volume)
    except ReadOnly as error:
        # No root may be made meanwhile: its columns are the new target's, its members the old ones.
        volume.opened.read_only = str(error)
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
