"""A target that is a directory of some file system of this machine."""

import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from types import TracebackType
from typing import TypeVar

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import (
    TARGET_FILES_OPEN_MAX,
    TARGET_FOLDERS_DEEP_MAX,
    TARGET_LISTING_MAX,
)
from ecfs.base.patience import Patience
from ecfs.targets.allocation import Allocator
from ecfs.targets.faults import check_offset, check_range, sync_in_doubt, target_error
from ecfs.targets.folders import Folders
from ecfs.targets.in_memory import lies_in_memory
from ecfs.targets.names import (
    TEMPORARY_PREFIX,
    check_folder,
    check_name,
    is_plain,
    is_temporary,
    split_name,
)
from ecfs.targets.open_files import OpenFile, OpenFiles
from ecfs.targets.protocol import Buffer, Space
from ecfs.targets.reading import ReadingNow
from ecfs.targets.removing import remove_entry
from ecfs.targets.writing import Writeback, write_all

_ROOT_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFE
"""IOV_MAX of Linux."""
_ST_BLOCK_LEN = 512
T = TypeVar("T")


class DirectoryTarget:
    """A Target (see there) in a directory that is held open: a directory that is removed and made
    anew, or covered by a mount, is another one, and this target answers MISSING from then on.

    Everything is reached from that descriptor, one component at a time, following no symbolic link;
    planted FIFOs, devices and hard links are recognised before they are opened and again after.
    At most `files_open_max` files stay open. Locks guard the books only, never I/O.
    `make_patience`: for what is about to be in memory, which is asked for once without it.
    """

    def __init__(self, path: str | os.PathLike[str], *,
                 files_open_max: int = TARGET_FILES_OPEN_MAX,
                 listing_max: int = TARGET_LISTING_MAX,
                 make_patience: Callable[[], Patience] | None = None) -> None:
        self.path = os.fspath(path)
        self._listing_max = listing_max
        with self._reporting(""):
            root_fd = os.open(self.path, _ROOT_FLAGS)
        self._files = OpenFiles(root_fd, self.path, files_max=files_open_max)
        self._folders = Folders(self._files, self.path)
        self._allocator = Allocator()
        self._is_memory = lies_in_memory(root_fd)
        self._reading_now = ReadingNow(is_memory=self._is_memory, patience=(
            None if make_patience is None else make_patience()))
        self._writeback = Writeback()

    def device(self) -> int:
        """The number of the device it lies on."""
        return self.with_folder(lambda fd: os.fstat(fd).st_dev)

    def with_folder(self, use: Callable[[int], T]) -> T:
        """What `use` makes of a descriptor of the directory, which is the target's own."""
        with self._reporting(""), self._folders.open("") as fd:
            return use(fd)

    def list_names(self, folder: str = "") -> list[str]:
        """Plain names of all that lies in a folder, sorted."""
        check_folder(folder)
        try:
            try:
                names = self._folders.list_names(folder, self._listing_max)
            except FileNotFoundError:
                names = []
            # A directory that was removed meanwhile must not pass for an empty one.
            self._folders.check_alive()
        except OSError as error:
            raise target_error(error, self.path, folder) from error
        return sorted(name for name in names if not is_temporary(name))

    def create(self, name: str, data: Buffer, *, sync: bool = True) -> None:
        """Make a file that did not exist, and its folders."""
        folder, base = split_name(check_name(name))
        with (self._reporting(name, writing=True),
              self._folders.open(folder, make=True) as folder_fd):
            fd = os.open(base, _CREATE_FLAGS, 0o600, dir_fd=folder_fd)
            self._files.drop(name)
            file = self._files.add(name, fd, writable=True, drops_seen=self._files.drop_count)
            try:
                write_all(file.fd, 0, [data])
                if sync:
                    os.fdatasync(file.fd)
                    self._folders.sync(folder)
                else:
                    file.dirty = True
            except BaseException:
                self._unlink(base, folder_fd)
                self._files.drop(name)
                raise
            finally:
                self._files.give_back(file)

    def replace(self, name: str, data: Buffer) -> None:
        """Make the file hold `data`, whole and durable on return."""
        folder, base = split_name(check_name(name))
        temporary = TEMPORARY_PREFIX + base
        with (self._reporting(name, writing=True),
              self._folders.open(folder, make=True) as folder_fd):
            fd = self._create_temporary(temporary, folder_fd)
            try:
                try:
                    write_all(fd, 0, [data])
                    os.fdatasync(fd)
                finally:
                    os.close(fd)
                os.rename(temporary, base, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            except BaseException:
                self._unlink(temporary, folder_fd)
                raise
            self._files.drop(name)
            self._folders.sync(folder)

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only where the file ends."""
        check_range(offset, length)
        with _Use(self, name) as file:
            data = os.pread(file.fd, length, offset)
            while 0 < len(data) < length:
                more = os.pread(file.fd, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
            self._reading_now.waited(length)
            return data

    def read_now(self, name: str, offset: int, length: int) -> Buffer | None:
        """All of the `length` bytes, if the file is open and they are in the page cache, or are
        there in a moment."""
        file = self._files.take_now(name) if self._reading_now.is_offered else None
        if file is None:
            return None
        try:
            return self._reading_now.read(file.fd, offset, length)
        finally:
            self._files.give_back_now(file)

    def write(self, name: str, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write the buffers one after another at `offset`, all of them."""
        check_offset(offset)
        with _Use(self, name, writing=True) as file:
            written_len = write_all(file.fd, offset, buffers)
            self._check_file(os.fstat(file.fd), name)
            if not self._is_memory:
                self._writeback.begin(file.fd, offset, written_len)

    def sync(self, name: str) -> None:
        """Make what was written to the file durable."""
        sync = self.begin_sync(name)
        failure = None
        try:
            os.fdatasync(sync.fd)
        except OSError as error:
            failure = error
        sync.end(failure)

    def begin_sync(self, name: str) -> "BegunSync":
        """A sync of which the caller does the middle: fdatasync of its descriptor, then `end`."""
        if self._files.is_suspect(name):
            raise sync_in_doubt(self.path, name)
        return BegunSync(self, name)

    def size(self, name: str) -> int:
        """Length of the file in bytes."""
        with _Use(self, name) as file:
            return os.fstat(file.fd).st_size

    def truncate(self, name: str, length: int) -> None:
        """Cut the file or extend it with zeros."""
        check_offset(length)
        with _Use(self, name, writing=True) as file:
            os.ftruncate(file.fd, length)

    def preallocate(self, name: str, offset: int, length: int) -> None:
        """Reserve room, extending the file with zeros up to offset + length."""
        check_offset(offset, length)
        with _Use(self, name, writing=True) as file:
            self._allocator.reserve(file.fd, offset, length)

    def punch(self, name: str, offset: int, length: int) -> bool:
        """Give the range's room back; False where the file system cannot."""
        check_offset(offset, length)
        with _Use(self, name, writing=True) as file:
            return self._allocator.punch(file.fd, offset, length)

    def remove(self, name: str) -> None:
        """Remove a file; a missing one is fine. A folder in its place goes when it is empty, and is
        set aside under another name when it is not."""
        folder, base = split_name(check_name(name))
        with self._reporting(name, writing=True):
            try:
                with self._folders.open(folder) as folder_fd:
                    remove_entry(base, folder_fd)
            except FileNotFoundError:
                pass
        self._files.drop(name)

    def sync_folder(self, folder: str) -> None:
        """Make the names in a folder durable, and the folder itself."""
        check_folder(folder)
        with self._reporting(folder, writing=True):
            self._folders.sync(folder)

    def space(self) -> Space:
        """Room in total and free."""
        with self._reporting(""), self._folders.open("") as fd:
            status = os.fstatvfs(fd)
        return Space(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)

    def stored_len(self) -> int:
        """Bytes that the files with names of ours take up."""
        block_count = 0
        with self._reporting(""), closing(self._entries_below("")) as entries:
            for count, entry in enumerate(entries):
                if count >= self._listing_max:
                    break
                block_count += _blocks_of(entry)
        return block_count * _ST_BLOCK_LEN

    def drop_cache(self, name: str, offset: int, length: int) -> None:
        """Advise the kernel that the range is not needed in memory."""
        check_offset(offset, length)
        with _Use(self, name) as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fd, offset, length, os.POSIX_FADV_DONTNEED)

    def forget(self, name: str) -> None:
        """Drop what is kept open or remembered of a file or folder."""
        self._files.drop(name)
        self._folders.forget(name)

    def close(self) -> None:
        """Close all files, without syncing."""
        self._files.close()

    @contextmanager
    def _reporting(self, name: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise target_error(error, self.path, name, writing=writing) from error

    def _open(self, name: str, *, writing: bool) -> OpenFile:
        """The open file, to be given back. Lets OSError out."""
        file = self._files.take(name, writing=writing)
        if file is not None:
            return file
        folder, base = split_name(check_name(name))
        drops_seen = self._files.drop_count
        with self._folders.open(folder) as folder_fd:
            self._check_file(os.stat(base, dir_fd=folder_fd, follow_symlinks=False), name)
            flags = (os.O_RDWR if writing else os.O_RDONLY) | _SAFE
            fd = os.open(base, flags, dir_fd=folder_fd)
        try:
            self._check_file(os.fstat(fd), name)
        except BaseException:
            os.close(fd)
            raise
        return self._files.add(name, fd, writable=writing, drops_seen=drops_seen)

    def _check_file(self, status: os.stat_result, name: str) -> None:
        if status.st_nlink == 0:
            self._files.drop_descriptor(name)
            raise TargetError(Fault.MISSING, f"{self.path}/{name}: the file was removed")
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            self._files.drop_descriptor(name)
            raise TargetError(
                Fault.UNSAFE, f"{self.path}/{name}: not a regular file with one link")

    def _create_temporary(self, temporary: str, folder_fd: int) -> int:
        try:
            return os.open(temporary, _CREATE_FLAGS, 0o600, dir_fd=folder_fd)
        except FileExistsError:
            os.unlink(temporary, dir_fd=folder_fd)
            return os.open(temporary, _CREATE_FLAGS, 0o600, dir_fd=folder_fd)

    def _unlink(self, base: str, folder_fd: int) -> None:
        """Remove what could not be completed, as far as that can be done."""
        try:
            os.unlink(base, dir_fd=folder_fd)
        except OSError:
            pass

    def _entries_below(self, folder: str) -> Generator[os.DirEntry[str], None, None]:
        """Everything that lies here and in folders with names of ours."""
        for entry in self._folders.names(folder, self._listing_max + 1):
            yield entry
            below = f"{folder}/{entry.name}" if folder else entry.name
            if (is_plain(entry.name) and entry.is_dir(follow_symlinks=False)
                    and below.count("/") < TARGET_FOLDERS_DEEP_MAX):
                yield from self._entries_below(below)


class _Use:
    """An open file for the length of a `with`, errors translated. A class, not a generator: this is
    on the path of every read and write."""

    __slots__ = ("_file", "_name", "_target", "_writing")

    def __init__(self, target: DirectoryTarget, name: str, *, writing: bool = False) -> None:
        self._target = target
        self._name = name
        self._writing = writing

    def __enter__(self) -> OpenFile:
        try:
            self._file = self._target._open(self._name, writing=self._writing)
        except OSError as error:
            raise target_error(
                error, self._target.path, self._name, writing=self._writing) from error
        if self._writing:
            self._file.dirty = True
        return self._file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        # Again, since a sync that ran meanwhile has cleared it without covering this write.
        if self._writing:
            self._file.dirty = True
        self._target._files.give_back(self._file)
        if isinstance(error, OSError):
            raise target_error(
                error, self._target.path, self._name, writing=self._writing) from error


class BegunSync:
    """A file that is being synced; it stays open until `end`."""

    __slots__ = ("_file", "_name", "_target")

    def __init__(self, target: DirectoryTarget, name: str) -> None:
        self._target = target
        self._name = name
        try:
            self._file = target._open(name, writing=False)
        except OSError as error:
            raise target_error(error, target.path, name) from error
        self._file.dirty = False

    @property
    def fd(self) -> int:
        """What is to be synced."""
        return self._file.fd

    def end(self, failure: OSError | None) -> None:
        """What fdatasync came to. Raises TargetError unless the file is durable."""
        target, name = self._target, self._name
        try:
            if failure is not None:
                target._files.sync_failed(self._file)
                raise failure
            target._check_file(os.fstat(self.fd), name)
        except OSError as error:
            raise target_error(error, target.path, name) from error
        finally:
            target._files.give_back(self._file)
        if target._files.is_suspect(name):
            raise sync_in_doubt(target.path, name)


def _blocks_of(entry: os.DirEntry[str]) -> int:
    if not is_plain(entry.name):
        return 0
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return status.st_blocks if stat.S_ISREG(status.st_mode) else 0
