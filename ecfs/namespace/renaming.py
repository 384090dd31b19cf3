"""The rules of rename(2) and renameat2(2): one pure decision, and what follows from it."""

import errno
from dataclasses import dataclass

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.metadata import TreeTables
from ecfs.namespace import paths
from ecfs.namespace.attributes import Attributes

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4


@dataclass(frozen=True, slots=True)
class Situation:
    """What a rename finds. `target` is None if the new name is free.

    `source_holds_target`: the source is the new parent or an ancestor of it;
    `target_holds_source`: the target is the old parent or an ancestor of it.
    """

    source: Attributes
    target: Attributes | None
    same_parent: bool
    source_holds_target: bool
    target_holds_source: bool
    target_is_empty: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be done. Link deltas are changes of nlink of the parent directories."""

    nothing: bool = False
    exchange: bool = False
    old_parent_links: int = 0
    new_parent_links: int = 0


def check_flags(flags: int) -> None:
    """Raise FsError EINVAL for flags that are unknown or exclude each other."""
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) or (
            flags & RENAME_EXCHANGE and flags != RENAME_EXCHANGE):
        raise FsError(errno.EINVAL)


def situation(tables: TreeTables, source: Attributes, target: Attributes | None, *,
              old_parent: InodeId, new_parent: InodeId) -> Situation:
    """What a rename from one directory to another finds. ELOOP."""
    return Situation(
        source=source, target=target, same_parent=old_parent == new_parent,
        source_holds_target=paths.holds(tables, source, new_parent, old_parent),
        target_holds_source=(target is not None and paths.holds(
            tables, target, old_parent, new_parent)),
        target_is_empty=(target is not None and target.is_directory
                         and not tables.has_entries(target.inode)))


def decide(situation: Situation, flags: int) -> Outcome:
    """What a rename does, or FsError, in the order in which Linux tests."""
    source, target = situation.source, situation.target
    exchange = bool(flags & RENAME_EXCHANGE)
    if target is not None and flags & RENAME_NOREPLACE:
        raise FsError(errno.EEXIST)
    if target is None and exchange:
        raise FsError(errno.ENOENT)
    if situation.source_holds_target:
        raise FsError(errno.EINVAL)
    if situation.target_holds_source:
        raise FsError(errno.EINVAL if exchange else errno.ENOTEMPTY)
    if target is not None and target.inode == source.inode:
        return Outcome(nothing=True)
    source_link = 1 if source.is_directory else 0
    target_link = 1 if target is not None and target.is_directory else 0
    moved_link = 0 if situation.same_parent else source_link
    if exchange:
        returned_link = 0 if situation.same_parent else target_link
        return Outcome(exchange=True, old_parent_links=returned_link - moved_link,
                       new_parent_links=moved_link - returned_link)
    if target is not None:
        if source_link and not target_link:
            raise FsError(errno.ENOTDIR)
        if target_link and not source_link:
            raise FsError(errno.EISDIR)
        if target_link and not situation.target_is_empty:
            raise FsError(errno.ENOTEMPTY)
    return Outcome(old_parent_links=-moved_link, new_parent_links=moved_link - target_link)


@dataclass(frozen=True, slots=True)
class Move:
    """Which inodes and names take part in a rename that was decided."""

    source: Attributes
    target: Attributes | None
    old_parent: InodeId
    old_name: bytes
    new_parent: InodeId
    new_name: bytes
    exchange: bool


def carry_out(tables: TreeTables, move: Move,
              now_ns: int) -> tuple[list[Attributes], Attributes | None]:
    """Write the entries and inodes of a rename, inside a change; the parents are the caller's.

    Returns all attributes that changed, and the inode that lost the new name, if one did.
    """
    changed: list[Attributes] = []
    target = move.target
    if move.exchange and target is not None:
        tables.replace_entry(move.old_parent, move.old_name, target.inode)
        changed.append(_moved(tables, target, move.old_parent, now_ns))
    elif target is not None:
        tables.delete_entry(move.old_parent, move.old_name)
    if target is None:
        tables.move_entry(move.old_parent, move.old_name, move.new_parent, move.new_name)
    else:
        tables.replace_entry(move.new_parent, move.new_name, move.source.inode)
    changed.append(_moved(tables, move.source, move.new_parent, now_ns))
    if target is None or move.exchange:
        return changed, None
    victim = lose_name(tables, target, now_ns)
    changed.append(victim)
    return changed, victim


def lose_name(tables: TreeTables, victim: Attributes, now_ns: int) -> Attributes:
    """Count one name less, inside a change; without any name the inode becomes an orphan."""
    nlink = 0 if victim.is_directory else victim.nlink - 1
    tables.update_links(victim.inode, nlink=nlink, ctime_ns=now_ns)
    if not nlink:
        tables.insert_orphan(victim.inode)
    return victim.with_links(nlink, now_ns)


def _moved(tables: TreeTables, attributes: Attributes, parent: InodeId, now_ns: int) -> Attributes:
    tables.update_parent(attributes.inode, parent, ctime_ns=now_ns)
    return attributes.with_links(attributes.nlink, now_ns)
