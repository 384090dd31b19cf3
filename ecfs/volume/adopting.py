"""Who belongs to the pool: labels propose, the root of the adopted history decides.

While a target is exchanged, labels name the new one beside the old one. Where that was cut short,
the database tells how far it came: see `membership`.
"""

from dataclasses import dataclass, replace

from ecfs.base.errors import TooFewReachable, UnknownFormat
from ecfs.base.ids import ID_LEN
from ecfs.erasure import Quorum, quorum_for
from ecfs.formats import Label, Root, TargetEntry
from ecfs.metadata import Database

EXCHANGE_SETTING = "exchange"


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


def note_exchange(database: Database, old: bytes, new: bytes) -> None:
    """Remember, in the same change that moves the columns, that members and labels follow."""
    database.set_setting(EXCHANGE_SETTING, old + new)


def exchange_left(database: Database, label: Label,
                  found: tuple[TargetEntry, ...]) -> Exchange | None:
    """The exchange that was cut short after its columns moved. `label`: what the root says;
    `found`: all targets that labels name."""
    value = database.setting(EXCHANGE_SETTING)
    if not isinstance(value, bytes) or len(value) != 2 * ID_LEN:
        return None
    old, new = value[:ID_LEN], value[ID_LEN:]
    targets = {entry.id for entry in label.targets}
    entry = next((entry for entry in found if entry.id == new), None)
    if entry is None or old not in targets or new in targets:
        return None
    return Exchange(old, entry)
