"""Keys: the master key, the slots that wrap it, and all that is derived from it.

Owns Argon2id and the life of the master key, whose bytes never leave this room unsealed. May not
read labels nor prompt: slots and secrets come as arguments.
"""

from ecfs.formats import KdfParameters, KeySlot, SlotKind
from ecfs.keys.master import MasterKey, SegmentKeys
from ecfs.keys.recovery import parse_recovery_key, recovery_key_text
from ecfs.keys.slots import make_slot, open_slots

__all__ = [
    "KdfParameters",
    "KeySlot",
    "MasterKey",
    "SegmentKeys",
    "SlotKind",
    "make_slot",
    "open_slots",
    "parse_recovery_key",
    "recovery_key_text",
]
