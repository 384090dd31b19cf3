"""What the driver needs of a volume: `ecfs.volume` has the real one, `ecfs.testing` a small one."""

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from ecfs.base.ids import InodeId
from ecfs.base.promises import Promises
from ecfs.namespace import Tree
from ecfs.targets import Buffer


class VolumeSpace(Protocol):
    """What statfs(2) tells; lengths in bytes of content (parity already taken off)."""

    @property
    def total_len(self) -> int:
        """All there is."""
        ...

    @property
    def free_len(self) -> int:
        """What is free, the reserve included."""
        ...

    @property
    def available_len(self) -> int:
        """What can still be written."""
        ...

    @property
    def inodes_count(self) -> int:
        """Inodes in use."""
        ...

    @property
    def inodes_free(self) -> int:
        """How many more there could be."""
        ...


class Files(Protocol):
    """The bytes of regular files. Errors are EcfsError, whose errno the caller's program gets."""

    def pending(self, inode: InodeId) -> tuple[int, int, int] | None:
        """`(size, mtime_ns, ctime_ns)` not in the tree yet; None if the tree knows all.

        A time of 0 means that the tree's is right.
        """
        ...

    def blocks(self, inode: InodeId, size: int) -> int:
        """`st_blocks`: 512-byte units that the content takes; holes take none."""
        ...

    def times_were_set(self, inode: InodeId) -> None:
        """The tree has just got times that what is pending must not change when it is recorded.

        Without it each utimens(2), so each file of an untar, would have to flush its content.
        """
        ...

    def load(self, inodes: Sequence[InodeId]) -> None:
        """`pending` and `blocks` of these will be asked for: read what they need at once."""
        ...

    def begin_read(self, inode: InodeId, offset: int,
                   length: int) -> Buffer | Coroutine[Any, Any, Buffer]:
        """Exactly the bytes of the range that lie before the end of the file, or a coroutine that
        returns them."""
        ...

    def begin_write(self, inode: InodeId, offset: int,
                    data: Buffer) -> Coroutine[Any, Any, None] | None:
        """Take all of `data`, or a coroutine that does so once there is room."""
        ...

    async def truncate(self, inode: InodeId, size: int) -> None:
        """Cut or extend with zeros, the size in the tree included."""
        ...

    async def punch(self, inode: InodeId, low: int, high: int) -> None:
        """Make a hole of the bytes [low, high) that lie within the file; its times change."""
        ...

    async def seek(self, inode: InodeId, offset: int, *, hole: bool) -> int | None:
        """Where the next data or hole at or after `offset` begins; None for no data.

        The end of the file counts as a hole.
        """
        ...

    async def copy(self, source: InodeId, offset: int, target: InodeId, to: int,
                   length: int) -> int:
        """Copy bytes from file to file, ranges apart; how many, maybe fewer, 0 at the end."""
        ...

    async def flush(self, inode: InodeId, *, inline: bool = False) -> None:
        """Bring pending content into the open transaction; not durable yet. `inline`: it is enough
        that the next commit has it."""
        ...

    def discard(self, inodes: Sequence[InodeId]) -> None:
        """These are gone: drop their buffers and rows. Their rows in the tree go right after."""
        ...


class Mounted(Protocol):
    """A volume while it is mounted."""

    @property
    def tree(self) -> Tree:
        """Names, inodes and attributes."""
        ...

    @property
    def files(self) -> Files:
        """Contents."""
        ...

    @property
    def promises(self) -> Sequence[Promises]:
        """Of tree and files: what they have decided and may do after the answer."""
        ...

    def admit(self, *, grows: bool) -> None:
        """Before each change: raises ReadOnly, or NoSpace for one that grows. Does not wait."""
        ...

    async def room(self) -> None:
        """Wait while the open transaction is past its bound."""
        ...

    async def make_room(self) -> None:
        """For who was refused by `admit` for lack of room: what is dead gives its room back, in
        bounded time. Then it is to be asked again. Does not raise."""
        ...

    async def fsync(self, inode: InodeId | None) -> None:
        """Make durable: the content of one inode (None: of all) and all metadata."""
        ...

    def space(self) -> VolumeSpace:
        """How much there is and how much can still be placed."""
        ...
