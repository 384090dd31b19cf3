"""A target in memory that can lose what was not synced."""

import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import TARGET_LISTING_MAX
from ecfs.base.units import BLOCK_LEN, GIB
from ecfs.targets.faults import check_offset, check_range, missing
from ecfs.targets.names import check_folder, check_name, split_name
from ecfs.targets.protocol import Buffer, Space


@dataclass(slots=True, eq=False)
class _File:
    """What a program sees and what the medium holds; `holes`: numbers of blocks without room."""

    live: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    holes: set[int] = field(default_factory=set)

    @property
    def used_len(self) -> int:
        """Room that it takes up."""
        return len(self.live) - BLOCK_LEN * len(self.holes)

    def holes_within(self, offset: int, end: int) -> set[int]:
        """Holes that bytes [offset, end) lie in."""
        if not self.holes or offset >= end:
            return set()
        return self.holes.intersection(range(offset // BLOCK_LEN, -(-end // BLOCK_LEN)))


@dataclass(frozen=True, slots=True)
class _Write:
    """Bytes at an offset, not yet synced."""

    file: _File
    offset: int
    data: bytes

    def apply(self, content: bytearray, length: int | None = None) -> None:
        """Carry it out, or only its first `length` bytes."""
        _put(content, self.offset, self.data if length is None else self.data[:length])


@dataclass(frozen=True, slots=True)
class _Resize:
    """A new length, not yet synced. With `grow` a shorter one changes nothing."""

    file: _File
    length: int
    grow: bool

    def apply(self, content: bytearray) -> None:
        """Carry it out."""
        if len(content) < self.length:
            content.extend(bytes(self.length - len(content)))
        elif not self.grow:
            del content[self.length:]


@dataclass(frozen=True, slots=True)
class _Naming:
    """A name that now stands for `file`, or for nothing, not yet synced."""

    name: str
    file: _File | None

    def apply(self, names: dict[str, _File]) -> None:
        """Carry it out."""
        if self.file is None:
            names.pop(self.name, None)
        else:
            names[self.name] = self.file


_Change = _Write | _Resize | _Naming


class MemoryTarget:
    """A Target (see there) of at most `total_len` bytes. As strict as POSIX allows: a synced file
    whose name was not synced is gone after a crash. Folders are made with their files and stay."""

    def __init__(self, path: str = "memory:0", *, total_len: int = 1024 * GIB,
                 listing_max: int = TARGET_LISTING_MAX, punches: bool = True) -> None:
        self.path = path
        self._total_len = total_len
        self._listing_max = listing_max
        self._punches = punches
        self._lock = threading.RLock()
        self._closed = False
        self._names: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        self._folders: set[str] = {""}
        self._changes: list[_Change] = []
        self._used_len = 0

    @classmethod
    def holding(cls, path: str, files: Mapping[str, bytes]) -> "MemoryTarget":
        """One that holds these files, all of them durable."""
        target = cls(path)
        for name, data in files.items():
            target._names[name] = _File(bytearray(data), bytearray(data))
            target._used_len += len(data)
            folder = name
            while folder := split_name(folder)[0]:
                target._folders.add(folder)
        target._durable_names = dict(target._names)
        return target

    def files(self) -> dict[str, bytes]:
        """What the medium holds: durable bytes by durable name."""
        with self._lock:
            return {name: bytes(file.durable) for name, file in self._durable_names.items()}

    def crash(self, keep: Callable[[int], bool] | None = None, *,
              torn_len: int | None = None) -> None:
        """Lose what was not synced, and serve again (also after `close`).

        The unsynced changes are numbered from 0 in the order in which they were made (see
        `unsynced`); those for which `keep` says so reached the medium anyway, none if it is None.
        With `torn_len` only that many bytes of the last write among the kept ones did.
        """
        with self._lock:
            kept = [change for number, change in enumerate(self._changes)
                    if keep is not None and keep(number)]
            last = max((number for number, change in enumerate(kept)
                        if isinstance(change, _Write)), default=-1)
            for number, change in enumerate(kept):
                if isinstance(change, _Write) and number == last:
                    change.apply(change.file.durable, torn_len)
                else:
                    self._settle(change)
            self._changes.clear()
            self._names = dict(self._durable_names)
            for file in self._names.values():
                file.live = bytearray(file.durable)
                file.holes.clear()
            self._used_len = sum(len(file.live) for file in self._names.values())
            self._closed = False

    def unsynced(self) -> list[tuple[str, str, int, int]]:
        """The changes that a crash could lose: what ("write", "resize", "name" or "unname"), name,
        offset, length. A file without a name now has the name ""."""
        with self._lock:
            name_of = {id(file): name for name, file in self._names.items()}
            told: list[tuple[str, str, int, int]] = []
            for change in self._changes:
                if isinstance(change, _Naming):
                    told.append(("name" if change.file else "unname", change.name, 0, 0))
                elif isinstance(change, _Resize):
                    told.append(("resize", name_of.get(id(change.file), ""), 0, change.length))
                else:
                    told.append(("write", name_of.get(id(change.file), ""), change.offset,
                                 len(change.data)))
            return told

    def device(self) -> int:
        """A number made from the path."""
        return zlib.crc32(self.path.encode("utf-8", "surrogateescape"))

    def list_names(self, folder: str = "") -> list[str]:
        """Plain names of all that lies in a folder, sorted."""
        check_folder(folder)
        prefix = f"{folder}/" if folder else ""
        with self._open():
            names = {name[len(prefix):].split("/")[0] for names in (self._names, self._folders)
                     for name in names if name.startswith(prefix) and name != folder}
        if len(names) > self._listing_max:
            raise TargetError(
                Fault.UNSAFE, f"{self.path}/{folder}: more than {self._listing_max} entries")
        return sorted(names)

    def create(self, name: str, data: Buffer, *, sync: bool = True) -> None:
        """Make a file that did not exist."""
        check_name(name)
        with self._open():
            if name in self._names or name in self._folders:
                raise TargetError(Fault.EXISTS, f"{self.path}/{name}: exists")
            self._make(name, data)
            if sync:
                self.sync(name)
                self.sync_folder(split_name(name)[0])

    def replace(self, name: str, data: Buffer) -> None:
        """Make the file hold `data`, whole and durable on return."""
        check_name(name)
        with self._open():
            self._check_not_folder(name)
            old = self._names.get(name)
            self._make(name, data)
            if old is not None:
                self._used_len -= old.used_len
            self.sync(name)
            self.sync_folder(split_name(name)[0])

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only where the file ends."""
        check_range(offset, length)
        with self._open():
            return bytes(memoryview(self._file(name).live)[offset:offset + length])

    def read_now(self, name: str, offset: int, length: int) -> Buffer | None:
        """Never: as of a disk whose cache is cold."""
        return None

    def write(self, name: str, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write the buffers one after another at `offset`, all of them."""
        check_offset(offset)
        with self._open():
            file = self._file(name)
            data = b"".join(buffers)
            if not data:
                return
            filled = file.holes_within(offset, offset + len(data))
            self._reserve(max(0, offset + len(data) - len(file.live)) + BLOCK_LEN * len(filled))
            file.holes -= filled
            _put(file.live, offset, data)
            self._changes.append(_Write(file, offset, data))

    def sync(self, name: str) -> None:
        """Make what was written to the file durable."""
        with self._open():
            file = self._file(name)
            self._settle_all(lambda change: not isinstance(change, _Naming)
                             and change.file is file)

    def size(self, name: str) -> int:
        """Length of the file in bytes."""
        with self._open():
            return len(self._file(name).live)

    def truncate(self, name: str, length: int) -> None:
        """Cut the file or extend it with zeros."""
        check_offset(length)
        self._resize(name, length, grow=False)

    def preallocate(self, name: str, offset: int, length: int) -> None:
        """Extend the file with zeros up to offset + length."""
        check_offset(offset, length)
        self._resize(name, offset + length if length else 0, grow=True)

    def punch(self, name: str, offset: int, length: int) -> bool:
        """Fill the range with zeros, as far as the file goes."""
        check_offset(offset, length)
        with self._open():
            file = self._file(name)
            if not self._punches or length <= 0:
                return False
            end = min(offset + length, len(file.live))
            zeros = bytes(max(0, end - offset))
            if zeros:
                _put(file.live, offset, zeros)
                self._changes.append(_Write(file, offset, zeros))
                holes = set(range(-(-offset // BLOCK_LEN), end // BLOCK_LEN)) - file.holes
                file.holes |= holes
                self._used_len -= BLOCK_LEN * len(holes)
            return True

    def remove(self, name: str) -> None:
        """Remove a file; a missing one is fine."""
        check_name(name)
        with self._open():
            self._check_not_folder(name)
            file = self._names.pop(name, None)
            if file is not None:
                self._used_len -= file.used_len
                self._changes.append(_Naming(name, None))

    def sync_folder(self, folder: str) -> None:
        """Make the names in a folder durable."""
        check_folder(folder)
        with self._open():
            if folder not in self._folders:
                raise missing(self.path, folder)
            self._settle_all(lambda change: isinstance(change, _Naming)
                             and split_name(change.name)[0] == folder)

    def space(self) -> Space:
        """Room in total and free."""
        with self._open():
            return Space(self._total_len, self._total_len - self._used_len)

    def stored_len(self) -> int:
        """Length of all blocks that hold anything but zeros."""
        with self._open():
            return sum(BLOCK_LEN for file in self._names.values()
                       for start in range(0, len(file.live), BLOCK_LEN)
                       if any(file.live[start:start + BLOCK_LEN]))

    def drop_cache(self, name: str, offset: int, length: int) -> None:
        """Nothing to drop."""
        check_offset(offset, length)
        with self._open():
            self._file(name)

    def forget(self, name: str) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Refuse further calls, until `crash`."""
        self._closed = True

    @contextmanager
    def _open(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise TargetError(Fault.AWAY, f"{self.path}: the target was closed")
            yield

    def _file(self, name: str) -> _File:
        file = self._names.get(check_name(name))
        if file is None:
            self._check_not_folder(name)
            raise missing(self.path, name)
        return file

    def _check_not_folder(self, name: str) -> None:
        if name in self._folders:
            raise TargetError(Fault.UNSAFE, f"{self.path}/{name}: is a folder")

    def _make(self, name: str, data: Buffer) -> None:
        folder = split_name(name)[0]
        above = {folder}
        while folder := split_name(folder)[0]:
            above.add(folder)
        if not above.isdisjoint(self._names):
            raise TargetError(Fault.UNSAFE, f"{self.path}/{name}: lies in a file")
        self._reserve(memoryview(data).nbytes)
        self._folders |= above
        file = _File(live=bytearray(data))
        self._names[name] = file
        self._changes.append(_Naming(name, file))
        if file.live:
            self._changes.append(_Write(file, 0, bytes(data)))

    def _resize(self, name: str, length: int, *, grow: bool) -> None:
        with self._open():
            file = self._file(name)
            change = _Resize(file, length, grow)
            before_len = file.used_len
            added_len = max(0, length - len(file.live))
            self._reserve(added_len)
            change.apply(file.live)
            whole_count = len(file.live) // BLOCK_LEN
            file.holes = {number for number in file.holes if number < whole_count}
            self._used_len += file.used_len - before_len - added_len
            self._changes.append(change)

    def _reserve(self, length: int) -> None:
        if length > self._total_len - self._used_len:
            raise TargetError(Fault.FULL, f"{self.path}: no space left")
        self._used_len += length

    def _settle_all(self, chosen: Callable[[_Change], bool]) -> None:
        left = []
        for change in self._changes:
            if chosen(change):
                self._settle(change)
            else:
                left.append(change)
        self._changes = left

    def _settle(self, change: _Change) -> None:
        if isinstance(change, _Naming):
            change.apply(self._durable_names)
        else:
            change.apply(change.file.durable)


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset:offset + len(data)] = data
