"""A short life of a pool in which everything happens once."""

from ecfs.testing.pools import Opening
from tests.crash.world import Model, some_bytes


class Workload:
    """Steps on an open pool, each told to the model. `salt` makes the bytes differ."""

    def __init__(self, opening: Opening, model: Model, salt: object = 0) -> None:
        self._opening = opening
        self._shell = opening.shell
        self._model = model
        self._salt = salt

    async def prepare(self) -> None:
        """What is there before: all of it durable."""
        for path, length in ((b"base", 150_000), (b"other", 40_000), (b"gone", 90_000),
                             (b"small", 900)):
            await self._write(path, length)
        self._shell.make_folder(b"folder")
        self._model.named(b"folder", b"")
        await self._opening.volume.fsync(None)
        self._model.all_committed()

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
        self._model.committed()
        await self._write(b"inline", 6_000)
        await self._fsync(b"inline")
        await self._compact()
        await self._checkpoint()
        await self._write(b"last", 10_000)
        await self._checkpoint()

    async def _write(self, path: bytes, length: int, *, offset: int = 0) -> None:
        data = some_bytes((self._salt, path, length, offset), length)
        await self._shell.write(path, data, offset)
        before = self._model.now(path) or b""
        self._model.wrote(path, before[:offset].ljust(offset, b"\0") + data
                          + before[offset + length:])

    async def _fsync(self, path: bytes) -> None:
        await self._shell.fsync(path)
        self._model.committed(path)

    async def _rename(self, old: bytes, new: bytes) -> None:
        await self._shell.rename(old, new)
        self._model.renamed(old, new)

    def _unlink(self, path: bytes) -> None:
        self._shell.unlink(path)
        self._model.named(path, None)

    async def _truncate(self, path: bytes, size: int) -> None:
        data = self._model.now(path)
        assert data is not None
        await self._shell.truncate(path, size)
        self._model.named(path, data[:size])

    async def _checkpoint(self) -> None:
        await self._opening.volume.checkpoint()
        self._model.committed()

    async def _all(self) -> None:
        await self._opening.volume.fsync(None)
        self._model.all_committed()

    async def _compact(self) -> None:
        """Move what lives in every segment that is closed."""
        volume = self._opening.volume
        open_ids = volume.store.open_segment_ids()
        for segment_id in sorted(set(volume.files.index.segments) - open_ids)[:2]:
            await volume.files.compact(segment_id)
        await volume.tend()
        self._model.committed()
