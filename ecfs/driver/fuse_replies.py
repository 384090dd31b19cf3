"""Parts of replies to the kernel: attributes, directory entries, values of asked-for lengths."""

import errno
import os

from ecfs.base.errors import FsError
from ecfs.base.limits import NAME_LEN_MAX
from ecfs.base.units import BLOCK_LEN, NS_PER_S
from ecfs.driver import fuse_protocol as fuse
from ecfs.driver.attributes import Stat
from ecfs.driver.volume_protocol import VolumeSpace

BLOCK_HINT_LEN = 32 * BLOCK_LEN
_PADDING = tuple(bytes(-length % 8) for length in range(8))
_pack_dirent = fuse.DIRENT.pack


def fields(found: Stat) -> tuple[int, ...]:
    """The values of `fuse.ATTR`."""
    attributes = found.attributes
    atime_s, atime_ns = divmod(attributes.atime_ns, NS_PER_S)
    mtime_s, mtime_ns = divmod(attributes.mtime_ns, NS_PER_S)
    ctime_s, ctime_ns = divmod(attributes.ctime_ns, NS_PER_S)
    return (attributes.inode, attributes.size, found.blocks, atime_s, mtime_s,
            ctime_s, atime_ns, mtime_ns, ctime_ns, attributes.mode, attributes.nlink,
            attributes.uid, attributes.gid, attributes.rdev, BLOCK_HINT_LEN, 0)


def statx(found: Stat, timeout: tuple[int, int]) -> bytes:
    """A reply to STATX: what stat(2) tells, and the time of birth."""
    one = found.attributes
    times = (one.atime_ns, one.btime_ns, one.ctime_ns, one.mtime_ns)
    return fuse.STATX_OUT.pack(
        *timeout, 0, fuse.STATX_BASIC | fuse.STATX_BTIME, BLOCK_HINT_LEN, 0, one.nlink, one.uid,
        one.gid, one.mode, one.inode, one.size, found.blocks, 0,
        *(part for time_ns in times for part in divmod(time_ns, NS_PER_S)),
        os.major(one.rdev), os.minor(one.rdev), 0, 0)


def statfs(space: VolumeSpace) -> bytes:
    """A reply to STATFS."""
    return fuse.STATFS_OUT.pack(
        space.total_len // BLOCK_LEN, space.free_len // BLOCK_LEN,
        space.available_len // BLOCK_LEN, space.inodes_count + space.inodes_free,
        space.inodes_free, BLOCK_LEN, NAME_LEN_MAX, BLOCK_LEN)


def dirent(name: bytes, inode: int, mode: int, cookie: int) -> bytes:
    """One entry of a directory, padded. `mode` has type and permission bits, and no others."""
    length = len(name)
    return _pack_dirent(inode, cookie, length, mode >> 12) + name + _PADDING[length & 7]


def sized(value: bytes, size: int) -> bytes:
    """A value, or its length if the caller asked with no room for it. ERANGE if it is too long."""
    if not size:
        return fuse.GETXATTR_OUT.pack(len(value), 0)
    if len(value) > size:
        raise FsError(errno.ERANGE)
    return value
