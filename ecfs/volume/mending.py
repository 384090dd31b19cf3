"""Putting records and labels of an open volume right."""

from ecfs.base.errors import Damage
from ecfs.base.limits import LABEL_LEN_MAX
from ecfs.formats import check_label, decode_label, labels_among
from ecfs.observe import Event, EventKind
from ecfs.targets import Target
from ecfs.volume.locate import label_mac
from ecfs.volume.records import on_online
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

    (how many were bad, how many targets hold a good one now that did not).
    """
    mac = label_mac(volume.opened.master)

    def is_good(target: Target) -> bool:
        names = labels_among(target.list_names())
        for _, _, name in names[:2]:
            target.forget(name)
            try:
                signed = decode_label(target.read(name, 0, LABEL_LEN_MAX + 1))
                check_label(signed, mac)
            except Damage:
                return False
            if signed.was_rotten:
                return False
        return bool(names)

    results = await on_online(volume.fleet, is_good)
    bad = [target_id for target_id, result in results.items() if result is not True]
    if not bad:
        return 0, 0
    for target_id in bad:
        volume.journal.record(Event(EventKind.LABEL_BAD, "label is rotten; it is written anew",
                                    target=target_id))
    # Twice, since the label before the newest is kept too.
    await volume.labeller.write(None)
    held = await volume.labeller.write(None)
    return len(bad), len(held & set(bad))
