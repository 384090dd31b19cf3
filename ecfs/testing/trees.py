"""Trees as they are seen: what a recovered volume or a mounted directory shows, by path."""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ecfs.testing.shell import Shell


class Kind(StrEnum):
    """What a path can lead to."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one path leads to. Paths with the same `inode` are hard links of each other.

    `data`: bytes of a file, target of a symlink, empty for the rest.
    """

    kind: Kind
    inode: int
    data: bytes = b""


Snapshot = Mapping[bytes, Seen]
"""A whole tree by path, without its root: relative paths, parts joined by `/`."""


def kind_of(mode: int) -> Kind:
    """The kind that a st_mode tells."""
    if stat.S_ISREG(mode):
        return Kind.FILE
    if stat.S_ISDIR(mode):
        return Kind.DIRECTORY
    return Kind.SYMLINK if stat.S_ISLNK(mode) else Kind.OTHER


async def snapshot_of(shell: Shell) -> dict[bytes, Seen]:
    """All that is readable on an open volume. Damage where something is not."""
    found: dict[bytes, Seen] = {}
    read: dict[int, bytes] = {}
    for path, attributes in shell.paths().items():
        kind, inode = kind_of(attributes.mode), int(attributes.inode)
        data = read.get(inode, b"")
        if inode not in read and kind is Kind.FILE:
            data = read[inode] = await shell.read(path)
        elif kind is Kind.SYMLINK:
            data = shell.volume.tree.readlink(attributes.inode)
        found[path] = Seen(kind, inode, data)
    return found


def snapshot_below(root: str) -> dict[bytes, Seen]:
    """All that lies below a directory of this machine, a mount point for one."""
    top = os.fsencode(root)
    found: dict[bytes, Seen] = {}
    read: dict[int, bytes] = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind, inode = kind_of(status.st_mode), status.st_ino
            data = read.get(inode, b"")
            if inode not in read and kind is Kind.FILE:
                with open(path, "rb") as file:
                    data = read[inode] = file.read()
            elif kind is Kind.SYMLINK:
                data = os.readlink(path)
            found[os.path.relpath(path, top)] = Seen(kind, inode, data)
    return found


@dataclass(slots=True)
class Names:
    """Paths and the nodes that they lead to; knows how names move, not whether they may."""

    nodes: dict[bytes, int]

    def copy(self) -> "Names":
        """One that changes by itself."""
        return Names(dict(self.nodes))

    def below(self, path: bytes) -> list[bytes]:
        """The path itself and all that lies in it."""
        return [name for name in self.nodes if name == path or name.startswith(path + b"/")]

    def put(self, path: bytes, node: int) -> None:
        """The path leads to the node."""
        self.nodes[path] = node

    def drop(self, path: bytes) -> None:
        """The path is gone."""
        del self.nodes[path]

    def move(self, old: bytes, new: bytes) -> None:
        """As rename(2): with all below; two names of one file stay as they are."""
        if self.nodes[old] == self.nodes.get(new):
            return
        self.nodes.pop(new, None)
        self._enter(self._take(old), old, new)

    def swap(self, one: bytes, other: bytes) -> None:
        """As renameat2(2) with RENAME_EXCHANGE."""
        first, second = self._take(one), self._take(other)
        self._enter(first, one, other)
        self._enter(second, other, one)

    def _take(self, path: bytes) -> dict[bytes, int]:
        return {name: self.nodes.pop(name) for name in self.below(path)}

    def _enter(self, taken: dict[bytes, int], old: bytes, new: bytes) -> None:
        for name, node in taken.items():
            self.nodes[new + name[len(old):]] = node


def partition(pairs: Iterable[tuple[bytes, int]]) -> frozenset[frozenset[bytes]]:
    """Groups of paths that lead to the same thing."""
    groups: dict[int, set[bytes]] = {}
    for path, node in pairs:
        groups.setdefault(node, set()).add(path)
    return frozenset(frozenset(group) for group in groups.values())
