"""The rules of rename(2) and renameat2(2): one pure decision, and what follows from it."""

import errno
from dataclasses import dataclass
from typing import NamedTuple

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


class Renamed(NamedTuple):
    """What a rename has done: the inodes whose names it changed, and the one that lost the new
    name, as it is afterwards, if one did."""

    moved: tuple[InodeId, ...] = ()
    victim: Attributes | None = None


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


def changed_by(move: Move, now_ns: int) -> tuple[list[Attributes], Attributes | None]:
    """The attributes that a rename changes, but for the parents', and of these the inode that loses
    the new name, if one does."""
    changed = [move.source.with_links(move.source.nlink, now_ns)]
    if move.target is None:
        return changed, None
    if move.exchange:
        return [move.target.with_links(move.target.nlink, now_ns), *changed], None
    victim = without_name(move.target, now_ns)
    return [*changed, victim], victim


def carry_out(tables: TreeTables, move: Move, now_ns: int) -> None:
    """Write the entries and inodes of a rename, inside a change; the parents are the caller's."""
    target = move.target
    if target is None:
        tables.move_entry(move.old_parent, move.old_name, move.new_parent, move.new_name)
    else:
        if move.exchange:
            tables.replace_entry(move.old_parent, move.old_name, target.inode)
            tables.update_parent(target.inode, move.old_parent, ctime_ns=now_ns)
        else:
            tables.delete_entry(move.old_parent, move.old_name)
            lose_name(tables, without_name(target, now_ns))
        tables.replace_entry(move.new_parent, move.new_name, move.source.inode)
    tables.update_parent(move.source.inode, move.new_parent, ctime_ns=now_ns)


def without_name(victim: Attributes, now_ns: int) -> Attributes:
    """An inode with one name less; a directory has only one."""
    return victim.with_links(0 if victim.is_directory else victim.nlink - 1, now_ns)


def lose_name(tables: TreeTables, victim: Attributes) -> None:
    """Store what `without_name` gave, inside a change; without any name it becomes an orphan."""
    tables.update_links(victim.inode, nlink=victim.nlink, ctime_ns=victim.ctime_ns)
    if not victim.nlink:
        tables.insert_orphan(victim.inode)
