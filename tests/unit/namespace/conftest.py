"""A fresh tree with a clock that ticks."""

from collections.abc import Iterator

import pytest

from ecfs.metadata.database import Database
from ecfs.namespace import Tree


class TickingClock:
    """Each look at it is a nanosecond later."""

    def __init__(self) -> None:
        self.now_ns = 1_000

    def wall_ns(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database.in_memory()
    yield database
    database.close()


@pytest.fixture
def tree(database: Database) -> Tree:
    tree = Tree(database, TickingClock())
    tree.format_root(0, 0, 0o755)
    return tree
