"""Disks in memory that share their bytes: a copy costs a dictionary, a change one file."""

import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import TARGET_LISTING_MAX
from ecfs.base.units import BLOCK_LEN, GIB
from ecfs.targets import Buffer, Space, Target
from ecfs.targets.faults import check_offset, check_range, missing
from ecfs.targets.names import check_folder, check_name, split_name


@dataclass(slots=True)
class Disk:
    """Files by name. A file of type bytes is shared with other disks, a bytearray is this disk's.

    `bad`: ranges (low, high) of a file that cannot be read until they are written again, as sectors
    that went bad. `planted`: names at which something lies that is no file of ours.
    """

    files: dict[str, bytes | bytearray] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {""})
    bad: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    planted: set[str] = field(default_factory=set)
    total_len: int = 1024 * GIB

    def copy(self) -> "Disk":
        """The same content. What this disk wrote is shared from then on."""
        for name, data in self.files.items():
            if isinstance(data, bytearray):
                self.files[name] = bytes(data)
        return Disk(dict(self.files), set(self.folders),
                    {name: list(ranges) for name, ranges in self.bad.items()}, set(self.planted),
                    self.total_len)

    def own(self, name: str) -> bytearray:
        """The file's bytes, to be changed."""
        data = self.files[name]
        if not isinstance(data, bytearray):
            data = self.files[name] = bytearray(data)
        return data

    def written(self, name: str, low: int, high: int) -> None:
        """A range was written: what was bad there can be read again."""
        ranges = self.bad.get(name)
        if ranges:
            kept = [part for begin, end in ranges
                    for part in ((begin, min(end, low)), (max(begin, high), end))
                    if part[0] < part[1]]
            self.bad[name] = kept

    def forget_bad(self, name: str) -> None:
        """The file is another one now."""
        self.bad.pop(name, None)
        self.planted.discard(name)


class DiskTarget:
    """A way to a disk: a Target (see there). Closing it closes only the way."""

    def __init__(self, path: str, disk: Disk) -> None:
        self.path = path
        self.disk = disk
        self._closed = False
        self._lock = threading.RLock()

    def device(self) -> int:
        """A number made from the path."""
        return zlib.crc32(self.path.encode())

    def list_names(self, folder: str = "") -> list[str]:
        """Plain names of all that lies in a folder, sorted."""
        check_folder(folder)
        prefix = f"{folder}/" if folder else ""
        cut = len(prefix)
        with self._open() as disk:
            names = {name[cut:].split("/", 1)[0]
                     for known in (disk.files, disk.folders, disk.planted)
                     for name in known if name.startswith(prefix) and name != folder}
        if len(names) > TARGET_LISTING_MAX:
            raise TargetError(Fault.UNSAFE, f"{self.path}/{folder}: too many entries")
        return sorted(names)

    def create(self, name: str, data: Buffer, *, sync: bool = True) -> None:
        """Make a file that did not exist."""
        check_name(name)
        with self._open() as disk:
            if name in disk.files or name in disk.folders or name in disk.planted:
                raise TargetError(Fault.EXISTS, f"{self.path}/{name}: exists")
            self._make(disk, name, data)

    def replace(self, name: str, data: Buffer) -> None:
        """Make the file hold `data`."""
        check_name(name)
        with self._open() as disk:
            if name in disk.folders:
                raise self._unsafe(name)
            self._make(disk, name, data)

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes; IO where a bad range is touched."""
        check_range(offset, length)
        with self._open() as disk:
            data = self._file(disk, name)
            for low, high in disk.bad.get(name, ()):
                if low < offset + length and offset < high:
                    raise TargetError(Fault.IO, f"{self.path}/{name}: bad sector")
            if isinstance(data, bytes):
                return data[offset : offset + length]
            return bytes(memoryview(data)[offset : offset + length])

    def read_now(self, name: str, offset: int, length: int) -> Buffer | None:
        """Never: all goes through `read`, where the faults are."""
        return None

    def write(self, name: str, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write the buffers one after another at `offset`."""
        check_offset(offset)
        with self._open() as disk:
            self._file(disk, name)
            data = b"".join(buffers)
            if data:
                file = disk.own(name)
                if offset > len(file):
                    file.extend(bytes(offset - len(file)))
                file[offset : offset + len(data)] = data
                disk.written(name, offset, offset + len(data))

    def sync(self, name: str) -> None:
        """Everything is durable here."""
        with self._open() as disk:
            self._file(disk, name)

    def size(self, name: str) -> int:
        """Length of the file in bytes."""
        with self._open() as disk:
            return len(self._file(disk, name))

    def truncate(self, name: str, length: int) -> None:
        """Cut the file or extend it with zeros."""
        check_offset(length)
        with self._open() as disk:
            if len(self._file(disk, name)) == length:
                return
            file = disk.own(name)
            disk.written(name, length, 1 << 62)
            del file[length:]
            file.extend(bytes(length - len(file)))

    def preallocate(self, name: str, offset: int, length: int) -> None:
        """Extend the file with zeros up to offset + length."""
        check_offset(offset, length)
        with self._open() as disk:
            end = offset + length if length else 0
            if len(self._file(disk, name)) < end:
                file = disk.own(name)
                file.extend(bytes(end - len(file)))

    def punch(self, name: str, offset: int, length: int) -> bool:
        """Fill the range with zeros, as far as the file goes."""
        check_offset(offset, length)
        with self._open() as disk:
            zeros = bytes(max(0, min(length, len(self._file(disk, name)) - offset)))
            self.write(name, offset, [zeros])
            return length > 0

    def remove(self, name: str) -> None:
        """Remove a file, or what was planted in its place; a missing one is fine."""
        check_name(name)
        with self._open() as disk:
            if name in disk.folders:
                raise self._unsafe(name)
            disk.files.pop(name, None)
            disk.forget_bad(name)

    def sync_folder(self, folder: str) -> None:
        """Everything is durable here."""
        check_folder(folder)
        with self._open() as disk:
            if folder not in disk.folders:
                raise missing(self.path, folder)

    def space(self) -> Space:
        """Room in total and free."""
        with self._open() as disk:
            return Space(disk.total_len, disk.total_len - sum(map(len, disk.files.values())))

    def stored_len(self) -> int:
        """Length of all blocks of all files."""
        with self._open() as disk:
            return sum(-(-len(data) // BLOCK_LEN) * BLOCK_LEN for data in disk.files.values())

    def drop_cache(self, name: str, offset: int, length: int) -> None:
        """Nothing to drop."""
        check_offset(offset, length)
        with self._open() as disk:
            self._file(disk, name)

    def forget(self, name: str) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Refuse further calls."""
        self._closed = True

    @contextmanager
    def _open(self) -> Iterator[Disk]:
        with self._lock:
            if self._closed:
                raise TargetError(Fault.AWAY, f"{self.path}: the target was closed")
            yield self.disk

    def _file(self, disk: Disk, name: str) -> bytes | bytearray:
        data = disk.files.get(check_name(name))
        if data is None:
            if name in disk.folders or name in disk.planted:
                raise self._unsafe(name)
            raise missing(self.path, name)
        return data

    def _make(self, disk: Disk, name: str, data: Buffer) -> None:
        folder = split_name(name)[0]
        while folder:
            if folder in disk.files or folder in disk.planted:
                raise TargetError(Fault.UNSAFE, f"{self.path}/{name}: lies in a file")
            disk.folders.add(folder)
            folder = split_name(folder)[0]
        disk.forget_bad(name)
        disk.files[name] = bytes(data)

    def _unsafe(self, name: str) -> TargetError:
        return TargetError(Fault.UNSAFE, f"{self.path}/{name}: is no regular file")


class Disks:
    """The disks of one pool by path. `away`: paths at which nothing is now. `plans`: what is put
    before a target when it is opened."""

    def __init__(self, disks: dict[str, Disk]) -> None:
        self.disks = disks
        self.away: set[str] = set()
        self.plans: dict[str, Callable[[Target], Target]] = {}

    def open(self, path: str) -> Target:
        """What lies at a path; MISSING where nothing does."""
        if path in self.away:
            raise TargetError(Fault.MISSING, f"{path}: no such directory")
        target: Target = DiskTarget(path, self.disks.setdefault(path, Disk()))
        plan = self.plans.get(path)
        return target if plan is None else plan(target)

    def copy(self) -> "Disks":
        """The same pool on disks of its own."""
        return Disks({path: disk.copy() for path, disk in self.disks.items()})
