"""What it takes to bring back the state before the changes that were not synced.

The file is a test's tool, not a format of the pool: msgpack maps one after another, nothing synced,
since it only has to outlive the process.
"""

import os
from dataclasses import asdict, dataclass

import msgpack

from ecfs.base.units import MIB
from ecfs.targets.names import split_name

_FILE_GROWTH_MAX = 64 * MIB
_RECORD_LEN_MAX = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Undo:
    """How to take back one change.

    `what` is "bytes" (put `data` back at `offset`, then cut the file to `size`), "create" (remove
    the file) or "remove" (make it again, holding `data`).
    """

    what: str
    name: str
    offset: int = 0
    data: bytes = b""
    size: int = 0


class UndoLog:
    """The undos of all changes not yet durable, in the order of the changes; in a file as well if
    one is given, from which a killed process's are taken up."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._undos: list[Undo] = []
        self._fd = -1
        self._written_len = 0
        if path is not None:
            self._load(path)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._rewrite()

    def all(self) -> list[Undo]:
        """Every undo, oldest change first."""
        return list(self._undos)

    def add(self, undo: Undo) -> None:
        """Remember how to take back a change."""
        self._undos.append(undo)
        self._append(asdict(undo))

    def settle_bytes(self, name: str) -> None:
        """The content of a file is durable."""
        self._settle({"settled": "bytes", "name": name})

    def settle_names(self, folder: str) -> None:
        """The names in a folder are durable; so the content of what was removed there is past."""
        self._settle({"settled": "names", "name": folder})

    def clear(self) -> None:
        """Nothing is to be taken back any more."""
        self._undos.clear()
        self._rewrite()

    def close(self) -> None:
        """Close the file; it keeps what it has."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _settle(self, record: dict[str, str]) -> None:
        before_count = len(self._undos)
        self._apply(record)
        if len(self._undos) == before_count:
            return
        self._append(record)
        if not self._undos or self._written_len > _FILE_GROWTH_MAX:
            self._rewrite()

    def _apply(self, record: dict[str, str]) -> None:
        if record["settled"] == "bytes":
            self._apply_bytes(record["name"])
        else:
            self._apply_names(record["name"])

    def _apply_bytes(self, name: str) -> None:
        """What was written before an unsynced removal belongs to another file of that name."""
        removed_at = max((number for number, undo in enumerate(self._undos)
                          if undo.what == "remove" and undo.name == name), default=-1)
        self._undos = [undo for number, undo in enumerate(self._undos)
                       if undo.what != "bytes" or undo.name != name or number < removed_at]

    def _apply_names(self, folder: str) -> None:
        removed_at = {undo.name: number for number, undo in enumerate(self._undos)
                      if undo.what == "remove" and split_name(undo.name)[0] == folder}
        self._undos = [undo for number, undo in enumerate(self._undos)
                       if split_name(undo.name)[0] != folder
                       or (undo.what == "bytes" and number > removed_at.get(undo.name, -1))]

    def _append(self, record: dict[str, object] | dict[str, str]) -> None:
        if self._fd >= 0:
            self._written_len += os.write(self._fd, msgpack.packb(record))

    def _rewrite(self) -> None:
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            for undo in self._undos:
                os.write(self._fd, msgpack.packb(asdict(undo)))
            self._written_len = 0

    def _load(self, path: str) -> None:
        if not os.path.exists(path):
            return
        with open(path, "rb") as file:
            for record in msgpack.Unpacker(file, max_buffer_size=_RECORD_LEN_MAX):
                if "settled" in record:
                    self._apply(record)
                else:
                    self._undos.append(Undo(**record))
