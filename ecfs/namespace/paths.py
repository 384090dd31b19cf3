"""Ways up the tree: who holds whom, and by which path an inode is reached."""

import errno

from ecfs.base.errors import Bug, FsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.base.limits import PATH_DEPTH_MAX
from ecfs.metadata import TreeTables
from ecfs.namespace.attributes import Attributes


def holds(tables: TreeTables, holder: Attributes, inode: InodeId, own_parent: InodeId) -> bool:
    """Whether directory `inode` is `holder` or beneath it; `own_parent` holds `holder`. ELOOP."""
    if not holder.is_directory or inode == own_parent:
        return False
    for _ in range(PATH_DEPTH_MAX):
        if inode == holder.inode:
            return True
        if inode == ROOT_INODE:
            return False
        parent = tables.parent(inode)
        if parent is None:
            raise Bug(f"directory {inode} has no parent")
        inode = parent
    raise FsError(errno.ELOOP)


def path_of(tables: TreeTables, inode: InodeId) -> bytes | None:
    """One path from the root, or None without a name. May read all entries."""
    parts: list[bytes] = []
    while inode != ROOT_INODE:
        holder = _holder(tables, inode)
        if holder is None or len(parts) >= PATH_DEPTH_MAX:
            return None
        inode, name = holder
        parts.append(name)
    return b"/" + b"/".join(reversed(parts))


def _holder(tables: TreeTables, inode: InodeId) -> tuple[InodeId, bytes] | None:
    parent = tables.parent(inode)
    name = None if parent is None else tables.name_within(parent, inode)
    if parent is not None and name is not None:
        return parent, name
    return tables.name_anywhere(inode)
