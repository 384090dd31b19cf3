"""Dirty bytes of one file: sorted runs that neither overlap nor cross a window of 2 MiB.

A window is the most that one extent holds, so that a run is flushed as one extent.
"""

from bisect import bisect_right

from ecfs.base.limits import STRIPE_PAYLOAD_MAX
from ecfs.base.rope import Buffer, Rope
from ecfs.base.units import KIB

WINDOW_LEN = STRIPE_PAYLOAD_MAX
PART_LEN_MIN = 64 * KIB
"""Shorter parts are joined: each is an object, and a place where a unit may have to be put together
from two."""


class _Run:
    """Bytes that follow each other. Appended parts are kept as they came until somebody looks."""

    __slots__ = ("_parts", "length")

    def __init__(self, data: Buffer) -> None:
        self._parts: list[Buffer] = [data]
        self.length = len(data)

    def append(self, data: Buffer) -> None:
        """Add at the end, without a copy; `data` must not change any more."""
        self._parts.append(data)
        self.length += len(data)

    def joined(self) -> bytearray:
        """One buffer, which is the run from then on."""
        first = self._parts[0]
        if len(self._parts) > 1 or not isinstance(first, bytearray):
            first = bytearray().join(self._parts)
            self._parts = [first]
        return first

    def taken(self) -> Buffer | Rope:
        """The bytes, for who lets go of the run: as they came, where that was in long parts."""
        if len(self._parts) == 1:
            return self._parts[0]
        if self.length < PART_LEN_MIN * len(self._parts):
            return self.joined()
        return Rope(self._parts)

    def overwrite(self, at: int, data: Buffer) -> None:
        """Put `data` at `at`, which may extend the run."""
        buffer = self.joined()
        buffer[at : at + len(data)] = data
        self.length = len(buffer)


class Runs:
    """Runs by their offset in the file. Data that is written must not change afterwards."""

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._runs: dict[int, _Run] = {}
        self.length = 0
        self.full_count = 0

    def __bool__(self) -> bool:
        return bool(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)

    def write(self, offset: int, data: Buffer) -> int:
        """Put `data` at `offset`; by how many bytes the dirty length grew."""
        before = self.length
        room = WINDOW_LEN - offset % WINDOW_LEN
        if len(data) <= room:
            if data:
                self._write_in_window(offset, data)
            return self.length - before
        view = memoryview(data)
        while view:
            self._write_in_window(offset, view[:room])
            offset += room
            view = view[room:]
            room = WINDOW_LEN
        return self.length - before

    def _write_in_window(self, offset: int, data: Buffer) -> None:
        end = offset + len(data)
        first = last = bisect_right(self._offsets, offset)
        if (not first or self._end(first - 1) < offset) and (
                last == len(self._offsets) or self._offsets[last] > end):
            self._add(first, offset, data)
            return
        window = offset - offset % WINDOW_LEN
        while first and self._offsets[first - 1] >= window and self._end(first - 1) >= offset:
            first -= 1
        limit = window + WINDOW_LEN
        while last < len(self._offsets) and self._offsets[last] <= end and (
                self._offsets[last] < limit):
            last += 1
        if first == last:
            # Beside others, but in a window of its own.
            self._add(first, offset, data)
            return
        start = self._offsets[first]
        run = self._runs[start]
        if last - first == 1 and start + run.length == offset:
            # Who writes in sequence.
            run.append(data)
            self.length += len(data)
            self.full_count += run.length == WINDOW_LEN
            return
        old_len = sum(self._runs[at].length for at in self._offsets[first:last])
        fulls = sum(self._runs[at].length == WINDOW_LEN for at in self._offsets[first:last])
        if last - first > 1 or offset < start:
            start = min(start, offset)
            run = self._merged(first, last, start, max(end, self._end(last - 1)))
        run.overwrite(offset - start, data)
        self.length += run.length - old_len
        self.full_count += (run.length == WINDOW_LEN) - fulls

    def _add(self, index: int, offset: int, data: Buffer) -> None:
        self._offsets.insert(index, offset)
        self._runs[offset] = _Run(data)
        self.length += len(data)
        self.full_count += len(data) == WINDOW_LEN

    def _merged(self, first: int, last: int, start: int, end: int) -> _Run:
        merged = bytearray(end - start)
        for at in self._offsets[first:last]:
            buffer = self._runs.pop(at).joined()
            merged[at - start : at - start + len(buffer)] = buffer
        self._offsets[first:last] = [start]
        run = self._runs[start] = _Run(merged)
        return run

    def _end(self, index: int) -> int:
        at = self._offsets[index]
        return at + self._runs[at].length

    def cut(self, size: int) -> int:
        """Drop everything from `size` on; how many bytes went."""
        before = self.length
        while self._offsets and self._end(len(self._offsets) - 1) > size:
            at = self._offsets[-1]
            run = self._runs[at]
            self.full_count -= run.length == WINDOW_LEN
            self.length -= run.length - max(size - at, 0)
            if at >= size:
                self._offsets.pop()
                del self._runs[at]
            else:
                self._runs[at] = _Run(run.joined()[: size - at])
        return before - self.length

    def overlapping(self, low: int, high: int) -> list[tuple[int, bytes]]:
        """Copies of the dirty bytes within [low, high), as (offset, bytes)."""
        found = []
        index = max(bisect_right(self._offsets, low) - 1, 0)
        for at in self._offsets[index:]:
            if at >= high:
                break
            run = self._runs[at]
            if at + run.length > low:
                begin = max(low, at)
                found.append((begin, bytes(memoryview(run.joined())[begin - at : high - at])))
        return found

    def spans(self) -> list[tuple[int, int]]:
        """`(begin, end)` of all runs, in order."""
        return [(at, at + self._runs[at].length) for at in self._offsets]

    def take_full(self, count_max: int) -> list[tuple[int, Buffer | Rope]]:
        """Take out up to `count_max` runs that fill their window."""
        if not self.full_count:
            return []
        chosen = [at for at in self._offsets if self._runs[at].length == WINDOW_LEN][:count_max]
        return [self._take(at) for at in chosen]

    def take_all(self) -> list[tuple[int, Buffer | Rope]]:
        """Take out everything, in order."""
        taken = [(at, self._runs[at].taken()) for at in self._offsets]
        self._offsets, self._runs = [], {}
        self.length = self.full_count = 0
        return taken

    def _take(self, at: int) -> tuple[int, Buffer | Rope]:
        run = self._runs.pop(at)
        self._offsets.remove(at)
        self.length -= run.length
        self.full_count -= run.length == WINDOW_LEN
        return at, run.taken()
