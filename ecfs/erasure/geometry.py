"""Geometry: how many data and parity shards a stripe has, and how that follows from targets."""

from dataclasses import dataclass

from ecfs.base.errors import Bug, Damage
from ecfs.base.limits import DATA_SHARDS_MAX, PARITY_SHARDS_MAX


@dataclass(frozen=True, order=True, slots=True)
class Geometry:
    """`data` + `parity` shards; ordered by data, then parity. Impossible counts are a Bug."""

    data: int
    parity: int

    def __post_init__(self) -> None:
        if not _possible(self.data, self.parity):
            raise Bug(f"impossible geometry {self.data}+{self.parity}")

    @classmethod
    def checked(cls, data: int, parity: int) -> "Geometry":
        """A geometry from counts that were read from a target; Damage when they are impossible."""
        if not _possible(data, parity):
            raise Damage(f"impossible geometry {data}+{parity}")
        return cls(data, parity)

    @property
    def shards(self) -> int:
        """Count of all shards of a stripe."""
        return self.data + self.parity

    def __str__(self) -> str:
        return f"{self.data}+{self.parity}"


def metadata_geometry(geometry: Geometry, targets_count: int) -> Geometry:
    """The geometry of metadata in a pool of `geometry`: one parity shard more where it fits.

    Parity never exceeds `targets_count - 1` nor PARITY_SHARDS_MAX.
    """
    if targets_count < 1:
        raise Bug(f"a pool cannot have {targets_count} targets")
    parity = min(geometry.parity + 1, targets_count - 1, PARITY_SHARDS_MAX)
    return Geometry(max(1, min(geometry.data, targets_count - parity)), parity)


def narrowed(geometry: Geometry, writable_count: int) -> Geometry | None:
    """The geometry of new segments while only `writable_count` targets take writes.

    Parity is kept, data shrinks. At one data shard the geometry stays 1+m even with fewer than
    1+m writable targets: what is then missing counts as missed. None without any target.
    """
    if writable_count < 0:
        raise Bug(f"{writable_count} writable targets")
    if writable_count == 0:
        return None
    data = min(geometry.data, writable_count - geometry.parity)
    return Geometry(max(1, data), geometry.parity)


def _possible(data: int, parity: int) -> bool:
    return 1 <= data <= DATA_SHARDS_MAX and 0 <= parity <= PARITY_SHARDS_MAX
