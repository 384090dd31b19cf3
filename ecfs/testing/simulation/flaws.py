"""What is wrong with single ranges of a disk's files, laid over content that is kept as it was."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from ecfs.base.errors import Fault, TargetError


class FlawKind(StrEnum):
    """How a range reads."""

    ROT = "rot"
    ZEROS = "zeros"
    UNREADABLE = "unreadable"
    SHOWN = "shown"


@dataclass(frozen=True, slots=True)
class Flaw:
    """A range of a file that does not read as it was written. `shown`: for SHOWN, the bytes that
    are read instead, such as older ones or those of another place; for ROT the mask."""

    kind: FlawKind
    start: int
    end: int
    shown: bytes = b""

    def apply(self, offset: int, data: bytearray) -> None:
        """Change what was read at `offset`; TargetError(IO) for a sector that cannot be read."""
        low, high = max(self.start, offset), min(self.end, offset + len(data))
        if low >= high:
            return
        if self.kind is FlawKind.UNREADABLE:
            raise TargetError(Fault.IO, f"latent sector error at {low:x}")
        inside = slice(low - offset, high - offset)
        if self.kind is FlawKind.ZEROS:
            data[inside] = bytes(high - low)
            return
        shown = self.shown[low - self.start : high - self.start].ljust(high - low, b"\0")
        if self.kind is FlawKind.ROT:
            shown = bytes(one ^ mask for one, mask in zip(data[inside], shown, strict=True))
        data[inside] = shown

    def without(self, start: int, end: int) -> Iterator["Flaw"]:
        """What is left once the range start..end was written anew."""
        for low, high in ((self.start, min(self.end, start)), (max(self.start, end), self.end)):
            if low < high:
                yield Flaw(self.kind, low, high,
                           self.shown[low - self.start : high - self.start])


class Flaws:
    """The flaws of one disk, by file. Writing over a flaw ends it, as it does on a disk."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[Flaw]] = {}

    def __len__(self) -> int:
        """How many there are."""
        return sum(map(len, self._by_name.values()))

    def add(self, name: str, flaw: Flaw) -> None:
        """One more."""
        self._by_name.setdefault(name, []).append(flaw)

    def of(self, name: str) -> list[Flaw]:
        """Those of one file."""
        return list(self._by_name.get(name, ()))

    def apply(self, name: str, offset: int, data: bytes) -> bytes:
        """What is read instead of `data`. TargetError."""
        flaws = self._by_name.get(name)
        if not flaws:
            return data
        changed = bytearray(data)
        for flaw in flaws:
            flaw.apply(offset, changed)
        return bytes(changed)

    def written(self, name: str, offset: int, length: int) -> None:
        """A range was written."""
        if name in self._by_name:
            left = [part for flaw in self._by_name[name]
                    for part in flaw.without(offset, offset + length)]
            self._by_name[name] = left
            if not left:
                del self._by_name[name]

    def gone(self, name: str) -> None:
        """A file was removed or replaced."""
        self._by_name.pop(name, None)
