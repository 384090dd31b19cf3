"""How far a long piece of work has come."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Lengths in bytes of shards looked at; counts of shards."""

    done_len: int
    total_len: int
    mended_count: int
    bad_count: int


ProgressTaker = Callable[[Progress], None]
