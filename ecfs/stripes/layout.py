"""Where the units of an extent lie in a stripe: pure arithmetic.

A stripe has k data bodies of `body_len` bytes. A *position* is shard * body_len + offset in the
body. An extent is cut into units of at most 64 KiB, each followed by its AEAD tag, none across two
shards; where less than a whole unit is left in a shard, the unit is cut at a multiple of 4 KiB. So
the extent's position and length alone say where all of its units are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ecfs.base.errors import Bug, Damage
from ecfs.base.limits import AEAD_TAG_LEN, UNIT_LEN_MAX
from ecfs.base.units import BLOCK_LEN, round_down


class Unit(NamedTuple):
    """One sealed piece: `length` plain bytes at `offset` of body `shard`."""

    shard: int
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Where the sealed unit ends in its body."""
        return self.offset + self.length + AEAD_TAG_LEN

    @property
    def nonce(self) -> int:
        """The nonce: unique in a stripe, since no two units begin at one place."""
        return self.shard << 32 | self.offset


@dataclass(frozen=True, slots=True)
class Layout:
    """The data part of a stripe: `data` bodies of `body_len` bytes each."""

    data: int
    body_len: int

    def place(self, start: int, length: int) -> tuple[list[Unit], int]:
        """The units of an extent at position `start`, and the position after it.

        Raises Bug when the extent does not fit.
        """
        if self.body_len <= 0:
            raise Bug("a body too short for any unit")
        if 0 < length <= UNIT_LEN_MAX:
            # What most extents are: one unit, where the one before it ends.
            shard, offset = divmod(start, self.body_len)
            if shard < self.data and offset + length + AEAD_TAG_LEN <= self.body_len:
                return [Unit(shard, offset, length)], start + length + AEAD_TAG_LEN
        units, _, position = self._cut(start, length, 0, length)
        return units, position

    def _cut(self, start: int, length: int, low: int, high: int) -> tuple[list[Unit], int, int]:
        """Of an extent: units that hold its bytes [low, high), where in it the first of them
        begins, and the position after the last. Whole units before `low` are jumped over."""
        shard, offset = divmod(start, self.body_len)
        units: list[Unit] = []
        first = done = 0
        while done < min(length, high):
            left = length - done
            room = self.body_len - offset - AEAD_TAG_LEN
            if room < min(left, BLOCK_LEN):
                shard, offset = shard + 1, 0
                if self.body_len - AEAD_TAG_LEN < min(left, BLOCK_LEN):
                    raise Bug("a body too short for any unit")
                continue
            if shard >= self.data:
                raise Bug("an extent does not fit its stripe")
            size = min(left, UNIT_LEN_MAX, room)
            if size == UNIT_LEN_MAX and done + size <= low:
                count = min(left, low - done) // UNIT_LEN_MAX
                count = min(count, (self.body_len - offset) // (UNIT_LEN_MAX + AEAD_TAG_LEN))
                done += count * UNIT_LEN_MAX
                offset += count * (UNIT_LEN_MAX + AEAD_TAG_LEN)
                continue
            if size < left and size < UNIT_LEN_MAX:
                size = round_down(size, BLOCK_LEN)
            if done + size > low:
                if not units:
                    first = done
                units.append(Unit(shard, offset, size))
            offset += size + AEAD_TAG_LEN
            done += size
        return units, first, shard * self.body_len + offset

    def starts(self, lengths: Iterable[int]) -> list[int]:
        """The positions at which extents of these lengths begin, one after the other. Bug when they
        do not fit."""
        body_len, end = self.body_len, self.data * self.body_len
        if body_len <= 0:
            raise Bug("a body too short for any unit")
        starts = []
        position = 0
        for length in lengths:
            after = position + length + AEAD_TAG_LEN
            if 0 < length <= UNIT_LEN_MAX and position % body_len + length + AEAD_TAG_LEN <= (
                    body_len) and position < end:
                # As in `place`.
                starts.append(position)
                position = after
                continue
            units, position = self.place(position, length)
            starts.append(units[0].shard * body_len + units[0].offset if units else position)
        return starts

    def units_of(self, start: int, length: int) -> list[Unit]:
        """Units of an extent that was stored: Damage where it cannot lie there."""
        try:
            return self.place(start, length)[0]
        except Bug as error:
            raise Damage("an extent lies outside of its stripe") from error

    def units_within(self, start: int, length: int, low: int, high: int) -> tuple[list[Unit], int]:
        """Units that hold bytes [low, high) of an extent, and how far into the first `low` lies."""
        try:
            units, first, _ = self._cut(start, length, low, min(high, length))
        except Bug as error:
            raise Damage("an extent lies outside of its stripe") from error
        return units, low - first if units else 0


def sealed_len_estimate(lengths: Iterable[int]) -> int:
    """At most how much extents of these lengths take, units cut only by size."""
    return sum(length + AEAD_TAG_LEN * -(-length // UNIT_LEN_MAX) for length in lengths)
