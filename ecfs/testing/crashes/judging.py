"""Whether a pool comes back from a state that a crash left: mounted, looked at, used, healed."""

from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass

import trio

from ecfs.erasure import quorum_for
from ecfs.repair import FsckMode, check_pool, scrub
from ecfs.repair.walking import segments_of, walk
from ecfs.stripes import StripeRef, StripeStore
from ecfs.testing.crashes.pool import (
    Client,
    CrashPool,
    Disks,
    Images,
    mounted,
    some_bytes,
)
from ecfs.testing.oracle import Oracle
from ecfs.testing.pools import SECRET, Opening
from ecfs.testing.trees import Kind, Seen, snapshot_of
from ecfs.volume.anchor import Anchor

HEAL_WAIT_S = 600.0
MOUNT_WAIT_S = 300.0
FRESH = b"afterwards"


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a state is met: `away` targets at the mount that follows (with `fails_after` they are
    there at first and fail from so many calls on), whether they return while it is mounted, how
    long the new file is, whether it is looked for again with other targets `away_then`, and
    whether all is healed."""

    away: frozenset[str] = frozenset()
    fails_after: int | None = None
    returns: bool = False
    fresh_len: int = 2_000
    keeps: bool = True
    away_then: frozenset[str] = frozenset()
    heals: bool = False


class Lost(AssertionError):
    """The pool did not come back as it must."""


def away_choices(pool: CrashPool, suspects: frozenset[str]) -> list[frozenset[str]]:
    """Which targets may be away while a pool must still mount and take writes: with those that
    lack something no more than m of them."""
    parity = pool.geometry.parity
    quorum = quorum_for(pool.targets_count, parity)
    most = min(parity, quorum.members - quorum.commit)
    found: list[frozenset[str]] = []
    layer = [frozenset[str]()]
    for _ in range(most):
        layer = list(dict.fromkeys(
            away | {path} for away in layer for path in pool.paths if path not in away))
        found += [away for away in layer if len(away | suspects) <= parity]
    return found


class Judge:
    """Judges states of one pool."""

    def __init__(self, pool: CrashPool) -> None:
        self._pool = pool

    async def judge(self, images: Images, oracle: Oracle, anchor: Anchor | None,
                    chosen: Chosen) -> dict[bytes, Seen]:
        """What is found. Raises whatever shows that the pool did not come back."""
        client = Client(anchor)
        disks = Disks(images, chosen.away, fails_after=chosen.fails_after)
        fresh = Seen(Kind.FILE, -1, some_bytes("fresh", chosen.fresh_len))
        with trio.fail_after(MOUNT_WAIT_S + HEAL_WAIT_S):
            if chosen.fails_after is not None and await self._is_stuck(client, disks):
                disks.fails_after = None
            async with self._mounted("judge/1", client, disks) as opening:
                _check_writable(opening)
                found = await snapshot_of(opening.shell)
                oracle.check(found)
                await opening.shell.write(FRESH, fresh.data)
                await opening.shell.fsync(FRESH)
                if chosen.returns:
                    disks.away = frozenset()
                    await opening.volume.tend()
                    await _caught_up(opening)
                    await opening.volume.fsync(None)
            expected = found | {FRESH: fresh}
            disks.crash()
            disks.away, disks.fails_after = chosen.away_then, None
            if chosen.keeps:
                async with self._mounted("judge/2", client, disks) as opening:
                    _check_writable(opening)
                    Oracle(expected).check(await snapshot_of(opening.shell))
                disks.crash()
        if chosen.heals:
            await self._heal(client, disks, expected)
        return found

    async def _is_stuck(self, client: Client, disks: Disks) -> bool:
        """Whether a target that fails in the middle of a mount leaves it read-only: it may have
        been the only one that had the newest record, which was adopted. The next mount, without
        the target, goes on. What this mount left on the others is part of what that one meets."""
        async with self._mounted("judge/0", client, disks) as opening:
            stuck = bool(opening.volume.read_only)
        disks.crash()
        return stuck

    def _mounted(self, seed: str, client: Client,
                 disks: Disks) -> AbstractAsyncContextManager[Opening]:
        return mounted(self._pool.environment(seed, client, disks.open), self._pool.paths)

    async def _heal(self, client: Client, disks: Disks,
                    expected: dict[bytes, Seen]) -> None:
        """With all targets there: nothing is wrong any more after a while and a scrub."""
        pool = self._pool
        disks.away = frozenset()
        async with self._mounted("judge/3", client, disks) as opening:
            await _caught_up(opening)
            first = await scrub(opening.volume)
            again = await scrub(opening.volume)
            if first.unreadable_count or again.bad_count or again.unreadable_count:
                raise Lost(f"scrubs found {first.to_json()} and then {again.to_json()}")
            await _check_encoding(opening)
            if findings := opening.volume.database.integrity_findings():
                raise Lost(f"the database: {findings}")
            await opening.volume.close()
        disks.crash()
        report = await check_pool(pool.paths, SECRET,
                                  pool.environment("judge/4", client, disks.open),
                                  mode=FsckMode.LOOK, force=True)
        if not report.clean:
            raise Lost(f"fsck: {[str(finding) for finding in report.findings]}")
        async with self._mounted("judge/5", client, disks) as opening:
            Oracle(expected).check(await snapshot_of(opening.shell))


async def _caught_up(opening: Opening) -> None:
    """All targets are there and lack nothing."""
    with trio.fail_after(HEAL_WAIT_S):
        while opening.volume.status().state != "healthy":
            await trio.sleep(1.0)


def _check_writable(opening: Opening) -> None:
    if opening.volume.read_only:
        raise Lost(f"the pool is read-only: {opening.volume.read_only}")


async def _check_encoding(opening: Opening) -> None:
    """Every shard on every target is what the code makes of the stripe's data."""
    volume = opening.volume
    for entry, kind, live in segments_of(volume):
        async with aclosing(walk(volume.store, entry, kind, live)) as stripes:
            async for ref, is_live in stripes:
                await _check_stripe(volume.store, ref, is_live=is_live)


async def _check_stripe(store: StripeStore, ref: StripeRef, *, is_live: bool) -> None:
    examination = await store.examine(ref, note=False)
    where = f"segment {ref.segment.id:x} offset {ref.offset:x}"
    if not is_live and examination.faults:
        return
    if set(examination.bodies) != set(range(ref.geometry.shards)):
        raise Lost(f"{where}: of its shards only {sorted(examination.bodies)} are good")
    data = b"".join(bytes(examination.bodies[column]) for column in range(ref.geometry.data))
    fresh = store.code(ref.geometry).encode(data, ref.body_len)
    for column, parity in enumerate(fresh, ref.geometry.data):
        if bytes(parity) != bytes(examination.bodies[column]):
            raise Lost(f"{where} column {column}: not what the code makes of the data")
