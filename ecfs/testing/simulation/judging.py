"""What must hold of events, and of a pool that was healed."""

from ecfs.base.errors import EcfsError
from ecfs.formats import SegmentEntry, column_name
from ecfs.observe import Event, EventKind
from ecfs.repair.walking import segments_of
from ecfs.stripes import StripeRef
from ecfs.testing.simulation.disks import Disk
from ecfs.testing.simulation.finding import Failure, FalseAccusation
from ecfs.volume import Volume

ACCUSING_KINDS = frozenset({
    EventKind.SHARD_BAD, EventKind.SHARD_MISSING, EventKind.HEADER_BAD, EventKind.LABEL_BAD,
    EventKind.RECORD_BAD, EventKind.CLAIM_BAD, EventKind.TARGET_FOREIGN, EventKind.TARGET_CLONE,
    EventKind.TARGET_UNSAFE_FILE,
})
LOST_KINDS = frozenset({
    EventKind.STRIPE_UNREADABLE, EventKind.ROLLBACK_REFUSED, EventKind.FORK_REFUSED,
    EventKind.TAIL_DROPPED, EventKind.METADATA_DAMAGED,
})
"""What never happens within the budget."""


def accused(event: Event, disks: dict[str, Disk], ids: dict[bytes, str]) -> Disk | None:
    """The disk that an event accuses: by its id, else by a path in its message."""
    if event.kind not in ACCUSING_KINDS:
        return None
    if event.target is not None:
        return disks.get(ids.get(event.target, ""))
    for path, disk in disks.items():
        if f"{path}:" in event.message or f"{path} " in event.message:
            return disk
    return None


def check_event(event: Event, disks: dict[str, Disk], ids: dict[bytes, str]) -> None:
    """FalseAccusation when the accused did nothing."""
    disk = accused(event, disks, ids)
    if disk is not None and not disk.harm:
        raise FalseAccusation(f"{disk.name} did nothing wrong: {event.text()}")


def check_shards(volume: Volume, disks: dict[str, Disk]) -> int:
    """Every shard of every live stripe lies on its disk as a fresh encoding would make it; how
    many there are."""
    by_id = {member.id: disks[member.path] for member in volume.fleet}
    count = 0
    for entry, _, live in segments_of(volume):
        for ref in live.values():
            _check_stripe(volume, entry, ref, by_id)
            count += len(entry.columns)
    return count


def _check_stripe(volume: Volume, entry: SegmentEntry, ref: StripeRef,
                  by_id: dict[bytes, Disk]) -> None:
    store, name = volume.store, column_name(entry.epoch, entry.id)
    opener = store.opener(ref)
    bodies = []
    for column, target_id in enumerate(entry.columns):
        disk = by_id[target_id]
        try:
            record = disk.flaws.apply(name, ref.offset, disk.medium.read(
                name, ref.offset, ref.record_len))
            header = opener.checked_header(record)
            bodies.append(bytes(opener.checked_body(column, record, header)))
        except EcfsError as error:
            raise Failure(f"{disk.name} lacks its shard of {name}+{ref.offset:x} after healing: "
                          f"{error}") from error
    data = entry.data
    fresh = store.code(ref.geometry).encode(b"".join(bodies[:data]), ref.body_len) if (
        entry.parity) else []
    if [bytes(body) for body in fresh] != bodies[data:]:
        raise Failure(f"parity of {name}+{ref.offset:x} is not that of its data")
