"""What an exchange that was refused or cut short leaves in the directory of the new target."""

from ecfs.base.errors import Damage, UnknownFormat
from ecfs.base.limits import LABEL_LEN_MAX
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import (
    CLAIM_PATTERN,
    COMMITS_PATTERN,
    HEARTBEAT_PATTERN,
    LABEL_PATTERN,
    SEGMENTS_FOLDER,
    check_label,
    claim_name,
    decode_claim,
    decode_label,
    epochs_among,
    folders_among,
    labels_among,
)
from ecfs.targets import Target
from ecfs.volume.claiming import box_keys
from ecfs.volume.locate import label_mac
from ecfs.volume.volume import Volume

_ORDER = (COMMITS_PATTERN, HEARTBEAT_PATTERN, LABEL_PATTERN, CLAIM_PATTERN)
"""In which files go: what proves that the rest is ours goes last."""


def clear_leftovers(volume: Volume, target: Target) -> bool:
    """Empty a directory that holds nothing but what an exchange into this pool left there; whether
    it was that. Runs in the target's lane. TargetError."""
    names = target.list_names()
    if not _all_left_over(volume, target, names):
        return False
    for pattern in _ORDER:
        for name in filter(pattern.fullmatch, names):
            target.remove(name)
    target.sync_folder("")
    return True


def _all_left_over(volume: Volume, target: Target, names: list[str]) -> bool:
    """Authentic labels of this pool that name no target of it, or an authentic claim; and no column
    of anything: a target that was a part of the pool once has some."""
    if not all(name == SEGMENTS_FOLDER or any(pattern.fullmatch(name) for pattern in _ORDER)
               for name in names):
        return False
    folders = target.list_names(SEGMENTS_FOLDER)
    if folders != folders_among(folders) or any(
            target.list_names(f"{SEGMENTS_FOLDER}/{folder}") for folder in folders):
        return False
    labels = labels_among(names)
    claims = epochs_among(names, CLAIM_PATTERN)
    try:
        mac = label_mac(volume.opened.master)
        for _, _, name in labels:
            label = check_label(decode_label(target.read(name, 0, LABEL_LEN_MAX + 1)), mac)
            if label.pool_id != volume.pool_id or volume.fleet.get(label.target_id) is not None:
                return False
        keys = box_keys(volume.opened.master, volume.pool_id, "claim")
        for epoch in claims:
            decode_claim(target.read(claim_name(epoch), 0, BLOCK_LEN), keys, epoch)
    except (Damage, UnknownFormat):
        return False
    return bool(labels or claims)
