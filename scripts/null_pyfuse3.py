"""A file system that does nothing, on pyfuse3: `python -m scripts.null_pyfuse3 MOUNTPOINT WORD...`.

Names and attributes are objects in memory, of contents only the sizes are kept, reads give zeros.
What is optional (flush, extended attributes) is left to pyfuse3, which tells the kernel not to ask
again. What it reaches no file system on pyfuse3 can pass. The only word is `writeback`.
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Sequence
from typing import Any

import pyfuse3
import trio

TIMEOUT_S = 3600.0
FREE_BLOCKS = 1 << 30
BLOCK_LEN = 4096
MIB = 1 << 20
READ_LEN_MAX = MIB
READ_AHEAD_KIB = 4096
ROOT = int(pyfuse3.ROOT_INODE)
ZEROS = bytes(READ_LEN_MAX)


class Node:
    """A file, a symbolic link or a directory, whose numbered entries let readdir resume."""

    def __init__(self, inode: int, mode: int, uid: int, gid: int) -> None:
        self.target = b""
        self.entries: dict[bytes, tuple[int, Node]] = {}
        self.count = 2
        entry = self.entry = pyfuse3.EntryAttributes()
        now = time.time_ns()
        entry.st_ino = inode
        entry.st_mode, entry.st_uid, entry.st_gid = mode, uid, gid
        entry.st_nlink = 2 if stat.S_ISDIR(mode) else 1
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = now
        entry.st_blksize = BLOCK_LEN
        entry.entry_timeout = entry.attr_timeout = TIMEOUT_S

    def add(self, name: bytes, node: "Node") -> None:
        """A name, after all others."""
        self.count += 1
        self.entries[name] = (self.count, node)

    def resize(self, size: int) -> None:
        """Contents have no other trace."""
        self.entry.st_size = size
        self.entry.st_blocks = -(-size // 512)


class Null(pyfuse3.Operations):
    """The handlers. A handle is the number of its inode."""

    supports_dot_lookup = False

    def __init__(self, *, writeback: bool) -> None:
        super().__init__()
        self.enable_writeback_cache = writeback
        self.nodes = {ROOT: Node(ROOT, stat.S_IFDIR | 0o755, os.getuid(), os.getgid())}
        self.last_inode = ROOT

    def _new(self, parent: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext) -> Node:
        folder = self.nodes[parent]
        if name in folder.entries:
            raise pyfuse3.FUSEError(errno.EEXIST)
        self.last_inode += 1
        node = self.nodes[self.last_inode] = Node(self.last_inode, mode, ctx.uid, ctx.gid)
        folder.add(name, node)
        return node

    def _child(self, parent: int, name: bytes) -> Node:
        found = self.nodes[parent].entries.get(name)
        if found is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return found[1]

    async def lookup(self, parent_inode: int, name: bytes,
                     ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Inode 0 says that there is no such name, and may be cached."""
        found = self.nodes[parent_inode].entries.get(name)
        if found is not None:
            return found[1].entry
        missing = pyfuse3.EntryAttributes()
        missing.st_ino = 0
        missing.entry_timeout = TIMEOUT_S
        return missing

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Nodes without names are forgotten."""
        for inode, _ in inode_list:
            node = self.nodes.get(inode)
            if node is not None and node.entry.st_nlink == 0:
                del self.nodes[inode]

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Attributes."""
        return self.nodes[inode].entry

    async def setattr(self, inode: int, attr: pyfuse3.EntryAttributes,
                      fields: pyfuse3.SetattrFields, fh: int | None,
                      ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """All that is asked for."""
        node = self.nodes[inode]
        entry = node.entry
        for name in ("mode", "uid", "gid"):
            if getattr(fields, f"update_{name}"):
                setattr(entry, f"st_{name}", getattr(attr, f"st_{name}"))
        for name in ("atime", "mtime", "ctime"):
            if getattr(fields, f"update_{name}"):
                setattr(entry, f"st_{name}_ns", getattr(attr, f"st_{name}_ns"))
        if fields.update_size:
            node.resize(attr.st_size)
        return entry

    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """The target of a symbolic link."""
        return self.nodes[inode].target

    async def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int,
                    ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Any kind of file."""
        return self._new(parent_inode, name, mode, ctx).entry

    async def mkdir(self, parent_inode: int, name: bytes, mode: int,
                    ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """A directory."""
        return self._new(parent_inode, name, mode | stat.S_IFDIR, ctx).entry

    async def symlink(self, parent_inode: int, name: bytes, target: bytes,
                      ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """A symbolic link."""
        node = self._new(parent_inode, name, stat.S_IFLNK | 0o777, ctx)
        node.target = target
        return node.entry

    async def link(self, inode: int, new_parent_inode: int, new_name: bytes,
                   ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Another name."""
        node = self.nodes[inode]
        node.entry.st_nlink += 1
        self.nodes[new_parent_inode].add(new_name, node)
        return node.entry

    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """One name less."""
        self._child(parent_inode, name).entry.st_nlink -= 1
        del self.nodes[parent_inode].entries[name]

    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """An empty directory less."""
        node = self._child(parent_inode, name)
        if node.entries:
            raise pyfuse3.FUSEError(errno.ENOTEMPTY)
        node.entry.st_nlink = 0
        del self.nodes[parent_inode].entries[name]

    async def rename(self, parent_inode_old: int, name_old: bytes, parent_inode_new: int,
                     name_new: bytes, flags: int, ctx: pyfuse3.RequestContext) -> None:
        """Replaces what has the new name."""
        if flags:
            raise pyfuse3.FUSEError(errno.EINVAL)
        node = self._child(parent_inode_old, name_old)
        if name_new in self.nodes[parent_inode_new].entries:
            await self.unlink(parent_inode_new, name_new, ctx)
        del self.nodes[parent_inode_old].entries[name_old]
        self.nodes[parent_inode_new].add(name_new, node)

    async def create(self, parent_inode: int, name: bytes, mode: int, flags: int,
                     ctx: pyfuse3.RequestContext
                     ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """A new file, open."""
        node = self._new(parent_inode, name, mode | stat.S_IFREG, ctx)
        return pyfuse3.FileInfo(fh=node.entry.st_ino, keep_cache=True), node.entry

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Truncates if asked to."""
        if flags & os.O_TRUNC:
            self.nodes[inode].resize(0)
        return pyfuse3.FileInfo(fh=inode, keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Zeros."""
        length = min(size, READ_LEN_MAX, max(0, self.nodes[fh].entry.st_size - off))
        return ZEROS[:length]

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Only the size is kept."""
        node = self.nodes[fh]
        if off + len(buf) > node.entry.st_size:
            node.resize(off + len(buf))
        return len(buf)

    async def release(self, fh: int) -> None:
        """Nothing is held."""

    async def fsync(self, fh: int, datasync: bool) -> None:
        """Nothing is durable."""

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """No state."""
        return inode

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """The entries in the order of their making; whoever adds to it meanwhile is seen or not."""
        for name, (number, node) in list(self.nodes[fh].entries.items()):
            if number > start_id and not pyfuse3.readdir_reply(token, name, node.entry, number):
                return

    async def releasedir(self, fh: int) -> None:
        """Nothing is held."""

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Nothing is durable."""

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Room without end."""
        answer = pyfuse3.StatvfsData()
        answer.f_bsize = answer.f_frsize = BLOCK_LEN
        answer.f_blocks = answer.f_bfree = answer.f_bavail = FREE_BLOCKS
        answer.f_files = answer.f_ffree = answer.f_favail = FREE_BLOCKS
        answer.f_namemax = 255
        return answer


def set_read_ahead(mountpoint: str) -> None:
    """As ecfs sets it for its mounts."""
    device = os.stat(mountpoint).st_dev
    path = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
    with open(path, "w") as file:
        file.write(str(READ_AHEAD_KIB))


async def serve(mountpoint: str, words: list[str]) -> None:
    """Until it is unmounted."""
    options: set[Any] = {"fsname=null", "default_permissions", "allow_other"}
    pyfuse3.init(Null(writeback="writeback" in words), mountpoint, options)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pyfuse3.main)
            await trio.to_thread.run_sync(set_read_ahead, mountpoint)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    trio.run(serve, sys.argv[1], sys.argv[2:])
