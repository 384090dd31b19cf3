"""Putting records and labels of an open volume right."""

from functools import partial

from ecfs.base.errors import Damage, Fault, TargetError, UnknownFormat
from ecfs.base.limits import LABEL_LEN_MAX
from ecfs.formats import (
    CLAIM_PATTERN,
    check_label,
    claim_name,
    decode_label,
    encode_label,
    epochs_among,
    labels_among,
)
from ecfs.observe import Event, EventKind
from ecfs.targets import Target
from ecfs.volume.claiming import CLAIMS_LOOKED_AT_MAX, box_keys, read_claims
from ecfs.volume.everywhere import on_online
from ecfs.volume.labelling import LABELS_KEPT
from ecfs.volume.locate import LabelMac, label_mac
from ecfs.volume.volume import Volume


async def mend_records(volume: Volume, members: tuple[bytes, ...] = ()) -> tuple[int, int]:
    """Give every member (or every one of `members`) that is there the claim and all records that
    are still needed: (how many were bad or absent, how many of them are right now)."""
    committer, start, mender = volume.committer, volume.replay_start, volume.log_mender
    if committer is None or start is None or mender is None:
        return 0, 0
    async with committer.lock:
        return await mender.mend(members or volume.labeller.label.members, start)


async def mend_labels(volume: Volume) -> tuple[int, int]:
    """Write new labels when any target's newest label is rotten, absent or not authentic.

    (how many were bad, how many targets hold a good one now that did not). A target with an older
    one gets the newest without being counted: it was away.
    """
    mac = label_mac(volume.opened.master)
    results = await on_online(volume.fleet, partial(_labelled_as, mac))
    bad = [target_id for target_id, result in results.items() if result != {target_id}]
    label = volume.labeller.label
    newest = (label.epoch, label.generation)
    if not bad and all(member.generation >= newest for member in volume.fleet.online()):
        return 0, 0
    for target_id in bad:
        volume.journal.record(Event(EventKind.LABEL_BAD, "label is rotten; it is written anew",
                                    target=target_id))
    # Twice, since the label before the newest is kept too.
    await volume.labeller.write(None)
    held = await volume.labeller.write(None)
    await on_online(volume.fleet, partial(_remove_junk, mac))
    return len(bad), len(held & set(bad))


async def find_bad(volume: Volume) -> int:
    """Tell of labels and claims that are bad, for a mount that may not mend them: how many targets
    have some. One that does not answer is not known to have any."""
    opened = volume.opened
    mac, keys = label_mac(opened.master), box_keys(opened.master, volume.pool_id, "claim")

    def look(target: Target) -> tuple[set[bytes], list[tuple[EventKind, str]]]:
        epochs = epochs_among(target.list_names(), CLAIM_PATTERN)
        for epoch in epochs[:CLAIMS_LOOKED_AT_MAX]:
            target.forget(claim_name(epoch))
        return _labelled_as(mac, target), read_claims(target, epochs, keys)[1]

    bad_count = 0
    for target_id, result in (await on_online(volume.fleet, look)).items():
        if isinstance(result, TargetError):
            continue
        named, events = result
        if named != {target_id}:
            events.append((EventKind.LABEL_BAD, "label is rotten"))
        for kind, message in events:
            volume.journal.record(Event(kind, message, target=target_id))
        bad_count += any(kind is not EventKind.RECORD_TORN for kind, _ in events)
    return bad_count


def _labelled_as(mac: LabelMac, target: Target) -> set[bytes]:
    """The targets that the newest labels name which are right in every byte, parity and padding
    too; b"" for one that is not. Runs in the target's lane."""
    names = labels_among(target.list_names())[:LABELS_KEPT]
    return {_named_by(mac, target, epoch, generation, name) for epoch, generation, name in names}


def _named_by(mac: LabelMac, target: Target, epoch: int, generation: int, name: str) -> bytes:
    target.forget(name)
    try:
        data = target.read(name, 0, LABEL_LEN_MAX + 1)
        label = check_label(decode_label(data), mac)
    except (Damage, UnknownFormat):
        return b""
    except TargetError as error:
        if error.fault not in (Fault.UNSAFE, Fault.IO):
            raise
        return b""
    if (label.epoch, label.generation) != (epoch, generation) or encode_label(label, mac) != data:
        return b""
    return label.target_id


def _remove_junk(mac: LabelMac, target: Target) -> None:
    """What has a label's name and is none would hide the labels behind it. Runs in the lane."""
    for _, _, name in labels_among(target.list_names()):
        if not _is_authentic(mac, target, name):
            target.remove(name)


def _is_authentic(mac: LabelMac, target: Target, name: str) -> bool:
    target.forget(name)
    try:
        check_label(decode_label(target.read(name, 0, LABEL_LEN_MAX + 1)), mac)
    except (Damage, UnknownFormat):
        return False
    except TargetError as error:
        if error.fault not in (Fault.UNSAFE, Fault.IO):
            raise
        return False
    return True
