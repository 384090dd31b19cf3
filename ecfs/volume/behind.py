"""Targets that may lack what was written without them: who they are, and what they are held to."""

from ecfs.base.errors import Damage
from ecfs.formats import KIND_CONTENT
from ecfs.metadata import ContentTables
from ecfs.observe import Event, EventKind
from ecfs.stripes import StripeAccess, StripeRef


def find_behind(store: StripeAccess, tables: ContentTables, newest: tuple[int, int]) -> None:
    """Mark those whose labels are older than the `newest` (epoch, generation), or noted before;
    what is missing from anybody else is told now, also what was met while the pool was loaded."""
    store.given_back_to = tables.given_back_to()
    noted = tables.behind() | tables.missing_targets()
    for member in store.fleet:
        if member.online and (
                member.behind or member.generation < newest or member.id in noted):
            member.behind = True
            store.journal.record(Event(
                EventKind.TARGET_STALE, f"target {member.name} ({member.path}) may lack what "
                "was written without it and is compared in full", target=member.id))
    store.tell_held()


def may_lack(tables: ContentTables, target_id: bytes, ref: StripeRef) -> bool:
    """What a target missed of content is in a table; of metadata nobody keeps account."""
    if ref.kind != KIND_CONTENT:
        return True
    row = tables.stripe_at(ref.segment.id, ref.offset)
    return row is None or tables.was_missed(target_id, row.id)


def is_dead(tables: ContentTables, ref: StripeRef) -> bool:
    """Whether no row names a stripe of content; not so where that cannot be read."""
    try:
        row = tables.stripe_at(ref.segment.id, ref.offset)
    except Damage:
        return False
    return row is None or row.salt != ref.salt
