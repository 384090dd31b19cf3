"""Opens and joins everything below: claim, commit, recovery, checkpoints, reclaiming, status.

Owns who may write and what is durable. Repair is handed to it as an argument; it knows no FUSE.
"""

from ecfs.volume.creating import PoolMade
from ecfs.volume.environment import Environment, Host, OpenOptions, PoolOrder, Secret
from ecfs.volume.membership import exchange_member
from ecfs.volume.mending import mend_labels, mend_records
from ecfs.volume.opening import Freshness
from ecfs.volume.space import VolumeSpace
from ecfs.volume.status import PoolStatus, TargetStatus
from ecfs.volume.volume import Mender, Volume, create_pool, open_volume, peek_pool

__all__ = [
    "Environment", "Freshness", "Host", "Mender", "OpenOptions", "PoolMade", "PoolOrder",
    "PoolStatus", "Secret", "TargetStatus", "Volume", "VolumeSpace", "create_pool",
    "exchange_member", "mend_labels", "mend_records", "open_volume", "peek_pool",
]
