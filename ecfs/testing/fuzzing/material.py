"""Keys, golden files and other fixed things that fuzz targets stand on.

The keys are those of the golden files, so that a sealed seed opens and its inside can be exchanged.
"""

from functools import cache
from pathlib import Path

from ecfs.formats import BoxKeys
from ecfs.keys import MasterKey, SegmentKeys
from ecfs.sealing import keyed_hash

TOP = Path(__file__).resolve().parents[3]
GOLDEN = TOP / "tests" / "golden" / "files"
POOL_ID = bytes(range(0x10, 0x20))
FRESH = bytes(range(0x80, 0xA0))
EPOCH = 3
SEGMENT = 5


@cache
def master() -> MasterKey:
    """The master key of the golden files."""
    return MasterKey(bytes(range(32)))


@cache
def segment_keys() -> SegmentKeys:
    """Keys of the golden segment."""
    return master().segment(SEGMENT, EPOCH)


@cache
def box_keys(purpose: str) -> BoxKeys:
    """Keys of a kind of box."""
    return BoxKeys(POOL_ID, master().purpose(purpose), master().purpose(f"{purpose} salt"))


def label_mac(body: bytes) -> bytes:
    """The MAC of labels."""
    return keyed_hash(master().purpose("label"), purpose=b"label", parts=[body])


@cache
def golden(name: str) -> bytes:
    """A golden file's bytes."""
    return (GOLDEN / f"{name}.bin").read_bytes()


class FixedEntropy:
    """The same bytes every time."""

    def token(self, length: int) -> bytes:
        """`length` bytes."""
        return (FRESH * (length // len(FRESH) + 1))[:length]
