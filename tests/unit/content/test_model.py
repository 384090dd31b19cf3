"""Files against byte arrays: every read gives what was written, whatever goes on beside it."""

import random
from collections.abc import Awaitable, Callable
from functools import partial

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.base.errors import EcfsError, Fault
from ecfs.base.ids import InodeId
from tests.unit.content.simulated import FilesWorld, files_world

WINDOW = 2 << 20
OFFSETS = st.one_of(
    st.integers(0, 20), st.integers(0, 40_000), st.sampled_from([4096, 65_536, 131_072]),
    st.integers(WINDOW - 9000, WINDOW + 9000))
LENGTHS = st.one_of(st.integers(1, 300), st.integers(1, 140_000))
FILES = st.integers(0, 2)
STEPS = st.lists(st.one_of(
    st.tuples(st.just("write"), FILES, OFFSETS, LENGTHS),
    st.tuples(st.just("write"), FILES, OFFSETS, LENGTHS),
    st.tuples(st.just("truncate"), FILES, OFFSETS, st.just(0)),
    st.tuples(st.just("read"), FILES, OFFSETS, LENGTHS),
    st.tuples(st.just("punch"), FILES, OFFSETS, LENGTHS),
    st.tuples(st.just("copy"), FILES, OFFSETS, LENGTHS),
    st.tuples(st.just("copy"), FILES, st.just(0), st.just(WINDOW)),
    st.tuples(st.just("holes"), FILES, OFFSETS, st.just(0)),
    st.tuples(st.just("flush"), FILES, st.just(0), st.just(0)),
    st.tuples(st.just("flush_all"), FILES, st.just(0), st.just(0)),
    st.tuples(st.just("inline"), FILES, st.just(0), st.just(0)),
    st.tuples(st.just("logged"), FILES, st.just(0), st.just(0)),
    st.tuples(st.just("enter"), FILES, st.just(0), st.just(0)),
    st.tuples(st.just("discard"), FILES, st.just(0), st.just(0)),
    st.tuples(st.just("compact"), FILES, st.just(0), st.just(0)),
    st.tuples(st.just("move_inline"), FILES, st.just(0), st.just(0)),
    st.tuples(st.just("wait"), FILES, st.integers(0, 7), st.just(0)),
    st.tuples(st.just("remount"), FILES, st.just(0), st.just(0)),
    st.tuples(st.just("spoil"), FILES, st.integers(0, 1), st.just(0)),
    st.tuples(st.just("heal"), FILES, st.just(0), st.just(0)),
), min_size=1, max_size=25)
Step = tuple[str, int, int, int]


class Player:
    """Plays steps on a volume and on byte arrays. `beside`: slow steps run in the background."""

    def __init__(self, world: FilesWorld, nursery: trio.Nursery, *, beside: bool) -> None:
        self.world = world
        self.nursery = nursery
        self.beside = beside
        self.inodes = [InodeId(10), InodeId(11), InodeId(12)]
        self.content = [bytearray() for _ in self.inodes]
        self.next_inode = 13
        self.chance = random.Random(7)
        self.busy = 0

    async def play(self, steps: list[Step]) -> None:
        for what, file, offset, length in steps:
            await getattr(self, what)(file, offset, length)
            if self.world.files.flusher.promises.due is None:
                # Else who looks would keep it, and the next step is to.
                self.world.check_accounting()
            if self.beside:
                await trio.sleep(self.chance.random() * 0.01)

    async def slowly(self, step: object, *args: object) -> None:
        """Wait for a step, or let it run on while the next ones are played."""
        async def run() -> None:
            self.busy += 1
            try:
                await step(*args)  # type: ignore[operator]
            finally:
                self.busy -= 1

        if self.beside:
            self.nursery.start_soon(run)
        else:
            await run()

    async def write(self, file: int, offset: int, length: int) -> None:
        data = self.chance.randbytes(length)
        content = self.content[file]
        await self.world.files.write(self.inodes[file], offset, data)
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + length] = data

    async def truncate(self, file: int, offset: int, length: int) -> None:
        content = self.content[file]
        await self.world.files.truncate(self.inodes[file], offset)
        del content[offset:]
        content.extend(bytes(offset - len(content)))

    async def punch(self, file: int, offset: int, length: int) -> None:
        content = self.content[file]
        await self.world.files.punch(self.inodes[file], offset, offset + length)
        end = min(offset + length, len(content))
        content[offset:end] = bytes(max(end - offset, 0))

    async def copy(self, file: int, offset: int, length: int) -> None:
        """From one file into the next, as often as it takes."""
        target, to, copied_len = (file + 1) % len(self.content), offset // 2, 0
        while copied_len < length:
            step_len = await self.world.files.copy(
                self.inodes[file], offset + copied_len, self.inodes[target], to + copied_len,
                length - copied_len)
            if not step_len:
                break
            copied_len += step_len
        data = self.content[file][offset : offset + copied_len]
        assert len(data) == copied_len == min(
            length, max(len(self.content[file]) - offset, 0))
        if data:
            content = self.content[target]
            content.extend(bytes(max(to - len(content), 0)))
            content[to : to + copied_len] = data

    async def holes(self, file: int, offset: int, length: int) -> None:
        """From data to hole to data: what lies between is zeros, and it comes to an end."""
        files, inode, content = self.world.files, self.inodes[file], self.content[file]
        while offset < len(content):
            data = await files.seek(inode, offset, hole=False)
            assert not any(content[offset:data])
            if data is None:
                break
            hole = await files.seek(inode, data, hole=True)
            assert hole is not None and hole > data
            offset = hole
        assert await files.seek(inode, len(content), hole=False) is None

    async def read(self, file: int, offset: int, length: int) -> None:
        expected = bytes(self.content[file][offset : offset + length])
        assert self.world.files.size(self.inodes[file]) == len(self.content[file])

        async def check(inode: InodeId) -> None:
            assert await self.world.files.read(inode, offset, length) == expected

        await self.slowly(check, self.inodes[file])

    async def flush(self, file: int, offset: int, length: int) -> None:
        await self.slowly(self.world.files.flush, self.inodes[file])

    async def flush_all(self, file: int, offset: int, length: int) -> None:
        await self.slowly(self.world.files.flush, None)

    async def inline(self, file: int, offset: int, length: int) -> None:
        async def flush(inode: InodeId) -> None:
            await self.world.files.flush(inode, inline=True)

        await self.slowly(flush, self.inodes[file])

    async def logged(self, file: int, offset: int, length: int) -> None:
        """A record carries what is little."""
        await self.inline(file, offset, length)
        self.world.files.flusher.log.take()

    async def enter(self, file: int, offset: int, length: int) -> None:
        """A record with pages."""
        self.world.files.flusher.enter_logged()

    async def discard(self, file: int, offset: int, length: int) -> None:
        while self.busy:
            await trio.sleep(0.01)
        self.world.files.discard([self.inodes[file]])
        while self.world.files.reap():
            pass
        self.inodes[file], self.next_inode = InodeId(self.next_inode), self.next_inode + 1
        self.content[file] = bytearray()

    async def compact(self, file: int, offset: int, length: int) -> None:
        self.world.world.store.close_segments()
        for segment in list(self.world.files.index.segments)[-2:]:
            await self.slowly(self.world.files.compact, segment)

    async def move_inline(self, file: int, offset: int, length: int) -> None:
        await self.slowly(self.world.files.move_inline)

    async def wait(self, file: int, offset: int, length: int) -> None:
        await trio.sleep(offset)

    async def remount(self, file: int, offset: int, length: int) -> None:
        while self.busy:
            await trio.sleep(0.01)
        await self.world.remount()

    async def spoil(self, file: int, offset: int, length: int) -> None:
        """Nothing: a FailingPlayer breaks targets."""

    async def heal(self, file: int, offset: int, length: int) -> None:
        """Nothing: a FailingPlayer mends targets."""


async def check_all(player: Player) -> None:
    """Everything reads right at the end, warm and cold."""
    while player.busy:
        await trio.sleep(0.01)
    for _ in range(2):
        for inode, content in zip(player.inodes, player.content, strict=True):
            assert await player.world.files.read(inode, 0, 1 << 30) == content
            assert player.world.files.size(inode) == len(content)
        await player.world.remount()
        player.world.check_accounting()
    assert player.world.damaged == []
    assert player.world.files.flusher.dirty_len == 0


def run(steps: list[Step], *, beside: bool, seed: int = 0, postpones: bool = False) -> None:
    async def scenario() -> None:
        async with files_world(slow=beside, seed=seed) as world, trio.open_nursery() as nursery:
            world.files.flusher.promises.postpones = postpones
            player = Player(world, nursery, beside=beside)
            await player.play(steps)
            await check_all(player)
            nursery.cancel_scope.cancel()

    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(max_examples=60, deadline=None)
@given(STEPS, st.booleans())
def test_files_hold_what_was_written(steps: list[Step], postpones: bool) -> None:
    run(steps, beside=False, postpones=postpones)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 1000), st.booleans())
def test_reads_are_right_while_flushes_and_moves_go_on(steps: list[Step], seed: int,
                                                       postpones: bool) -> None:
    run(steps, beside=True, seed=seed, postpones=postpones)


class FailingPlayer(Player):
    """Targets fail at times. A flush may then fail; nothing that was written may get lost."""

    def __init__(self, world: FilesWorld, nursery: trio.Nursery, *, beside: bool) -> None:
        super().__init__(world, nursery, beside=beside)
        self.broken = False

    async def tolerant(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except EcfsError:
            assert self.broken

    async def flush(self, file: int, offset: int, length: int) -> None:
        await self.tolerant(lambda: self.world.files.flush(self.inodes[file]))

    async def flush_all(self, file: int, offset: int, length: int) -> None:
        await self.tolerant(lambda: self.world.files.flush(None))

    async def inline(self, file: int, offset: int, length: int) -> None:
        await self.tolerant(lambda: self.world.files.flush(self.inodes[file], inline=True))

    async def punch(self, file: int, offset: int, length: int) -> None:
        await self.tolerant(partial(super().punch, file, offset, length))

    async def copy(self, file: int, offset: int, length: int) -> None:
        await self.tolerant(partial(super().copy, file, offset, length))

    async def move_inline(self, file: int, offset: int, length: int) -> None:
        await self.tolerant(self.world.files.move_inline)

    async def compact(self, file: int, offset: int, length: int) -> None:
        for segment in list(self.world.files.index.segments)[-2:]:
            if segment not in self.world.world.store.open_segment_ids():
                await self.tolerant(partial(self._compact, segment))

    async def _compact(self, segment: int) -> None:
        await self.world.files.compact(segment)

    async def remount(self, file: int, offset: int, length: int) -> None:
        await self.heal(file, 0, 0)
        await super().remount(file, 0, 0)

    async def spoil(self, file: int, offset: int, length: int) -> None:
        """One target, or all of them, fail every write or sync from now on."""
        self.broken = True
        indexes = range(3) if file == 2 else [file]
        for index in indexes:
            self.world.world.fail_one(index, Fault.IO, "sync" if offset % 2 else "write", "create")

    async def heal(self, file: int, offset: int, length: int) -> None:
        self.world.world.heal()
        self.broken = False


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_nothing_is_lost_while_targets_fail_and_return(steps: list[Step]) -> None:
    async def scenario() -> None:
        async with files_world(slow=True) as world, trio.open_nursery() as nursery:
            player = FailingPlayer(world, nursery, beside=False)
            await player.play(steps)
            await player.heal(0, 0, 0)
            await check_all(player)
            nursery.cancel_scope.cancel()

    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))
