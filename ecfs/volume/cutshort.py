"""What the exchange of a target that was cut short leaves: targets that labels name and that are no
part of the pool, any more or yet."""

from ecfs.formats import Root, TargetEntry
from ecfs.stripes import Fleet
from ecfs.volume.adopting import exchange_left, last_exchange
from ecfs.volume.opened import Opened


def note_sources(fleet: Fleet, root: Root) -> None:
    """A target that the root does not name, and that has the name of one which it names, may hold
    what that one lacks: where labels were to follow the root, it is the one that was replaced."""
    named = {member.name: member for member in fleet if member.id in root.targets}
    for member in fleet:
        there = named.get(member.name, member)
        if there is not member and there.source is None:
            there.source = member.as_source()


def leave_out(opened: Opened, named: tuple[TargetEntry, ...]) -> None:
    """Let go of targets that labels name but that are no part of the pool; not of what one that is
    may be read from: `find_behind` does that where it has nothing to catch up with."""
    assert opened.database is not None
    fleet = opened.fleet
    opened.exchange = exchange_left(opened.database, opened.label, named)
    keep = {entry.id for entry in opened.label.targets}
    if opened.exchange is not None:
        keep.add(opened.exchange.new.id)
        old, new = fleet[opened.exchange.old], fleet[opened.exchange.new.id]
        if old.source is not None and old.source.target is new.target:
            old.source = None
    last = last_exchange(opened.database)
    for member in [member for member in fleet if member.id not in keep]:
        fleet.let_go_source(member)
        fleet.drop(member.id)
        was_replaced = last is not None and last[0] == member.id and last[1] in keep
        opened.located.messages.append(f"{member.path}: " + (
            "was replaced and is no longer part of the pool; keep it until the target in its "
            "place has caught up" if was_replaced
            else "is not part of the pool; its exchange was cut short"))
        if any(other.source is not None and other.source.target is member.target
               for other in fleet):
            continue
        if member.lane is not None:
            member.lane.close(timeout=0.0)
        if member.target is not None:
            member.target.close()
