"""What a target's medium holds after a crash: durable files, and any part of what was not synced.

As strict as POSIX allows: bytes and names are apart, each durable only by its own sync, and of what
was not synced any subset may be there, the last write of it torn.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from blake3 import blake3

from ecfs.targets.names import split_name

SUBSET_BITS_MAX = 5
SAMPLED_SUBSETS = 12
_TORN_STEP = 512


class What(Enum):
    """The kinds of entries of a log. The first five are changes, the rest make them durable."""

    WRITE = auto()
    SIZE = auto()
    GROW = auto()
    NAME = auto()
    UNNAME = auto()
    SYNC = auto()
    SYNC_FOLDER = auto()


@dataclass(frozen=True, slots=True)
class Entry:
    """One change, or one sync, of a target. `file` is a number that its writes and names share.

    WRITE: `data` at `number`; SIZE, GROW: length `number`; NAME: `name` leads to `file` from now
    on, which holds `data`, durable already; SYNC_FOLDER: `name` is the folder.
    """

    what: What
    file: int = 0
    name: str = ""
    number: int = 0
    data: bytes = b""

    @property
    def is_sync(self) -> bool:
        """Whether it makes something durable."""
        return self.what in (What.SYNC, What.SYNC_FOLDER)


@dataclass(slots=True)
class Image:
    """Files by number and names; never changed once made. `digest` covers names and bytes."""

    names: dict[str, int]
    contents: dict[int, bytes]
    _digest: bytes = b""

    @classmethod
    def of(cls, files: dict[str, bytes]) -> "Image":
        """An image of these files."""
        names = {name: number for number, name in enumerate(files, 1)}
        return cls(names, {names[name]: data for name, data in files.items()})

    def files(self) -> dict[str, bytes]:
        """Bytes by name."""
        return {name: self.contents.get(file, b"") for name, file in self.names.items()}

    def digest(self, known: "Digests") -> bytes:
        """BLAKE3 over all names and bytes."""
        if not self._digest:
            whole = blake3()
            for name, file in sorted(self.names.items()):
                whole.update(f"{len(name)}:{name}".encode())
                whole.update(known.of(self.contents.get(file, b"")))
            self._digest = whole.digest()
        return self._digest

    def after(self, entries: Sequence[Entry], torn_len: int | None = None) -> "Image":
        """With these changes, in order; of the last write only the first `torn_len` bytes."""
        last = max((at for at, entry in enumerate(entries) if entry.what is What.WRITE),
                   default=-1) if torn_len is not None else -1
        names, contents = dict(self.names), dict(self.contents)
        changed: dict[int, bytearray] = {}
        for at, entry in enumerate(entries):
            if entry.what is What.NAME:
                names[entry.name] = entry.file
                contents.setdefault(entry.file, entry.data)
            elif entry.what is What.UNNAME:
                names.pop(entry.name, None)
            else:
                content = changed.get(entry.file)
                if content is None:
                    content = changed[entry.file] = bytearray(contents.get(entry.file, b""))
                _change(content, entry, torn_len if at == last else None)
        contents.update({file: bytes(content) for file, content in changed.items()})
        return Image(names, contents)


class Digests:
    """Digests of contents, each worked out once while somebody holds the bytes."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, bytes]] = {}

    def of(self, data: bytes) -> bytes:
        """BLAKE3 of the bytes."""
        entry = self._known.get(id(data))
        if entry is None:
            entry = self._known[id(data)] = (data, blake3(data).digest())
        return entry[1]

    def clear(self) -> None:
        """Let go of all bytes."""
        self._known.clear()


def _change(content: bytearray, entry: Entry, torn_len: int | None) -> None:
    if entry.what is What.WRITE:
        data = entry.data if torn_len is None else entry.data[:torn_len]
        content.extend(bytes(max(0, entry.number - len(content))))
        content[entry.number : entry.number + len(data)] = data
        return
    if entry.what is What.SIZE:
        del content[entry.number:]
    content.extend(bytes(max(0, entry.number - len(content))))


@dataclass(frozen=True, slots=True)
class Medium:
    """One target between two entries of its log: what is durable, and what is not yet."""

    durable: Image
    pending: tuple[Entry, ...] = ()

    def after(self, entry: Entry) -> "Medium":
        """One entry later."""
        if not entry.is_sync:
            return Medium(self.durable, (*self.pending, entry))
        settled = tuple(change for change in self.pending if _covers(entry, change))
        if not settled:
            return self
        return Medium(self.durable.after(settled),
                      tuple(change for change in self.pending if not _covers(entry, change)))


def _covers(sync: Entry, change: Entry) -> bool:
    if change.what in (What.NAME, What.UNNAME):
        return sync.what is What.SYNC_FOLDER and split_name(change.name)[0] == sync.name
    return sync.what is What.SYNC and change.file == sync.file


@dataclass(frozen=True, slots=True)
class Survivor:
    """What may be on a medium after a crash, and how it came about, in words."""

    image: Image
    story: str
    dropped_count: int


@dataclass(slots=True)
class Survivors:
    """Everything that a crash during one batch of calls may leave of one target, each once."""

    found: dict[bytes, Survivor] = field(default_factory=dict)
    dropped_subsets: int = 0

    def take(self, medium: Medium, position: int, known: Digests, seed: str) -> None:
        """All that may be left between two entries."""
        for kept in _subsets(len(medium.pending), f"{seed}/{position}"):
            entries = [medium.pending[number] for number in kept]
            self.dropped_subsets += 1
            dropped = len(medium.pending) - len(kept)
            for torn_len in _torn_lens(entries):
                image = medium.durable.after(entries, torn_len) if entries else medium.durable
                story = f"after call {position}, kept {list(kept)} of {len(medium.pending)}" + (
                    "" if torn_len is None else f", the last cut to {torn_len} bytes")
                self.found.setdefault(image.digest(known), Survivor(image, story, dropped))


def survivors(medium: Medium, entries: Sequence[Entry], known: Digests,
              seed: str) -> tuple[Survivors, Medium]:
    """What may be left when the power goes during these entries, and the medium after them.

    Only the points before a sync count, and the end: what a crash between leaves is there too.
    """
    all_of_them = Survivors()
    for position, entry in enumerate(entries):
        if entry.is_sync:
            all_of_them.take(medium, position, known, seed)
        medium = medium.after(entry)
    all_of_them.take(medium, len(entries), known, seed)
    return all_of_them, medium


def _subsets(count: int, seed: str) -> Iterator[tuple[int, ...]]:
    """Which of `count` changes are kept: every choice up to a bound, beyond it a sample."""
    if count <= SUBSET_BITS_MAX:
        for bits in range(1 << count):
            yield tuple(number for number in range(count) if bits >> number & 1)
        return
    everything = tuple(range(count))
    yield ()
    yield everything
    for number in range(count):
        yield everything[:number]
        yield everything[:number] + everything[number + 1:]
        yield (number,)
    source = random.Random(seed)
    for _ in range(SAMPLED_SUBSETS):
        yield tuple(number for number in everything if source.random() < 0.5)


def _torn_lens(kept: Sequence[Entry]) -> list[int | None]:
    """Whole, and where there is a write to tear, cut in the middle and just before its end."""
    writes = [entry for entry in kept if entry.what is What.WRITE]
    if not writes:
        return [None]
    length = len(writes[-1].data)
    cuts = {_TORN_STEP, length // 2 // _TORN_STEP * _TORN_STEP, length - _TORN_STEP}
    return [None, *sorted(cut for cut in cuts if 0 < cut < length)]
