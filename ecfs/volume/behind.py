"""Targets that may lack what was written without them: who they are, and what they are held to."""

from ecfs.base.errors import Damage
from ecfs.formats import KIND_CONTENT
from ecfs.metadata import ContentTables, Database
from ecfs.observe import Event, EventKind
from ecfs.stripes import StripeAccess, StripeRef
from ecfs.volume.adopting import blank_below


def find_behind(store: StripeAccess, tables: ContentTables, newest: tuple[int, int]) -> None:
    """Mark those whose labels are older than the `newest` (epoch, generation), or noted before;
    what is missing from anybody else is told now, also what was met while the pool was loaded."""
    store.given_back_to = tables.given_back_to()
    noted = tables.behind() | tables.missing_targets()
    for member in store.fleet:
        # One that leaves gets no labels, and no shards that another could miss.
        if member.online and not member.leaving and (
                member.behind or member.generation < newest or member.id in noted):
            member.behind = True
            store.journal.record(Event(
                EventKind.TARGET_STALE, f"target {member.name} ({member.path}) may lack what "
                "was written without it and is compared in full", target=member.id))
        is_copied = member.source is not None and member.source.is_copy
        if member.online and not member.behind and not is_copied:
            # It has what the target that it came for had.
            store.fleet.let_go_source(member)
    store.tell_held()


def may_lack(tables: ContentTables, database: Database, target_id: bytes, ref: StripeRef) -> bool:
    """What a target missed of content is in a table, and what one that is being filled never got
    lies in the segments made before it came; of metadata nobody keeps account."""
    if ref.kind != KIND_CONTENT or ref.segment.id < blank_below(database, target_id):
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
