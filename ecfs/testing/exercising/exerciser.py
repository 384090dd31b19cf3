"""What is called next: drawn by a seed, so that a seed is always the same calls."""

import random
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from ecfs.testing.exercising.tracked_file import ALLOCATIONS, TrackedFile

FILES_COUNT = 3
HISTORY_COUNT = 60
PAGE_LEN = 4096
PATTERN_LEN = 997
"""Random bytes repeat with this period, a prime: no page or sector is like another."""


class Exerciser:
    """Some files of at most `size_max` bytes below `directory`."""

    def __init__(self, directory: Path, seed: int, *, size_max: int) -> None:
        self._source = random.Random(seed)
        self._size_max = size_max
        self._files = [TrackedFile(directory / f"{seed}-{number}") for number in range(FILES_COUNT)]
        self._seed = seed
        self.counts: Counter[str] = Counter()
        self.history: deque[str] = deque(maxlen=HISTORY_COUNT)
        self._calls: list[tuple[int, str, Callable[[TrackedFile], str]]] = [
            (25, "write", self._write), (18, "read", self._read), (8, "map_read", self._map_read),
            (8, "map_write", self._map_write), (8, "truncate", self._truncate),
            (7, "allocate", self._allocate), (9, "copy", self._copy), (5, "sync", self._sync),
            (3, "reopen", self._reopen), (4, "evict", self._evict), (3, "holes", self._holes),
            (2, "rename", self._rename)]
        self._weights = [weight for weight, _, _ in self._calls]

    def step(self) -> None:
        """One call. AssertionError or OSError when it went wrong, with `history` to repeat it."""
        number = self._source.randrange(FILES_COUNT)
        _, name, call = self._source.choices(self._calls, self._weights)[0]
        self.counts[name] += 1
        # Told before it runs, and in full after it, for the one that fails or hangs.
        self.history.append(f"{name} of file {number}")
        told = call(self._files[number])
        self.history[-1] = f"{name} of file {number}: {told}"

    def check(self) -> None:
        """Every byte of every file."""
        for file in self._files:
            file.check()

    def close(self) -> None:
        """Before an unmount."""
        for file in self._files:
            file.close()

    def reopen(self) -> None:
        """After a mount."""
        for file in self._files:
            file.reopen()

    def _write(self, file: TrackedFile) -> str:
        offset, length = self._range(self._size_max)
        file.write(offset, self._bytes(length))
        return f"{offset} + {length}"

    def _read(self, file: TrackedFile) -> str:
        offset, length = self._range(self._size_max)
        file.read(offset, length)
        return f"{offset} + {length}"

    def _map_read(self, file: TrackedFile) -> str:
        if not file.content:
            return "empty"
        offset, length = self._range(len(file.content))
        file.map_read(offset, length)
        return f"{offset} + {length}"

    def _map_write(self, file: TrackedFile) -> str:
        if not file.content:
            return "empty"
        offset, length = self._range(len(file.content))
        flush = self._source.random() < 0.5
        file.map_write(offset, self._bytes(length), flush=flush)
        return f"{offset} + {length}, flush {flush}"

    def _truncate(self, file: TrackedFile) -> str:
        size = self._source.choice([
            0, self._source.randint(0, self._size_max), self._source.randint(0, self._size_max),
            len(file.content) + self._source.randint(-PAGE_LEN, PAGE_LEN)])
        size = min(max(0, size), self._size_max)
        file.truncate(size)
        return str(size)

    def _allocate(self, file: TrackedFile) -> str:
        mode = self._source.choice(ALLOCATIONS)
        offset, length = self._range(self._size_max)
        file.allocate(mode, offset, length)
        return f"mode {mode:#x}, {offset} + {length}"

    def _copy(self, file: TrackedFile) -> str:
        if not file.content:
            return "empty"
        other = self._source.choice(self._files)
        offset, length = self._range(len(file.content))
        to = self._source.randint(0, self._size_max - length)
        if self._source.random() < 0.5:
            to -= to % PAGE_LEN
        if other is file and offset < to + length and to < offset + length:
            return "overlapping"
        file.copy_to(other, offset, length, to)
        return f"{offset} + {length} to {to} of file {self._files.index(other)}"

    def _sync(self, file: TrackedFile) -> str:
        only_data = self._source.random() < 0.5
        file.sync(only_data=only_data)
        return f"only data {only_data}"

    def _reopen(self, file: TrackedFile) -> str:
        file.close()
        file.reopen()
        return ""

    def _evict(self, file: TrackedFile) -> str:
        file.evict()
        return ""

    def _holes(self, file: TrackedFile) -> str:
        file.check_holes()
        return ""

    def _rename(self, file: TrackedFile) -> str:
        name = file.path.name
        other = f"{self._seed}-other"
        file.path.with_name(other).write_bytes(b"replaced")
        file.rename(other)
        file.rename(name)
        return ""

    def _range(self, size: int) -> tuple[int, int]:
        """Offset and length, at least 1, within `size` bytes: mostly short, at times aligned."""
        offset = self._source.randrange(size)
        if self._source.random() < 0.3:
            offset -= offset % PAGE_LEN
        kind = self._source.random()
        if kind < 0.3:
            length = self._source.randint(1, 300)
        elif kind < 0.7:
            length = self._source.randint(1, 70_000)
        else:
            length = self._source.randint(1, max(1, size // 2))
        if self._source.random() < 0.2:
            length = max(PAGE_LEN, length - length % PAGE_LEN)
        return offset, min(length, size - offset)

    def _bytes(self, length: int) -> bytes:
        pattern = self._source.randbytes(min(length, PATTERN_LEN))
        return (pattern * (length // len(pattern) + 1))[:length]
