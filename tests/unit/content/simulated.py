"""Files over a database in memory and a simulated stripe store, with checks of the accounting."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ecfs.base.ids import InodeId
from ecfs.base.limits import WRITE_BACK_LEN_MAX
from ecfs.content import FileNote, Files
from ecfs.erasure import Geometry
from ecfs.metadata import Database
from tests.unit.stripes.simulated import TrioClock, World

TWO_AND_ONE = Geometry(2, 1)


class Inodes:
    """Sizes and times, as the tree would hold them."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.times: dict[int, tuple[int | None, int | None]] = {}

    def size_of(self, inode: InodeId) -> int:
        return self.sizes.get(inode, 0)

    def settle(self, inode: InodeId, *, size: int, mtime_ns: int | None,
               ctime_ns: int | None) -> None:
        self.sizes[inode] = size
        self.times[inode] = (mtime_ns, ctime_ns)

    def note_of(self, inode: InodeId) -> FileNote:
        return FileNote(1, b"file%d" % inode, 0o100644)


class FilesWorld:
    """One volume's content. `remount` forgets everything but the database and the targets."""

    def __init__(self, world: World, nursery: trio.Nursery, *,
                 write_back_len: int = WRITE_BACK_LEN_MAX) -> None:
        self.world = world
        self.database = Database.in_memory()
        self.inodes = Inodes()
        self._nursery = nursery
        self._write_back_len = write_back_len
        self._scope = trio.CancelScope()
        self.damaged: list[int] = []
        self.files = self._mounted()

    def _mounted(self) -> Files:
        files = Files(self.database, self.world.store, self.inodes, TrioClock(), self._nursery,
                      write_back_len=self._write_back_len)
        files.on_damage = self.damaged.append
        scope = self._scope = trio.CancelScope()

        async def run() -> None:
            with scope:
                await files.run()

        self._nursery.start_soon(run)
        return files

    async def remount(self) -> None:
        """Flush, commit, and begin anew with cold caches."""
        await self.files.flush(None)
        self.database.commit()
        self._scope.cancel()
        self.world.store.close_segments()
        self.files = self._mounted()

    async def sync(self, inode: InodeId, *, inline: bool = True) -> None:
        """As who syncs a file, and the commit after it. `inline`: it is one with pages."""
        await self.files.flush(inode, inline=inline)
        self.files.flusher.enter_logged()
        error = self.files.flusher.stuck_error(inode)
        if error is not None:
            raise error

    def check_accounting(self) -> None:
        """Live counts equal what maps show; nothing dangles; dirty bytes are counted right."""
        rows = self.database.rows
        shown: dict[int, int] = dict(rows("SELECT extent, sum(len) FROM maps GROUP BY extent"))
        extents = rows("SELECT id, stripe, start, len, live FROM extents")
        assert {row[0]: row[4] for row in extents} == shown
        by_stripe: dict[int, int] = {}
        for _, stripe, _, _, live in extents:
            if stripe is not None:
                by_stripe[stripe] = by_stripe.get(stripe, 0) + live
        assert dict(rows("SELECT id, live FROM stripes")) == by_stripe
        inline = {row[0] for row in rows("SELECT extent FROM inline")}
        assert inline == {row[0] for row in extents if row[1] is None}
        segments = {row[0]: row[1] for row in rows("SELECT id, len FROM segments")}
        for segment, offset, body_len in rows("SELECT segment, offset, body_len FROM stripes"):
            assert offset + body_len < segments[segment]
        lengths = {row[0]: row[3] for row in extents}
        before: tuple[int, int] = (0, 0)
        for inode, offset, length, extent, at in rows(
                "SELECT inode, offset, len, extent, extent_offset FROM maps ORDER BY 1, 2"):
            assert length > 0 and at >= 0 and at + length <= lengths[extent]
            assert (inode, offset) >= before
            before = (inode, offset + length)
        states = self.files.flusher.states.values()
        assert self.files.flusher.dirty_len == sum(
            state.runs.length + sum(len(piece.data) for piece in state.frozen)
            for state in states)
        log = self.files.flusher.log
        assert log.length == sum(len(piece.data) for piece in log)
        logged = [piece for state in states for piece in state.frozen if piece.logged]
        assert set(logged) == set(log)
        for state in states:
            # Of a file what records carry is older than all else.
            assert sorted(state.frozen, key=lambda piece: not piece.logged) == state.frozen


@asynccontextmanager
async def files_world(geometry: Geometry = TWO_AND_ONE, targets_count: int = 3, *,
                      slow: bool = False, seed: int = 0, liars: int = 0,
                      write_back_len: int = WRITE_BACK_LEN_MAX) -> AsyncIterator[FilesWorld]:
    """A FilesWorld whose tasks end with the block. `slow`: jobs take random virtual time."""
    async with trio.open_nursery() as nursery:
        world = World(geometry, targets_count, liars=liars, seed=seed,
                      nursery=nursery if slow else None, clock=TrioClock())
        made = FilesWorld(world, nursery, write_back_len=write_back_len)
        yield made
        nursery.cancel_scope.cancel()
    made.database.close()
