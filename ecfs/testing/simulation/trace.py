"""What happened in a world, line by line: a digest of all of it, and the lines for who reads."""

from collections import Counter, deque

import trio
from blake3 import blake3

LINES_KEPT_MAX = 200_000


class Trace:
    """Every call of a target, operation, event and decision, in order. Two runs with one digest
    did the same. Lines are kept only if `keep`; `counts` always."""

    def __init__(self, *, keep: bool = False) -> None:
        self._hasher = blake3()
        self._keep = keep
        self._lines: deque[str] = deque(maxlen=LINES_KEPT_MAX)
        self.counts: Counter[str] = Counter()
        self.calls_count = 0

    def call(self, place: str, method: str, name: str, offset: int) -> None:
        """A call of a target."""
        self.calls_count += 1
        self._add(f"{place} {method} {name} {offset}")

    def say(self, kind: str, text: str) -> None:
        """Something worth counting by its kind."""
        self.counts[kind] += 1
        self._add(f"{kind}: {text}")

    @property
    def digest(self) -> str:
        """Of everything so far."""
        return str(self._hasher.hexdigest(16))

    @property
    def lines(self) -> list[str]:
        """The newest lines, oldest first."""
        return list(self._lines)

    def _add(self, text: str) -> None:
        line = f"{trio.current_time():.6f} {text}"
        self._hasher.update(line.encode("utf-8", "backslashreplace"))
        if self._keep:
            self._lines.append(line)
