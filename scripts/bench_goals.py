"""What ecfs has to reach, and whether it does."""

from dataclasses import dataclass

PEERS = ("gocryptfs", "securefs")
BEST_PEER = "best peer"


def best_peer(figures: dict[str, float], *, highest: bool) -> float | None:
    """The figure of the better peer of those that were measured."""
    found = [figures[peer] for peer in PEERS if peer in figures]
    if not found:
        return None
    return max(found) if highest else min(found)


@dataclass(frozen=True)
class Goal:
    """A bound on the figure of `whose`, or on its ratio to that of another store.

    `than` is a store's name, or `BEST_PEER`: the better of those of `PEERS` that were measured.
    """

    bound: float
    than: str | None
    at_least: bool
    whose: str = "ecfs"

    def is_met(self, figures: dict[str, float]) -> bool | None:
        """None where a figure is missing."""
        value = figures.get(self.whose)
        other = self._other(figures)
        if value is None or not other:
            return None
        ratio = value / other
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def _other(self, figures: dict[str, float]) -> float | None:
        if self.than is None:
            return 1.0
        if self.than == BEST_PEER:
            return best_peer(figures, highest=self.at_least)
        return figures.get(self.than)

    def __str__(self) -> str:
        than = f" x {self.than}" if self.than else ""
        whose = "" if self.whose == "ecfs" else f"{self.whose} "
        return f"{whose}{'>=' if self.at_least else '<='} {self.bound:.3g}{than}"


@dataclass(frozen=True)
class Goals:
    """Those of one row: on a tmpfs, and on a disk."""

    software: tuple[Goal, ...] = ()
    disk: tuple[Goal, ...] = ()

    def of(self, *, disk: bool) -> tuple[Goal, ...]:
        """Those that count in a run."""
        return self.disk if disk else self.software


def at_least(bound: float, than: str | None = None, whose: str = "ecfs") -> Goal:
    """A lower bound."""
    return Goal(bound, than, at_least=True, whose=whose)


def at_most(bound: float, than: str | None = None, whose: str = "ecfs") -> Goal:
    """An upper bound."""
    return Goal(bound, than, at_least=False, whose=whose)


def both(*goals: Goal) -> Goals:
    """The same on a tmpfs and on a disk."""
    return Goals(goals, goals)
