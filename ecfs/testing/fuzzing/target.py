"""What a fuzz target is, and how one input is run within bounds of time and memory."""

import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ecfs.base.errors import Bug, Damage, EcfsError, Refusal
from ecfs.base.units import MIB

SECONDS_MAX = 1.0
MEMORY_LEN_MAX = 64 * MIB
INPUT_LEN_MAX = 128 << 10

Refusals = tuple[type[EcfsError], ...]


class Breach(AssertionError):
    """A parser broke its promise: too slow, too greedy, a wrong answer, or a wrong exception."""


@dataclass(frozen=True, slots=True)
class FuzzTarget:
    """One parser under fire. `function` returns or raises one of `refusals`; all else is a finding.

    `seeds` makes inputs to begin with. Bounds are for one input: CPU seconds of this process, and
    bytes of Python's heap at their peak.
    """

    name: str
    function: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    refusals: Refusals = (Damage, Refusal)
    seconds_max: float = SECONDS_MAX
    memory_len_max: int = MEMORY_LEN_MAX

    def run(self, data: bytes) -> bool:
        """Whether the input was taken; False if it was refused. Anything else, a Bug or a second
        too long among it, is raised."""
        began = time.process_time()
        taken = self._taken(data)
        seconds = time.process_time() - began
        if seconds > self.seconds_max:
            raise Breach(f"{self.name}: {seconds:.2f} s for {len(data)} bytes")
        return taken

    def measure(self, data: bytes) -> int:
        """As `run`, and the bytes that the heap grew by at most; Breach past `memory_len_max`."""
        tracemalloc.start()
        try:
            self._taken(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        if peak > self.memory_len_max:
            raise Breach(f"{self.name}: {peak} bytes of heap for {len(data)} bytes")
        return peak

    def _taken(self, data: bytes) -> bool:
        try:
            self.function(data)
        except Bug:
            raise
        except self.refusals as refusal:
            if not str(refusal):
                raise Breach(f"{self.name}: a refusal without a word") from refusal
            return False
        return True


def expect(condition: bool, what: str) -> None:
    """Breach unless the condition holds."""
    if not condition:
        raise Breach(what)
