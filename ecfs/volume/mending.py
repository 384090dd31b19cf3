"""Putting claims, records and labels right on targets that hold them wrong or not at all."""

from dataclasses import dataclass
from functools import partial

from ecfs.base.errors import Damage, Fault, TargetError
from ecfs.base.limits import LABEL_LEN_MAX, TARGET_DEADLINE_S, TARGET_SYNC_DEADLINE_S
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import (
    check_label,
    claim_name,
    commits_name,
    decode_label,
    labels_among,
    record_hash,
)
from ecfs.observe import Event, EventKind
from ecfs.stripes import Member
from ecfs.targets import Target
from ecfs.volume.claiming import box_keys
from ecfs.volume.locate import label_mac
from ecfs.volume.records import Found, LogView, on_online, read_log
from ecfs.volume.volume import Volume


@dataclass(slots=True)
class _Patch:
    """Bytes that a member's record file should have at an offset."""

    epoch: int
    offset: int
    data: bytes


async def mend_records(volume: Volume,
                       members: tuple[bytes, ...] = ()) -> tuple[int, int]:
    """Give every member (or every one of `members`) that is there the claim and all records that
    are still needed: (how many were bad or absent, how many of them are right now).

    Records keep their bytes and their place. No record is appended meanwhile.
    """
    committer, start = volume.committer, volume.replay_start
    if committer is None or start is None:
        return 0, 0
    bad = mended = 0
    async with committer.lock:
        keys = box_keys(volume.opened.master, volume.pool_id, "commit")
        view = await read_log(volume.fleet, members or volume.labeller.label.members, keys,
                              epoch=start.epoch, offset=start.offset)
        for member in list(volume.fleet.online()):
            if member.id not in view.read:
                continue
            patches = await _patches(volume, view, member)
            claim_bad = await _mend_claim(volume, member)
            bad += len(patches) + claim_bad
            if patches and await _apply(volume, member, patches):
                mended += len(patches)
            mended += claim_bad
    return bad, mended


async def _patches(volume: Volume, view: LogView, member: Member) -> list[_Patch]:
    patches = []
    covered = []
    for key, found in view.records.items():
        covered.append((found.commit.epoch, found.offset, found.offset + found.length))
        if member.id not in view.holders[key]:
            data = await _bytes_of(volume, found, view.holders[key])
            if data is not None:
                patches.append(_Patch(found.commit.epoch, found.offset, data))
    for bad_member, epoch, offset in view.bad:
        inside = any(epoch == at_epoch and low <= offset < high for at_epoch, low, high in covered)
        if bad_member == member.id and not inside:
            # Past the records the file is preallocated zeros, and is to be that again.
            patches.append(_Patch(epoch, offset, bytes(BLOCK_LEN)))
    return patches


async def _bytes_of(volume: Volume, found: Found, holders: set[bytes]) -> bytes | None:
    for target_id in holders:
        member = volume.fleet.get(target_id)
        if member is None or member.target is None or member.lane is None:
            continue
        try:
            data = await member.lane.run(
                partial(member.target.read, commits_name(found.commit.epoch), found.offset,
                        found.length), deadline_s=TARGET_DEADLINE_S)
        except TargetError:
            continue
        if record_hash(data) == found.hash:
            return data
    return None


async def _apply(volume: Volume, member: Member, patches: list[_Patch]) -> bool:
    def write(target: Target) -> None:
        for patch in patches:
            name = commits_name(patch.epoch)
            target.forget(name)
            try:
                target.create(name, b"")
            except TargetError as error:
                if error.fault is Fault.UNSAFE:
                    target.remove(name)
                    target.create(name, b"")
                elif error.fault is not Fault.EXISTS:
                    raise
            target.write(name, patch.offset, [patch.data])
        for epoch in {patch.epoch for patch in patches}:
            target.sync(commits_name(epoch))

    assert member.target is not None and member.lane is not None
    try:
        await member.lane.run(partial(write, member.target), deadline_s=TARGET_SYNC_DEADLINE_S)
    except TargetError as error:
        volume.journal.record(Event(EventKind.RECORD_BAD, str(error), target=member.id))
        return False
    volume.journal.record(Event(
        EventKind.REPAIRED, f"{len(patches)} commit records on {member.path} were put right",
        target=member.id))
    return True


async def _mend_claim(volume: Volume, member: Member) -> bool:
    """The claim of this epoch is ours to put back, byte for byte; whether it was wrong."""
    opened = volume.opened
    name = claim_name(opened.epoch)

    def check(target: Target) -> bool:
        try:
            if target.read(name, 0, BLOCK_LEN + 1) == opened.claim:
                return False
        except TargetError as error:
            if error.fault is Fault.UNSAFE:
                target.remove(name)
        target.replace(name, opened.claim)
        return True

    assert member.target is not None and member.lane is not None
    try:
        return bool(await member.lane.run(partial(check, member.target),
                                          deadline_s=TARGET_SYNC_DEADLINE_S))
    except TargetError:
        return False


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
