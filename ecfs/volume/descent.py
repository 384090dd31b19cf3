"""Whether a history contains what this client remembers of it."""

from collections.abc import Callable
from enum import StrEnum

from ecfs.base.errors import Forked, RolledBack, UnknownFormat
from ecfs.formats import Label, Root
from ecfs.metadata import ContentTables
from ecfs.observe import Event, EventKind, Journal
from ecfs.volume.anchor import Anchor
from ecfs.volume.recovery import Chain


class Freshness(StrEnum):
    """How far it is proven that nothing newer exists."""

    PROVEN = "proven"
    ANCHOR_ONLY = "anchor_only"
    QUORUM_ONLY = "quorum_only"
    NOT_PROVEN = "not_proven"


def check_downgrade(label: Label, anchor: Anchor) -> None:
    """UnknownFormat when the pool claims less than this client has seen (invariant I7)."""
    if label.version < anchor.version or (label.data, label.parity) != (
            anchor.data, anchor.parity) or label.commitment.hex() != anchor.commitment:
        raise UnknownFormat("version, geometry or key of the pool are not those that this client "
                            "has seen before; it will not go below them")


def check_slots(label: Label, root: Root, journal: Journal, *, accept_rollback: bool) -> str:
    """Why nothing may be written: the newest label here has key slots from before the newest
    checkpoint, so each target here is older or shows old slots once more. The next checkpoint would
    make those the newest ones. Empty where that is accepted, or is not so.

    Whoever changes slots writes them to the labels of a quorum before a root counts them.
    """
    if label.slots_generation >= root.slots_generation:
        return ""
    found = (f"the labels here hold key slots of generation {label.slots_generation}, the newest "
             f"checkpoint knows {root.slots_generation}")
    reason = "" if accept_rollback else (
        f"{found}: bring back the targets with the newest labels; to go on with these slots, mount "
        "with -o accept_rollback")
    journal.record(Event(
        EventKind.ROLLBACK_ACCEPTED if accept_rollback else EventKind.ROLLBACK_REFUSED,
        reason or f"accepted, as was asked for: {found}",
        expected=str(root.slots_generation), got=str(label.slots_generation)))
    return reason


def check_descent(chain: Chain, tables: ContentTables, anchor: Anchor) -> None:
    """RolledBack or Forked unless the adopted history contains the anchor (invariant I3)."""
    tip = chain.tip
    if tip.commit.seq < anchor.seq:
        raise RolledBack(
            f"the pool is at commit {tip.commit.seq}, this client has seen {anchor.seq}: it was "
            "rolled back, or the targets that hold the rest are not here. Bring them back; to "
            "accept the loss, mount with -o accept_rollback")
    root = chain.root
    # A commit's own hash enters the history with a later one; nothing may have followed the base.
    known = {root.base_seq: root.base_hash} | {
        found.commit.seq: found.hash for found in chain.records}
    found = known.get(anchor.seq) or tables.history_hash(anchor.seq)
    if found is None or found.hex() != anchor.hash:
        raise Forked(
            f"the pool's commit {anchor.seq} is not the one that this client acknowledged: its "
            "history was forked. Find the targets with the right history; to go on with this one, "
            "mount with -o accept_rollback")


def prove_fresh(chain: Chain, tables: ContentTables, anchor: Anchor | None, journal: Journal, *,
                has_quorum: bool, accept_rollback: bool,
                on_accepted: Callable[[Anchor], None]) -> Freshness:
    """Invariant I3: as new as a read quorum and as the anchor, from which it must descend.

    RolledBack or Forked where it does not, unless that is accepted; an event either way. A history
    that was accepted against the anchor is as fresh as one without an anchor, and `on_accepted` is
    told which anchor was given up.
    """
    without = Freshness.QUORUM_ONLY if has_quorum else Freshness.NOT_PROVEN
    if anchor is None:
        return without
    try:
        check_descent(chain, tables, anchor)
    except (RolledBack, Forked) as error:
        refused = (EventKind.FORK_REFUSED if isinstance(error, Forked)
                   else EventKind.ROLLBACK_REFUSED)
        text = f"accepted, as was asked for: {error}" if accept_rollback else str(error)
        journal.record(Event(
            EventKind.ROLLBACK_ACCEPTED if accept_rollback else refused, text,
            expected=f"{anchor.seq} {anchor.hash}",
            got=f"{chain.tip.commit.seq} {chain.tip.hash.hex()}"))
        if not accept_rollback:
            raise
        on_accepted(anchor)
        return without
    return Freshness.PROVEN if has_quorum else Freshness.ANCHOR_ONLY
