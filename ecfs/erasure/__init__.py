"""The code: geometry arithmetic, quorums, and Reed-Solomon over GF(2^8).

Owns the mathematics that says which bytes a parity shard holds and how many targets must agree.
May not know what the bytes mean, where they lie, nor whether they are authentic: whoever calls
`Code.reconstruct` has verified the shards that it hands in.
"""

from ecfs.erasure.code import Code
from ecfs.erasure.geometry import Geometry, metadata_geometry, narrowed
from ecfs.erasure.quorum import Quorum, data_quorum, quorum_for

__all__ = [
    "Code",
    "Geometry",
    "Quorum",
    "data_quorum",
    "metadata_geometry",
    "narrowed",
    "quorum_for",
]
