"""Three files under random load, with crashes: what is logged, written out and entered agrees.

Each file is blocks of one letter each, so that what may be found after a crash is known block by
block: what it held at the last sync, or anything since.
"""

import random
from collections.abc import Awaitable, Callable

import pytest
import trio

from ecfs.base.errors import AppendRefused, NoSpace, ReadOnly
from ecfs.base.ids import InodeId
from ecfs.formats import KIND_CONTENT
from ecfs.stripes import StripeStore, Written
from ecfs.volume import Volume
from ecfs.volume.appending import RecordWriter
from tests.unit.volume.simulated import Pool, put

ROOT = InodeId(1)
BLOCK = 2048
BLOCKS = 10
NAMES = (b"one", b"two", b"three")
LIVES = 4


class Known:
    """One file: `now` are its blocks; by block, and for the length, what a crash may leave."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.now = [1] * 4
        self.synced()

    def synced(self) -> None:
        self.blocks = [{self._at(self.now, number)} for number in range(BLOCKS)]
        self.counts = {len(self.now)}

    def may_be(self, now: list[int]) -> None:
        for number in range(BLOCKS):
            self.blocks[number].add(self._at(now, number))
        self.counts.add(len(now))

    @staticmethod
    def _at(blocks: list[int], number: int) -> int | None:
        return blocks[number] if number < len(blocks) else None

    def check(self, found: list[int]) -> None:
        assert len(found) in self.counts, (self.name, found, self.counts)
        for number, block in enumerate(found):
            known = self.blocks[number]
            # A hole, where the file got longer behind it.
            assert block in known or (block == 0 and None in known), (self.name, number, found)


async def blocks_of(volume: Volume, inode: InodeId) -> list[int]:
    data = bytes(await volume.files.read(inode, 0, 1 << 20))
    blocks = list(data[::BLOCK])
    assert data == b"".join(bytes([block]) * BLOCK for block in blocks)
    return blocks


class Worker:
    """Changes one file in random ways, waits, and looks at it."""

    def __init__(self, volume: Volume, known: Known, chance: random.Random) -> None:
        self._volume, self._files = volume, volume.files
        self._known = known
        self._chance = chance
        self._inode = volume.tree.lookup(ROOT, known.name).inode
        self._steps: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.write, 6), (self.write_and_sync, 12), (self.sync, 4), (self.truncate, 3),
            (self.punch, 2), (self.copy, 2), (self.look, 3), (self.wait, 4), (self.others, 4),
            (self.log, 1), (self.checkpoint, 1)]

    async def run(self) -> None:
        steps, weights = zip(*self._steps, strict=True)
        while True:
            [step] = self._chance.choices(steps, weights)
            try:
                await step()
            except (AppendRefused, NoSpace, ReadOnly):
                # How much of it was done shows.
                await trio.sleep(1)
                self._known.now = await blocks_of(self._volume, self._inode)
                self._known.may_be(self._known.now)
            await trio.sleep(self._chance.choice([0, 0, 0.01, 0.3]))

    def _change(self, low: int, blocks: list[int]) -> list[int]:
        now = list(self._known.now)
        now += [0] * (low + len(blocks) - len(now))
        now[low : low + len(blocks)] = blocks
        self._known.may_be(now)
        return now

    async def write(self) -> None:
        low, letter = self._chance.randrange(BLOCKS), self._chance.randrange(1, 250)
        count = self._chance.randint(1, min(3, BLOCKS - low))
        now = self._change(low, [letter] * count)
        await self._files.write(self._inode, low * BLOCK, bytes([letter]) * count * BLOCK)
        self._known.now = now

    async def write_and_sync(self) -> None:
        await self.write()
        await self.sync()

    async def sync(self) -> None:
        await self._volume.fsync(self._chance.choice([self._inode, self._inode, None]))
        self._known.synced()

    async def log(self) -> None:
        await self._files.flush(self._inode, inline=True)

    async def truncate(self) -> None:
        count = self._chance.randint(0, BLOCKS)
        now = (self._known.now + [0] * count)[:count]
        self._known.may_be(now)
        await self._files.truncate(self._inode, count * BLOCK)
        self._known.now = now
        self._files.times_were_set(self._inode)

    async def punch(self) -> None:
        low = self._chance.randrange(BLOCKS)
        count = min(self._chance.randint(1, 3), len(self._known.now) - low)
        if count > 0:
            now = self._change(low, [0] * count)
            await self._files.punch(self._inode, low * BLOCK, (low + count) * BLOCK)
            self._known.now = now

    async def copy(self) -> None:
        source, low = self._chance.sample(range(BLOCKS), 2)
        if source < len(self._known.now):
            now = self._change(low, [self._known.now[source]])
            await self._files.copy(self._inode, source * BLOCK, self._inode, low * BLOCK, BLOCK)
            self._known.now = now

    async def look(self) -> None:
        assert await blocks_of(self._volume, self._inode) == self._known.now

    async def wait(self) -> None:
        await trio.sleep(self._chance.random() * 3)

    async def others(self) -> None:
        """Changes that make a commit one with pages."""
        self._volume.tree.set_attributes(self._inode, mode=0o100600 | self._chance.randrange(64))
        if self._chance.random() < 0.5:
            await self._volume.commit()

    async def checkpoint(self) -> None:
        if self._chance.random() < 0.3:
            await self._volume.checkpoint()


def check_accounting(volume: Volume) -> None:
    flusher, rows = volume.files.flusher, volume.database.rows
    states = list(flusher.states.values())
    assert flusher.dirty_len == sum(
        state.runs.length + sum(len(piece.data) for piece in state.frozen) for state in states)
    assert flusher.log.length == sum(len(piece.data) for piece in flusher.log)
    assert {piece for state in states for piece in state.frozen if piece.logged} == set(flusher.log)
    shown: dict[int, int] = dict(rows("SELECT extent, sum(len) FROM maps GROUP BY extent"))
    extents = rows("SELECT id, stripe, live FROM extents")
    assert {row[0]: row[2] for row in extents} == shown
    assert {row[0] for row in rows("SELECT extent FROM inline")} == {
        row[0] for row in extents if row[1] is None}


def disturb(patch: pytest.MonkeyPatch, chance: random.Random, *, stripes: bool) -> None:
    """Stripes and records take their time; with `stripes` some of the former are refused."""
    append, sync, record = StripeStore.append, StripeStore.sync, RecordWriter.append

    async def slow_append(store: StripeStore, kind: int, *rest: object, **where: bool) -> Written:
        await trio.sleep(chance.random() * chance.choice([0, 0.1, 2]))
        if stripes and kind == KIND_CONTENT and chance.random() < 0.3:
            raise AppendRefused("not this one")
        return await append(store, kind, *rest, **where)  # type: ignore[arg-type]

    async def slow_sync(store: StripeStore, stripes: list[Written]) -> object:
        result = await sync(store, stripes)
        await trio.sleep(chance.random() * chance.choice([0, 0.1, 2]))
        return result

    async def slow_record(writer: RecordWriter, data: bytes) -> None:
        await trio.sleep(chance.random() * chance.choice([0, 0, 0.3]))
        await record(writer, data)
        await trio.sleep(chance.random() * chance.choice([0, 0, 0.3]))

    patch.setattr(StripeStore, "append", slow_append)
    patch.setattr(StripeStore, "sync", slow_sync)
    patch.setattr(RecordWriter, "append", slow_record)


async def lose_quorums(pool: Pool, chance: random.Random) -> None:
    """Now and then four of six members refuse a sync, so that records are sent again."""
    while True:
        await trio.sleep(chance.random() * 20)
        pool.fail_on(*chance.sample(range(6), 4), methods=("sync",), folder="commits")
        await trio.sleep(chance.random() * 2)
        pool.heal()


@pytest.mark.parametrize("seed", range(12))
async def test_load_and_crashes(pool: Pool, seed: int) -> None:
    chance = random.Random(seed)
    known = [Known(name) for name in NAMES]
    async with pool.mounted() as volume:
        for file in known:
            await put(volume, file.name, b"\1" * 4 * BLOCK)
    with pytest.MonkeyPatch.context() as patch:
        disturb(patch, chance, stripes=seed % 2 == 1)
        for _ in range(LIVES):
            async with pool.crashing() as volume:
                for file in known:
                    file.now = await blocks_of(volume, volume.tree.lookup(ROOT, file.name).inode)
                    file.check(file.now)
                    file.synced()
                check_accounting(volume)
                with trio.move_on_after(chance.random() * 40):
                    async with trio.open_nursery() as nursery:
                        for file in known:
                            nursery.start_soon(Worker(volume, file, chance).run)
                        if seed % 3 == 2:
                            nursery.start_soon(lose_quorums, pool, chance)
                pool.heal()
                check_accounting(volume)
    async with pool.mounted() as volume:
        for file in known:
            file.check(await blocks_of(volume, volume.tree.lookup(ROOT, file.name).inode))
    async with pool.mounted() as volume:
        check_accounting(volume)
        assert not volume.opened.writes
        assert volume.database.integrity_findings() == []


