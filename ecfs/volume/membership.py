"""Exchanging a member: the new one holds claim and records before it counts.

Order: the new target gets the claim, labels name it as a target (not yet a member), it gets all
records that are still needed, and from then on each record needs a quorum of the old members and
one of the new; one commit moves every column to it; the checkpoint that follows names the new
members; then labels. After a crash between these steps the root decides who the members are, and
every target that a column names is known by a label.

The old target, where it is there, takes records as before until that checkpoint: without it the old
members may be too few to acknowledge anything, and an exchange that cannot end cannot be undone.
Until its columns are the new one's it takes shards as well, and the new one takes none: stripes
that are written meanwhile lie where a crash leaves them whole. From that moment on it is the new
one's `source`, also of a mount that finds the root and not the labels.
"""

import logging
from dataclasses import replace
from functools import partial

import trio

from ecfs.base.errors import ReadOnly, Refusal, TargetError
from ecfs.base.limits import TARGET_SYNC_DEADLINE_S
from ecfs.formats import SegmentEntry, TargetEntry, claim_name, commits_name
from ecfs.observe import Event, EventKind
from ecfs.stripes import Member
from ecfs.targets import Target
from ecfs.volume.adopting import last_exchange, note_blank, note_exchange
from ecfs.volume.appending import RecordWriter
from ecfs.volume.mending import mend_records
from ecfs.volume.volume import Volume

_log = logging.getLogger("ecfs.volume")


async def exchange_member(volume: Volume, old: Member, new: Member) -> None:
    """EXCHANGE: put `new` in the place of `old` in segments, members, labels. Refusal, ReadOnly.

    Once begun it is not cancelled; every wait in it has a deadline.
    """
    writer = volume.writer
    if volume.checkpointer is None or writer is None:
        raise ReadOnly(volume.read_only)
    with trio.CancelScope(shield=True):
        await finish_exchange(volume)
        await volume.checkpoint()
        await _prepare(volume, new)
        async with volume.checkpointer.lock:
            # No root may be made while labels name the new target beside the old one.
            await _move_columns(volume, writer, old, new)
        await _settle(volume, writer, old, new)


async def _move_columns(volume: Volume, writer: RecordWriter, old: Member, new: Member) -> None:
    """Up to the commit by which every column of the old target is the new one's."""
    label = volume.labeller.label
    old.leaving = True
    # A stripe that had a column there would lack it for ever, should it not come after all.
    new.takes_shards = False
    volume.fleet.add(new)
    entry = TargetEntry(new.id, new.name, new.path)
    volume.labeller.change(replace(label, targets=(*label.targets, entry)))
    try:
        await volume.labeller.write(None)
        if not await _join(volume, writer, old, new):
            raise Refusal(f"{new.path} does not take the commit records; use another directory")
        async with volume.files.flusher.round_lock:
            volume.store.close_segments()
            with volume.database.change():
                volume.files.tables.replace_target(old.id, new.id)
                volume.files.tables.set_behind(new.id, behind=True)
                note_exchange(volume.database, old, new, volume.store.next_segment)
            volume.files.index.replace_target(old.id, new.id)
            _replace_in_metadata(volume, old.id, new.id)
            new.source = old.as_source()
            volume.fleet.hand_over(old, new)
    except BaseException:
        writer.change_members(label.members)
        old.leaving = False
        volume.labeller.change(replace(volume.labeller.label, targets=label.targets))
        volume.fleet.drop(new.id)
        raise


async def _join(volume: Volume, writer: RecordWriter, old: Member, new: Member) -> bool:
    """Give the new target all records that are needed, and let the new members count beside the old
    ones from the next record on. Whether the new target has them all. ReadOnly, and nothing has
    changed, when one of them is on too few of the new members to be found by a later mount."""
    committer, mender, start = volume.committer, volume.log_mender, volume.replay_start
    assert committer is not None and mender is not None and start is not None
    members = volume.labeller.label.members
    async with committer.lock:
        # No record may come between: it would be on fewer of the new members than it needs.
        await mender.mend((*members, new.id), start)
        changed = _exchanged(members, old, new)
        holders = await mender.holders((*members, new.id), start)
        if any(len(found.intersection(changed)) < volume.quorum.commit for found in holders):
            raise ReadOnly(f"the commit records are on too few targets to put {new.path} in the "
                           f"place of {old.path}; bring back more targets")
        writer.change_members(members, changed)
        return all(new.id in found for found in holders)


def _exchanged(members: tuple[bytes, ...], old: Member, new: Member) -> tuple[bytes, ...]:
    return tuple(new.id if one == old.id else one for one in members)


async def resume_exchange(volume: Volume) -> None:
    """Finish an exchange whose columns had moved when the pool was last let go of."""
    exchange, writer = volume.opened.exchange, volume.writer
    if exchange is None:
        await _name_members(volume)
        return
    old, new = volume.fleet[exchange.old], volume.fleet[exchange.new.id]
    volume.fleet.let_go_source(new)
    new.source = old.as_source()
    if writer is None or volume.committer is None:
        return
    new.behind = True
    with volume.database.change():
        # Programs before this one did not note it when the columns moved.
        note_blank(volume.database, new.id, volume.store.next_segment)
    old.leaving = True
    volume.fleet.hand_over(old, new)
    with trio.CancelScope(shield=True):
        await _join(volume, writer, old, new)
        _replace_in_metadata(volume, old.id, new.id)
        await _settle(volume, writer, old, new)


async def _name_members(volume: Volume) -> None:
    """Where the root of an exchange was all that there was time for: labels. Until then the old
    members count as well, so the old target takes records."""
    left = [member for member in volume.fleet if member.leaving]
    if not left or volume.checkpointer is None:
        return
    with trio.CancelScope(shield=True):
        try:
            await volume.checkpoint()
        except ReadOnly as error:
            # It goes on taking records; the next mount tries again.
            _log.warning("the exchange of %s is not finished: %s", left[0].path, error)
            return
    for member in left:
        volume.fleet.drop(member.id)


async def finish_exchange(volume: Volume) -> None:
    """Finish an exchange of this mount, if there is one, that failed after its columns had moved:
    for lack of targets that are back now."""
    last, writer = last_exchange(volume.database), volume.writer
    if last is None or writer is None:
        return
    old, new = volume.fleet.get(last[0]), volume.fleet.get(last[1])
    if old is not None and new is not None and old.leaving:
        with trio.CancelScope(shield=True):
            await _settle(volume, writer, old, new)


async def _settle(volume: Volume, writer: RecordWriter, old: Member, new: Member) -> None:
    """The columns have moved: members, then labels follow."""
    label = volume.labeller.label
    entry = TargetEntry(new.id, new.name, new.path)
    members = _exchanged(label.members, old, new)
    if any(one.id == old.id for one in label.targets):
        # Else it was tried before.
        targets = tuple(entry if one.id == old.id else one for one in label.targets
                        if one.id != new.id)
        volume.labeller.change(replace(label, members=members, targets=targets))
    await volume.checkpoint()
    writer.change_members(members)
    volume.fleet.exchange(old.id, new)
    volume.fleet.let_go_source(old)
    await mend_records(volume)
    await volume.checkpoint()
    volume.journal.record(Event(
        EventKind.REPAIRED, f"{new.path} is a member in place of {old.path}", target=new.id))


def _replace_in_metadata(volume: Volume, old: bytes, new: bytes) -> None:
    segments = volume.opened.table.segments
    for segment_id, entry in list(segments.items()):
        segments[segment_id] = replaced(entry, old, new)


def replaced(entry: SegmentEntry, old: bytes, new: bytes) -> SegmentEntry:
    """A segment whose columns of one target are another's."""
    return replace(entry, columns=tuple(new if one == old else one for one in entry.columns))


async def _prepare(volume: Volume, new: Member) -> None:
    """The new target takes the claim and an empty record file."""
    def write(target: Target) -> None:
        target.create(claim_name(volume.opened.epoch), volume.opened.claim)
        target.create(commits_name(volume.opened.epoch), b"")

    assert new.target is not None and new.lane is not None
    try:
        await new.lane.run(partial(write, new.target), deadline_s=TARGET_SYNC_DEADLINE_S)
    except TargetError as error:
        raise Refusal(f"the new target does not take files: {error}") from error
