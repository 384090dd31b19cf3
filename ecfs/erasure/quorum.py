"""Quorums: how many members hold the records of a pool, and how many of them must answer."""

from dataclasses import dataclass

from ecfs.base.errors import Bug
from ecfs.base.limits import MEMBERS_MAX, PARITY_SHARDS_MAX
from ecfs.erasure.geometry import Geometry

_MEMBERS_WANTED = 7

assert max(_MEMBERS_WANTED, 2 * PARITY_SHARDS_MAX + 2) <= MEMBERS_MAX


@dataclass(frozen=True, slots=True)
class Quorum:
    """All counts are of members.

    `liars` is the constant f; `commit` acknowledgements make a record count; a recovery that asks
    `recover` members meets at least f+1 of those that acknowledged it, so at least one that is
    honest.
    """

    members: int
    liars: int
    commit: int
    recover: int


def quorum_for(targets_count: int, parity: int) -> Quorum:
    """The quorum of a pool of `targets_count` targets that keeps `parity` parity shards.

    One liar is withstood where that leaves the pool writable with `parity` targets away.
    """
    if targets_count < 1 or not 0 <= parity <= PARITY_SHARDS_MAX:
        raise Bug(f"no quorum for {targets_count} targets and {parity} parity shards")
    members = min(targets_count, max(_MEMBERS_WANTED, 2 * parity + 2))
    liars = 1
    if _commit(members, liars) > members - parity:
        liars = 0
        members = min(targets_count, max(_MEMBERS_WANTED, 2 * parity + 1))
    commit = _commit(members, liars)
    return Quorum(members, liars, commit, members - commit + liars + 1)


def data_quorum(geometry: Geometry, liars: int) -> int:
    """Count of synced shards that make a stripe durable: k+f, or all where there are fewer."""
    if liars < 0:
        raise Bug(f"{liars} liars")
    return min(geometry.data + liars, geometry.shards)


def _commit(members: int, liars: int) -> int:
    return (members + liars) // 2 + 1
