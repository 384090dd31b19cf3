"""Opens and joins everything below: claim, commit, recovery, checkpoints, reclaiming, status.

Owns who may write and what is durable. Repair is handed to it as an argument; it knows no FUSE.
"""

from ecfs.volume.adopting import last_exchange, note_filled
from ecfs.volume.anchor import PathMemory
from ecfs.volume.background import Mender
from ecfs.volume.claiming import HostLock, box_keys
from ecfs.volume.creating import PoolMade
from ecfs.volume.descent import Freshness
from ecfs.volume.entry import create_pool, open_volume, peek_pool
from ecfs.volume.environment import Environment, Host, OpenOptions, PoolOrder, Secret
from ecfs.volume.everywhere import on_online
from ecfs.volume.holes import dead_len_of
from ecfs.volume.leftovers import clear_leftovers
from ecfs.volume.locate import Located, label_mac, look_for_rest, shows, unlock
from ecfs.volume.looking import look_at, look_everywhere, pool_of
from ecfs.volume.membership import exchange_member, finish_exchange
from ecfs.volume.mending import find_bad, mend_labels, mend_records
from ecfs.volume.opening import claimer_of
from ecfs.volume.recordfiles import next_block
from ecfs.volume.recordscan import scan_member
from ecfs.volume.sighting import Sighting
from ecfs.volume.space import VolumeSpace
from ecfs.volume.status import COPY_OUT, PoolStatus, TargetStatus
from ecfs.volume.tending import Tender
from ecfs.volume.volume import Volume

__all__ = [
    "COPY_OUT", "Environment", "Freshness", "Host", "HostLock", "Located", "Mender", "OpenOptions",
    "PathMemory", "PoolMade", "PoolOrder", "PoolStatus", "Secret", "Sighting", "TargetStatus",
    "Tender", "Volume", "VolumeSpace", "box_keys", "claimer_of", "clear_leftovers", "create_pool",
    "dead_len_of",
    "exchange_member", "find_bad", "finish_exchange", "label_mac", "last_exchange", "look_at",
    "look_everywhere", "look_for_rest", "mend_labels", "mend_records", "next_block", "note_filled",
    "on_online", "open_volume", "peek_pool", "pool_of", "scan_member", "shows", "unlock",
]
