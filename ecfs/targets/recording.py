"""A target that tells what was asked of another one, and can take back what was not synced."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from ecfs.base.errors import TargetError
from ecfs.base.units import MIB
from ecfs.targets.names import check_name, split_name
from ecfs.targets.protocol import Buffer, Space, Target
from ecfs.targets.undo import Undo, UndoLog

_PIECE_LEN = 4 * MIB


@dataclass(frozen=True, slots=True)
class Call:
    """One call that returned without an error. `name` is a folder for calls about folders; `length`
    is what was asked for; `sync` says whether the call made something durable."""

    method: str
    name: str = ""
    offset: int = 0
    length: int = 0
    sync: bool = False


class RecordingTarget:
    """Passes every call on to `inner`, keeps the calls, and keeps the old state of what was changed
    and not synced, so that `drop_unsynced` can bring it back.

    With `undo_path` the old state lies in that file too: after a kill of the process a new
    RecordingTarget over the same directory, with the same `undo_path`, can drop what the killed one
    had not synced, though the kernel would have kept it. One lock: calls happen one at a time.
    """

    def __init__(self, inner: Target, *, undo_path: str | None = None) -> None:
        self.inner = inner
        self.path = inner.path
        self.calls: list[Call] = []
        self._lock = threading.RLock()
        self._undo = UndoLog(undo_path)

    def drop_unsynced(self) -> int:
        """Put every file and name back as of its last sync, as a power cut may. Returns how many
        changes were taken back."""
        with self._lock:
            undos = self._undo.all()
            for undo in reversed(undos):
                self._take_back(undo)
            self._undo.clear()
            return len(undos)

    def device(self) -> int:
        """As `inner`."""
        return self.inner.device()

    def list_names(self, folder: str = "") -> list[str]:
        """As `inner`."""
        with self._lock:
            names = self.inner.list_names(folder)
            self._note("list_names", folder)
            return names

    def create(self, name: str, data: Buffer, *, sync: bool = True) -> None:
        """As `inner`."""
        with self._lock:
            self.inner.create(name, data, sync=sync)
            if sync:
                self._undo.settle_names(split_name(name)[0])
            else:
                self._undo.add(Undo("create", name))
                if memoryview(data).nbytes:
                    self._undo.add(Undo("bytes", name))
            self._note("create", name, 0, memoryview(data).nbytes, sync=sync)

    def replace(self, name: str, data: Buffer) -> None:
        """As `inner`."""
        with self._lock:
            # Before, not after: a kill in between must not leave undos for the file that was there.
            self._undo.settle_bytes(name)
            self.inner.replace(name, data)
            self._undo.settle_names(split_name(name)[0])
            self._note("replace", name, 0, memoryview(data).nbytes, sync=True)

    def read(self, name: str, offset: int, length: int) -> bytes:
        """As `inner`."""
        data = self.inner.read(name, offset, length)
        self._note("read", name, offset, length)
        return data

    def read_now(self, name: str, offset: int, length: int) -> Buffer | None:
        """Never: a call that is kept is a `read`."""
        return None

    def write(self, name: str, offset: int, buffers: Sequence[Buffer]) -> None:
        """As `inner`."""
        length = sum(memoryview(buffer).nbytes for buffer in buffers)
        with self._lock:
            self._keep_range(name, offset, length)
            self.inner.write(name, offset, buffers)
            self._note("write", name, offset, length)

    def sync(self, name: str) -> None:
        """As `inner`."""
        with self._lock:
            self.inner.sync(name)
            self._undo.settle_bytes(name)
            self._note("sync", name, sync=True)

    def size(self, name: str) -> int:
        """As `inner`."""
        return self.inner.size(name)

    def truncate(self, name: str, length: int) -> None:
        """As `inner`."""
        with self._lock:
            self._keep_range(name, length, max(0, self.inner.size(name) - length))
            self.inner.truncate(name, length)
            self._note("truncate", name, length)

    def preallocate(self, name: str, offset: int, length: int) -> None:
        """As `inner`."""
        with self._lock:
            self._keep_range(name, offset, 0)
            self.inner.preallocate(name, offset, length)
            self._note("preallocate", name, offset, length)

    def punch(self, name: str, offset: int, length: int) -> bool:
        """As `inner`."""
        with self._lock:
            self._keep_range(name, offset, length)
            done = self.inner.punch(name, offset, length)
            self._note("punch", name, offset, length)
            return done

    def remove(self, name: str) -> None:
        """As `inner`."""
        folder, base = split_name(check_name(name))
        with self._lock:
            present = base in self.inner.list_names(folder)
            content = self._content(name) if present else None
            self.inner.remove(name)
            if content is not None:
                self._undo.add(Undo("remove", name, data=content))
            self._note("remove", name)

    def sync_folder(self, folder: str) -> None:
        """As `inner`."""
        with self._lock:
            self.inner.sync_folder(folder)
            self._undo.settle_names(folder)
            self._note("sync_folder", folder, sync=True)

    def space(self) -> Space:
        """As `inner`."""
        return self.inner.space()

    def stored_len(self) -> int:
        """As `inner`."""
        return self.inner.stored_len()

    def drop_cache(self, name: str, offset: int, length: int) -> None:
        """As `inner`."""
        self.inner.drop_cache(name, offset, length)

    def forget(self, name: str) -> None:
        """As `inner`."""
        self.inner.forget(name)

    def close(self) -> None:
        """As `inner`. What was not synced can still be dropped by a new one with the same undo
        file."""
        with self._lock:
            self.inner.close()
            self._undo.close()

    def _note(self, method: str, name: str, offset: int = 0, length: int = 0, *,
              sync: bool = False) -> None:
        self.calls.append(Call(method, name, offset, length, sync))

    def _keep_range(self, name: str, offset: int, length: int) -> None:
        size = self.inner.size(name)
        old = self._read(name, offset, max(0, min(length, size - offset)))
        self._undo.add(Undo("bytes", name, offset, old, size))

    def _content(self, name: str) -> bytes | None:
        try:
            return self._read(name, 0, self.inner.size(name))
        except TargetError:
            return None

    def _read(self, name: str, offset: int, length: int) -> bytes:
        pieces = []
        while length > 0 and (piece := self.inner.read(name, offset, min(length, _PIECE_LEN))):
            pieces.append(piece)
            offset, length = offset + len(piece), length - len(piece)
        return b"".join(pieces)

    def _take_back(self, undo: Undo) -> None:
        folder, base = split_name(undo.name)
        present = base in self.inner.list_names(folder)
        if undo.what == "create":
            self.inner.remove(undo.name)
        elif undo.what == "remove" and not present:
            self.inner.create(undo.name, undo.data)
        elif undo.what == "bytes" and present:
            if undo.data:
                self.inner.write(undo.name, undo.offset, [undo.data])
            self.inner.truncate(undo.name, undo.size)
