"""A program that changes a mounted tree until the mount dies, and tells an oracle of each step."""

import errno
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

from ecfs.testing.oracle import Oracle

NAMES_COUNT = 12
LENGTHS = (1, 700, 5_000, 40_000, 300_000)
DEAD = {errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV}


class Writer:
    """`run` until a call fails because the mount is dead. `failure`: what went wrong otherwise."""

    def __init__(self, root: Path, oracle: Oracle, seed: int) -> None:
        self._root = os.fsencode(root)
        self._oracle = oracle
        self._source = random.Random(seed)
        self.acknowledged_count = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Ends when a call fails, for then the mount is dead; the oracle knows the last call as one
        that may or may not have happened."""
        steps: list[Callable[[], None]] = [
            self._write_and_sync, self._write_and_sync, self._write_and_sync, self._write,
            self._replace, self._replace, self._unlink, self._truncate, self._link, self._folder,
            self._move, self._sync_all]
        try:
            while True:
                self._source.choice(steps)()
        except OSError as error:
            if error.errno not in DEAD:
                self.failure = error
        except BaseException as error:
            self.failure = error

    # -- where -------------------------------------------------------------------------------

    def _path(self) -> bytes:
        """A path that a file may have: in a folder that is there, or at the top."""
        folders = [path for path, seen in self._oracle.now().items() if seen.kind == "directory"]
        folder = self._source.choice([b"", *sorted(folders)])
        name = b"file%d" % self._source.randrange(NAMES_COUNT)
        return folder + b"/" + name if folder else name

    def _file(self) -> bytes | None:
        """A file that is there."""
        files = sorted(path for path, seen in self._oracle.now().items() if seen.kind == "file")
        return self._source.choice(files) if files else None

    def _real(self, path: bytes) -> bytes:
        return os.path.join(self._root, path)

    # -- steps -------------------------------------------------------------------------------

    def _open(self, path: bytes) -> int:
        if not self._oracle.exists(path):
            self._oracle.create(path)
            return os.open(self._real(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        return os.open(self._real(path), os.O_RDWR)

    def _put(self, path: bytes, *, sync: bool) -> None:
        fd = self._open(path)
        try:
            offset = self._source.randrange(len(self._oracle.read(path)) + 1)
            data = self._source.randbytes(self._source.choice(LENGTHS))
            self._oracle.write(path, offset, data)
            os.pwrite(fd, data, offset)
            if sync:
                os.fsync(fd)
                self._oracle.fsync(path)
                self.acknowledged_count += 1
        finally:
            os.close(fd)

    def _write_and_sync(self) -> None:
        self._put(self._path(), sync=True)

    def _write(self) -> None:
        self._put(self._path(), sync=False)

    def _sync_folder(self) -> None:
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        self._oracle.fsync_dir()
        self.acknowledged_count += 1

    def _replace(self) -> None:
        """Write a new file and rename it over another, as careful programs do."""
        path = self._path()
        fresh = path + b".new"
        self._put(fresh, sync=self._source.random() < 0.5)
        self._oracle.rename(fresh, path)
        os.rename(self._real(fresh), self._real(path))
        self._sync_folder()

    def _unlink(self) -> None:
        path = self._file()
        if path is not None:
            self._oracle.unlink(path)
            os.unlink(self._real(path))
            self._sync_folder()

    def _truncate(self) -> None:
        path = self._file()
        if path is not None:
            size = self._source.randrange(len(self._oracle.read(path)) * 3 // 2 + 1)
            self._oracle.truncate(path, size)
            os.truncate(self._real(path), size)

    def _link(self) -> None:
        old, new = self._file(), self._path()
        if old is not None and not self._oracle.exists(new):
            self._oracle.link(old, new)
            os.link(self._real(old), self._real(new))

    def _folder(self) -> None:
        path = b"dir%d" % self._source.randrange(4)
        if not self._oracle.exists(path):
            self._oracle.mkdir(path)
            os.mkdir(self._real(path), stat.S_IRWXU)
            return
        if not any(other.startswith(path + b"/") for other in self._oracle.now()):
            self._oracle.rmdir(path)
            os.rmdir(self._real(path))

    def _move(self) -> None:
        old, new = self._file(), self._path()
        if old is not None and old != new:
            self._oracle.rename(old, new)
            os.rename(self._real(old), self._real(new))

    def _sync_all(self) -> None:
        mark = self._oracle.mark()
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        self._oracle.fsync_dir(mark)
        self.acknowledged_count += 1
