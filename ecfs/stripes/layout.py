"""Where the units of an extent lie in a stripe: pure arithmetic.

A stripe has k data bodies of `body_len` bytes. A *position* is shard * body_len + offset in the
body. An extent is cut into units of at most `unit_len`, each followed by its AEAD tag, none across
two shards; where less than a whole unit is left in a shard, the unit is cut at a multiple of 4 KiB.
So the extent's position and length alone say where all of its units are.

What an extent has in one shard are whole units and then at most one that is shorter: a `UnitRun`.
"""

from collections.abc import Iterable
from typing import NamedTuple

from ecfs.base.errors import Bug, Damage
from ecfs.base.limits import AEAD_TAG_LEN
from ecfs.base.units import BLOCK_LEN, round_down
from ecfs.sealing import sealed_len


class UnitRun(NamedTuple):
    """Units one after the other, the first at `offset` of body `shard`: `length` plain bytes, of
    which each unit holds `unit_len`, the last one what is left."""

    shard: int
    offset: int
    length: int
    unit_len: int

    @property
    def sealed_len(self) -> int:
        """Bytes that they take in the body, tags included."""
        return sealed_len(self.length, self.unit_len)

    @property
    def end(self) -> int:
        """Where the last of them ends in the body."""
        return self.offset + self.sealed_len

    @property
    def nonce(self) -> int:
        """That of the first; the others' grow as their offsets do. Unique in a stripe, since no two
        units begin at one place."""
        return self.shard << 32 | self.offset

    def units(self) -> list["UnitRun"]:
        """Each unit by itself."""
        step = self.unit_len + AEAD_TAG_LEN
        return [UnitRun(self.shard, self.offset + number * step,
                        min(self.unit_len, self.length - number * self.unit_len), self.unit_len)
                for number in range(-(-self.length // self.unit_len))]

    def part(self, low: int, high: int) -> "UnitRun":
        """Those of the units that hold some of the plain bytes [low, high), which are within."""
        first = low // self.unit_len
        end = min(self.length, -(-high // self.unit_len) * self.unit_len)
        return UnitRun(self.shard, self.offset + first * (self.unit_len + AEAD_TAG_LEN),
                       end - first * self.unit_len, self.unit_len)


class Layout(NamedTuple):
    """The data part of a stripe: `data` bodies of `body_len` bytes each, in units of at most
    `unit_len`."""

    data: int
    body_len: int
    unit_len: int

    def place(self, start: int, length: int) -> tuple[list[UnitRun], int]:
        """The units of an extent at position `start`, and the position after it.

        Raises Bug when the extent does not fit.
        """
        data, body_len, unit_len = self
        if body_len <= 0:
            raise Bug("a body too short for any unit")
        shard, offset = divmod(start, body_len)
        whole_len = sealed_len(length, unit_len)
        if length > 0 and shard < data and offset + whole_len <= body_len:
            # As most do, all of it lies in one shard.
            return [UnitRun(shard, offset, length, unit_len)], start + whole_len
        runs = []
        done = 0
        while done < length:
            run = self._run(shard, offset, length - done)
            if run is not None:
                if shard >= data:
                    raise Bug("an extent does not fit its stripe")
                runs.append(run)
                done += run.length
                offset = run.end
            elif body_len - AEAD_TAG_LEN < min(length - done, BLOCK_LEN):
                raise Bug("a body too short for any unit")
            if done < length:
                # What a shard has no room for goes on in the next.
                shard, offset = shard + 1, 0
        return runs, shard * body_len + offset

    def _run(self, shard: int, offset: int, left: int) -> UnitRun | None:
        """What the rest of a body takes of `left` bytes; None if nothing."""
        room = self.body_len - offset
        if sealed_len(left, self.unit_len) <= room:
            return UnitRun(shard, offset, left, self.unit_len)
        step = self.unit_len + AEAD_TAG_LEN
        whole = min(left // self.unit_len, room // step)
        # All of what is left does not fit, so neither does all of what the whole ones leave over.
        short = room - whole * step - AEAD_TAG_LEN
        length = whole * self.unit_len + (round_down(short, BLOCK_LEN) if short > 0 else 0)
        return UnitRun(shard, offset, length, self.unit_len) if length else None

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
            if 0 < length <= self.unit_len and position % body_len + length + AEAD_TAG_LEN <= (
                    body_len) and position < end:
                # Many are one unit, where the one before it ends.
                starts.append(position)
                position = after
                continue
            runs, position = self.place(position, length)
            starts.append(runs[0].shard * body_len + runs[0].offset if runs else position)
        return starts

    def units_of(self, start: int, length: int) -> list[UnitRun]:
        """Units of an extent that was stored: Damage where it cannot lie there."""
        try:
            return self.place(start, length)[0]
        except Bug as error:
            raise Damage("an extent lies outside of its stripe") from error

    def units_within(self, start: int, length: int, low: int, high: int,
                     ) -> tuple[list[UnitRun], int]:
        """Units that hold bytes [low, high) of an extent, and how far into the first `low` lies."""
        runs = self.units_of(start, length)
        if len(runs) == 1 and 0 <= low < high <= length:
            return [runs[0].part(low, high)], low % self.unit_len
        chosen: list[UnitRun] = []
        done = skip = 0
        for run in runs:
            after = done + run.length
            if max(done, low) < min(high, after):
                part = run.part(max(low - done, 0), min(high, after) - done)
                if not chosen:
                    skip = max(low - done, 0) % self.unit_len
                chosen.append(part)
            done = after
        return chosen, skip


def sealed_len_estimate(lengths: Iterable[int], unit_len: int) -> int:
    """At most how much extents of these lengths take, units cut only by size."""
    return sum(sealed_len(length, unit_len) for length in lengths)
