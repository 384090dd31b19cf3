"""The tree as POSIX sees it: names, links, renames, attributes, extended attributes, orphans.

Owns the rules; the rows and their SQL belong to `metadata`. Knows nothing of the bytes of files, of
who may do what (the kernel checks permissions), nor of open files: who drops an orphan knows that
nobody has it open. Everything here is synchronous and runs on the event loop between two awaits.
"""

from ecfs.namespace.acls import ACCESS, DEFAULT, mode_without
from ecfs.namespace.attributes import Attributes
from ecfs.namespace.renaming import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT
from ecfs.namespace.tree import Tree
from ecfs.namespace.xattrs import XATTR_CREATE, XATTR_REPLACE

__all__ = ["ACCESS", "DEFAULT", "RENAME_EXCHANGE", "RENAME_NOREPLACE", "RENAME_WHITEOUT",
           "XATTR_CREATE", "XATTR_REPLACE", "Attributes", "Tree", "mode_without"]
