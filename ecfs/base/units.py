"""Units of size and time."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

BLOCK_LEN = 4 * KIB
"""Granularity of records on a target, of file maps and of database pages, in bytes."""

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_US = 1_000


def round_up(length: int, granule: int) -> int:
    """The smallest multiple of `granule` that is at least `length`."""
    return -(-length // granule) * granule


def round_down(length: int, granule: int) -> int:
    """The largest multiple of `granule` that is at most `length`."""
    return length // granule * granule
