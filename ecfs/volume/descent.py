"""Whether a history contains what this client remembers of it."""

from ecfs.base.errors import Forked, RolledBack, UnknownFormat
from ecfs.formats import Label
from ecfs.metadata import ContentTables
from ecfs.volume.anchor import Anchor
from ecfs.volume.recovery import Chain


def check_downgrade(label: Label, anchor: Anchor) -> None:
    """UnknownFormat when the pool claims less than this client has seen (invariant I7)."""
    if label.version < anchor.version or (label.data, label.parity) != (
            anchor.data, anchor.parity) or label.commitment.hex() != anchor.commitment:
        raise UnknownFormat("version, geometry or key of the pool are not those that this client "
                            "has seen before; it will not go below them")


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
