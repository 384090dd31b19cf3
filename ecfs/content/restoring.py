"""What a mount finds in commit records: writes that no page shows."""

from collections.abc import Callable, Iterable

from ecfs.base.errors import Damage, EcfsError
from ecfs.base.ids import InodeId
from ecfs.content.flusher import Flusher
from ecfs.content.state import FileState
from ecfs.formats import LoggedWrite


def restore(flusher: Flusher, writes: Iterable[LoggedWrite],
            state_of: Callable[[InodeId], FileState], take_order: Callable[[], int],
            now_ns: int) -> None:
    """Make them dirty again, as they were for who wrote them; `writes` in the order of writing.

    A file of which not even the size can be read is stuck: its writes stay in the log. `take_order`
    gives the next place in the order of writing: all that is in stripes was written before.
    """
    for write in writes:
        inode = InodeId(write.inode)
        try:
            state = flusher.states.get(inode) or state_of(inode)
        except EcfsError as error:
            flusher.rows.stuck[inode] = Damage(f"inode {inode} cannot be read: {error}")
            state = flusher.states[inode] = FileState(inode, 0, now_ns, is_sized=False)
        state.size = max(state.size, write.offset + len(write.data))
        state.mtime_ns, state.ctime_ns = write.mtime_ns, write.ctime_ns
        flusher.dirty_len += len(write.data)
        flusher.log.add(state, state.freeze([(write.offset, write.data)]), now_ns, take_order(),
                        fresh=False)
