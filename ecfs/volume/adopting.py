"""Who belongs to the pool: labels propose, the root of the adopted history decides.

While a target is exchanged, labels name the new one beside the old one. Where that was cut short,
the database tells how far it came: see `membership`. Where the root names the new one already, and
labels still name both, the old one is the new one's source, as it was for who exchanged them.
"""

import os
from dataclasses import dataclass, replace

from ecfs.base.errors import TooFewReachable, UnknownFormat
from ecfs.base.ids import ID_LEN
from ecfs.erasure import Quorum, quorum_for
from ecfs.formats import Label, Root, TargetEntry
from ecfs.metadata import Database
from ecfs.stripes import Fleet, Member

EXCHANGE_SETTING = "exchange"
OLD_PATH_SETTING = "exchange-path"
BLANK_SETTING = "blank-below-"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A target that is being replaced: the id of the old one, and the new one."""

    old: bytes
    new: TargetEntry


def quorum_of(label: Label) -> Quorum:
    """The pool's quorum constants; UnknownFormat unless the label's follow from its geometry."""
    for count in (len(label.targets), len(label.targets) - 1):
        # One target more is there while another is exchanged for it.
        quorum = quorum_for(count, label.parity)
        if (quorum.liars, quorum.members) == (label.liars, len(label.members)):
            return quorum
    raise UnknownFormat("the label's quorum constants do not follow from its geometry")


def adopted(label: Label, root: Root) -> Label:
    """The label with the members and targets that the root names. TooFewReachable when the label
    is too old to know one of them."""
    entries = {entry.id: entry for entry in label.targets}
    if not set(root.targets) | set(root.members) <= entries.keys():
        raise TooFewReachable("the newest checkpoint names targets that no label here names; bring "
                              "back the targets with the newest labels")
    return replace(label, members=root.members,
                   targets=tuple(entries[target_id] for target_id in root.targets))


def note_replaced(fleet: Fleet, label: Label, found: tuple[TargetEntry, ...]) -> None:
    """Who was replaced is the source of the one in its place, where labels name it still. `label`:
    what the root says; `found`: all targets that labels name, the new one after the old one."""
    targets = {entry.id for entry in label.targets}
    for number, gone in enumerate(found):
        if gone.id in targets:
            continue
        for entry in found[number + 1:]:
            if entry.name == gone.name and entry.id in targets:
                # Before anything is read, for the metadata may need it as well.
                fleet.let_go_source(fleet[entry.id])
                fleet[entry.id].source = fleet[gone.id].as_source()


def leave_out(fleet: Fleet, keep: set[bytes], counted: set[bytes]) -> list[str]:
    """Let go of targets that are no part of the pool (any more, or yet), but for sources of those
    that are; one that is `counted` takes records until labels name who came in its place. What to
    tell of it."""
    messages = []
    for member in [member for member in fleet if member.id not in keep]:
        fleet.let_go_source(member)
        fleet.drop(member.id)
        heir = next((one for one in fleet if one.source is not None
                     and one.source.target is member.target), None)
        if heir is not None:
            messages.append(f"{member.path}: was replaced by {heir.path}, whose exchange was cut "
                            "short; keep it until that one has caught up")
            if member.id in counted:
                member.behind, member.leaving, member.takes_shards = False, True, False
                fleet.add(member)
            continue
        if member.lane is not None:
            member.lane.close(timeout=0.0)
        if member.target is not None:
            member.target.close()
        messages.append(f"{member.path}: is not part of the pool; its exchange was cut short")
    return messages


def note_exchange(database: Database, old: Member, new: Member, next_segment: int) -> None:
    """Remember, in the same change that moves the columns, that members and labels follow; where
    the old target was; and that the new one acknowledged nothing of segments made before."""
    database.set_setting(EXCHANGE_SETTING, old.id + new.id)
    database.set_setting(OLD_PATH_SETTING, os.fsencode(os.path.abspath(old.path)))
    note_blank(database, new.id, next_segment)


def note_blank(database: Database, target_id: bytes, next_segment: int) -> None:
    """Remember, unless it was noted before, of which segments a new target acknowledged nothing:
    those with numbers below `next_segment`."""
    if not blank_below(database, target_id):
        database.set_setting(BLANK_SETTING + target_id.hex(), next_segment)


def blank_below(database: Database, target_id: bytes) -> int:
    """Of segments with lower numbers a target that is being filled acknowledged nothing."""
    value = database.setting(BLANK_SETTING + target_id.hex())
    return value if isinstance(value, int) else 0


def note_filled(database: Database, target_id: bytes) -> None:
    """From now on a target is held to everything that it should have."""
    if blank_below(database, target_id):
        database.set_setting(BLANK_SETTING + target_id.hex(), None)


def last_exchange(database: Database) -> tuple[bytes, bytes, str] | None:
    """Of the newest exchange: id of the old target, id of the new one, and where the old one was,
    "" where that is not known."""
    value, path = database.setting(EXCHANGE_SETTING), database.setting(OLD_PATH_SETTING)
    if not isinstance(value, bytes) or len(value) != 2 * ID_LEN:
        return None
    return value[:ID_LEN], value[ID_LEN:], os.fsdecode(path) if isinstance(path, bytes) else ""


def exchange_left(database: Database, label: Label,
                  found: tuple[TargetEntry, ...]) -> Exchange | None:
    """The exchange that was cut short after its columns moved. `label`: what the root says;
    `found`: all targets that labels name."""
    last = last_exchange(database)
    if last is None:
        return None
    old, new, _ = last
    targets = {entry.id for entry in label.targets}
    entry = next((entry for entry in found if entry.id == new), None)
    if entry is None or old not in targets or new in targets:
        return None
    return Exchange(old, entry)
