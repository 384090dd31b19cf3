"""Dirty bytes of one file: sorted runs that neither overlap nor cross a window of 2 MiB.

A window is the most that one extent holds, so that a run is flushed as one extent.
"""

from bisect import bisect_right

from ecfs.base.limits import STRIPE_PAYLOAD_MAX

WINDOW_LEN = STRIPE_PAYLOAD_MAX

Buffer = bytes | bytearray | memoryview


class Runs:
    """Runs by their offset in the file. Buffers are changed in place until they are taken."""

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._buffers: dict[int, bytearray] = {}
        self.length = 0
        self.full_count = 0

    def __bool__(self) -> bool:
        return bool(self._offsets)

    def write(self, offset: int, data: Buffer) -> int:
        """Put `data` at `offset`; by how many bytes the dirty length grew."""
        before = self.length
        view = memoryview(data)
        while view:
            room = WINDOW_LEN - offset % WINDOW_LEN
            self._write_in_window(offset, view[:room])
            offset += room
            view = view[room:]
        return self.length - before

    def _write_in_window(self, offset: int, data: memoryview) -> None:
        end = offset + len(data)
        window = offset - offset % WINDOW_LEN
        first = last = bisect_right(self._offsets, offset)
        while first and self._offsets[first - 1] >= window and self._end(first - 1) >= offset:
            first -= 1
        limit = window + WINDOW_LEN
        while last < len(self._offsets) and self._offsets[last] <= end and (
                self._offsets[last] < limit):
            last += 1
        if first == last:
            self._offsets.insert(first, offset)
            self._buffers[offset] = bytearray(data)
            self.length += len(data)
            self.full_count += len(data) == WINDOW_LEN
            return
        start = self._offsets[first]
        buffer = self._buffers[start]
        old_len = sum(len(self._buffers[at]) for at in self._offsets[first:last])
        fulls = sum(len(self._buffers[at]) == WINDOW_LEN for at in self._offsets[first:last])
        if last - first > 1 or offset < start:
            start = min(start, offset)
            buffer = self._merged(first, last, start, max(end, self._end(last - 1)))
        buffer[offset - start : end - start] = data
        self.length += len(buffer) - old_len
        self.full_count += (len(buffer) == WINDOW_LEN) - fulls

    def _merged(self, first: int, last: int, start: int, end: int) -> bytearray:
        merged = bytearray(end - start)
        for at in self._offsets[first:last]:
            buffer = self._buffers.pop(at)
            merged[at - start : at - start + len(buffer)] = buffer
        self._offsets[first:last] = [start]
        self._buffers[start] = merged
        return merged

    def _end(self, index: int) -> int:
        at = self._offsets[index]
        return at + len(self._buffers[at])

    def cut(self, size: int) -> int:
        """Drop everything from `size` on; how many bytes went."""
        before = self.length
        while self._offsets and self._end(len(self._offsets) - 1) > size:
            at = self._offsets[-1]
            buffer = self._buffers[at]
            self.full_count -= len(buffer) == WINDOW_LEN
            self.length -= max(at + len(buffer) - max(at, size), 0)
            if at >= size:
                self._offsets.pop()
                del self._buffers[at]
            else:
                self._buffers[at] = buffer[: size - at]
        return before - self.length

    def overlapping(self, low: int, high: int) -> list[tuple[int, bytes]]:
        """Copies of the dirty bytes within [low, high), as (offset, bytes)."""
        found = []
        index = max(bisect_right(self._offsets, low) - 1, 0)
        for at in self._offsets[index:]:
            if at >= high:
                break
            buffer = self._buffers[at]
            if at + len(buffer) > low:
                begin = max(low, at)
                found.append((begin, bytes(memoryview(buffer)[begin - at : high - at])))
        return found

    def take_full(self, count_max: int) -> list[tuple[int, bytearray]]:
        """Take out up to `count_max` runs that fill their window."""
        if not self.full_count:
            return []
        chosen = [at for at in self._offsets if len(self._buffers[at]) == WINDOW_LEN][:count_max]
        return [self._take(at) for at in chosen]

    def take_all(self) -> list[tuple[int, bytearray]]:
        """Take out everything, in order."""
        return [self._take(at) for at in list(self._offsets)]

    def _take(self, at: int) -> tuple[int, bytearray]:
        buffer = self._buffers.pop(at)
        self._offsets.remove(at)
        self.length -= len(buffer)
        self.full_count -= len(buffer) == WINDOW_LEN
        return at, buffer
