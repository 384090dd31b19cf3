"""Bytes that lie in several buffers, one after the other (a rope; Boehm, Atkinson and Plass 1995).

What a program writes in sequence comes in requests of up to 1 MiB. To join them costs a copy of
everything that is written, which those who can do without may spare.
"""

from collections.abc import Iterable, Sequence

Buffer = bytes | bytearray | memoryview


class Rope:
    """Some buffers that nobody changes any more, as one string of bytes."""

    __slots__ = ("_length", "parts")

    def __init__(self, parts: Iterable[Buffer]) -> None:
        self.parts: Sequence[Buffer] = tuple(parts)
        self._length = sum(len(part) for part in self.parts)

    def __len__(self) -> int:
        return self._length

    def part_from(self, at: int) -> memoryview:
        """What is left, from `at` on, of the part that holds it."""
        for part in self.parts:
            if at < len(part):
                return memoryview(part)[at:]
            at -= len(part)
        return memoryview(b"")

    def copied(self, low: int, high: int) -> bytes:
        """A copy of the bytes [low, high), as far as they are there."""
        return b"".join(self._within(low, high))

    def _within(self, low: int, high: int) -> Iterable[memoryview]:
        at = 0
        for part in self.parts:
            if at >= high:
                break
            if at + len(part) > low:
                yield memoryview(part)[max(0, low - at) : high - at]
            at += len(part)


def copied(data: Buffer | Rope, low: int, high: int) -> bytes:
    """A copy of the bytes [low, high), as far as they are there."""
    return data.copied(low, high) if isinstance(data, Rope) else bytes(memoryview(data)[low:high])
