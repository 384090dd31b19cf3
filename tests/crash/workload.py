"""A short life of a pool in which everything happens once."""

from ecfs.testing.oracle import Oracle
from ecfs.testing.pools import Opening
from tests.crash.world import some_bytes


class Workload:
    """Steps on an open pool, each told to the oracle. `salt` makes the bytes differ."""

    def __init__(self, opening: Opening, oracle: Oracle, salt: object = 0) -> None:
        self._opening = opening
        self._shell = opening.shell
        self._oracle = oracle
        self._salt = salt

    async def prepare(self) -> None:
        """What is there before: all of it durable."""
        for path, length in ((b"base", 150_000), (b"other", 40_000), (b"gone", 90_000),
                             (b"small", 900)):
            await self._write(path, length)
        self._oracle.mkdir(b"folder")
        self._shell.make_folder(b"folder")
        await self._all()

    async def run(self) -> None:
        """The whole of it."""
        await self._write(b"inline", 5_000)
        await self._fsync(b"inline")
        await self._write(b"lazy", 120_000)
        await self._write(b"base", 50_000, offset=60_000)
        await self._fsync(b"base")
        await self._write(b"small", 30_000)
        await self._write(b"new", 70_000)
        await self._rename(b"new", b"other")
        await self._fsync(b"small")
        self._unlink(b"gone")
        await self._truncate(b"base", 20_001)
        await self._fsync(b"inline")
        await self._checkpoint()
        await self._write(b"folder/deep", 260_000)
        await self._rename(b"lazy", b"folder/lazy")
        await self._all()
        self._unlink(b"folder/deep")
        await self._opening.volume.tend()
        self._oracle.committed()
        await self._write(b"inline", 6_000)
        await self._fsync(b"inline")
        await self._compact()
        await self._checkpoint()
        await self._write(b"last", 10_000)
        await self._checkpoint()

    async def _write(self, path: bytes, length: int, *, offset: int = 0) -> None:
        data = some_bytes((self._salt, path, length, offset), length)
        if not self._oracle.exists(path):
            self._oracle.create(path)
        self._oracle.write(path, offset, data)
        await self._shell.write(path, data, offset)

    async def _fsync(self, path: bytes) -> None:
        await self._shell.fsync(path)
        self._oracle.fsync(path)

    async def _rename(self, old: bytes, new: bytes) -> None:
        self._oracle.rename(old, new)
        await self._shell.rename(old, new)

    def _unlink(self, path: bytes) -> None:
        self._oracle.unlink(path)
        self._shell.unlink(path)

    async def _truncate(self, path: bytes, size: int) -> None:
        self._oracle.truncate(path, size)
        await self._shell.truncate(path, size)

    async def _checkpoint(self) -> None:
        await self._opening.volume.checkpoint()
        self._oracle.committed()

    async def _all(self) -> None:
        await self._opening.volume.fsync(None)
        self._oracle.sync()

    async def _compact(self) -> None:
        """Move what lives in every segment that is closed."""
        volume = self._opening.volume
        open_ids = volume.store.open_segment_ids()
        for segment_id in sorted(set(volume.files.index.segments) - open_ids)[:2]:
            await volume.files.compact(segment_id)
        await volume.tend()
        await volume.background.tidy()
        self._oracle.committed()
