"""Files by path on an open volume, as a program would use them through a mount. For tests.

Every change is admitted, and a name that goes takes its content along, as the driver does it.
"""

import os
import stat

from ecfs.base.errors import FsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.base.units import KIB
from ecfs.namespace import Attributes
from ecfs.volume import Volume

WRITE_LEN = 128 * KIB


class Shell:
    """Paths are bytes, relative to the root, parts joined by `/`. Errors are EcfsError."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume

    def find(self, path: bytes) -> Attributes:
        """What a path leads to; links are not followed. ENOENT."""
        found = self.volume.tree.attributes(ROOT_INODE)
        for part in path.split(b"/"):
            if part:
                found = self.volume.tree.lookup(found.inode, part)
        return found

    def exists(self, path: bytes) -> bool:
        """Whether something has this path."""
        try:
            self.find(path)
        except FsError:
            return False
        return True

    def is_file(self, path: bytes) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.find(path).mode)

    def make(self, path: bytes, mode: int = stat.S_IFREG | 0o644, *,
             symlink: bytes | None = None, rdev: int = 0) -> InodeId:
        """A new inode of the type in `mode`."""
        self.volume.admit(grows=True)
        folder, name = self._split(path)
        made = self.volume.tree.create(folder, name, mode=mode, uid=0, gid=0, symlink=symlink,
                                       rdev=rdev)
        return made.inode

    def make_folder(self, path: bytes) -> InodeId:
        """A new directory."""
        return self.make(path, stat.S_IFDIR | 0o755)

    async def write(self, path: bytes, data: bytes, offset: int = 0) -> InodeId:
        """Write into a file, which is made if it is not there; not durable yet."""
        inode = self.find(path).inode if self.exists(path) else self.make(path)
        self.volume.admit(grows=True)
        for at in range(0, len(data), WRITE_LEN):
            await self.volume.files.write(inode, offset + at, data[at : at + WRITE_LEN])
        return inode

    async def truncate(self, path: bytes, size: int) -> None:
        """Another length."""
        self.volume.admit(grows=False)
        await self.volume.files.truncate(self.find(path).inode, size)

    async def fsync(self, path: bytes) -> None:
        """Durable on return."""
        await self.volume.fsync(self.find(path).inode)

    async def read(self, path: bytes) -> bytes:
        """All bytes of a file, in requests as the kernel makes them. Damage."""
        inode = self.find(path).inode
        pieces = []
        for at in range(0, self.volume.files.size(inode), WRITE_LEN):
            pieces.append(await self.volume.files.read(inode, at, WRITE_LEN))
        return b"".join(pieces)

    def link(self, old: bytes, new: bytes) -> None:
        """Another name for a file."""
        self.volume.admit(grows=True)
        folder, name = self._split(new)
        self.volume.tree.link(self.find(old).inode, folder, name)

    def unlink(self, path: bytes) -> None:
        """Remove a name; with the last one the file goes."""
        self.volume.admit(grows=False)
        self._drop(self.volume.tree.unlink(*self._split(path)))

    def remove_folder(self, path: bytes) -> None:
        """Remove an empty directory."""
        self.volume.admit(grows=False)
        self._drop(self.volume.tree.rmdir(*self._split(path)))

    async def rename(self, old: bytes, new: bytes) -> None:
        """Move a name, over another one if there is one: its content is flushed first then."""
        self.volume.admit(grows=False)
        if self.exists(new):
            await self.volume.files.flush(self.find(old).inode)
        victim = self.volume.tree.rename(*self._split(old), *self._split(new), 0).victim
        if victim is not None:
            self._drop(victim)

    def paths(self, folder: bytes = b"") -> dict[bytes, Attributes]:
        """Everything below a directory, by path."""
        found = {}
        for name, inode, _ in self.volume.tree.list_directory(self.find(folder).inode):
            path = folder + b"/" + name if folder else name
            found[path] = self.volume.tree.attributes(inode)
            if stat.S_ISDIR(found[path].mode):
                found.update(self.paths(path))
        return found

    async def contents(self) -> dict[bytes, bytes]:
        """What is readable of the whole tree: bytes of files, targets of links, b"" for others."""
        found = {}
        for path, attributes in self.paths().items():
            if stat.S_ISREG(attributes.mode):
                found[path] = await self.read(path)
            elif stat.S_ISLNK(attributes.mode):
                found[path] = self.volume.tree.readlink(attributes.inode)
            else:
                found[path] = b""
        return found

    def _split(self, path: bytes) -> tuple[InodeId, bytes]:
        folder, name = os.path.split(path)
        return self.find(folder).inode, name

    def _drop(self, attributes: Attributes) -> None:
        if not attributes.nlink:
            self.volume.files.discard([attributes.inode])
            self.volume.tree.drop_orphans([attributes.inode])
