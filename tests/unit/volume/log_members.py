"""Members that hold a log, and what is done with it."""

from ecfs.base.errors import Fenced
from ecfs.base.units import BLOCK_LEN
from ecfs.erasure import Geometry
from ecfs.formats import (
    NO_PARENT,
    CheckpointPointer,
    Commit,
    PageDelta,
    Root,
    claim_name,
    commits_name,
    encode_commit,
    record_hash,
)
from ecfs.targets import Target
from ecfs.volume.claiming import box_keys
from ecfs.volume.logmending import LogMender
from ecfs.volume.records import LogView, read_log
from ecfs.volume.recovery import Chain, adopt
from tests.unit.stripes.simulated import POOL_ID, World

QUORUM = 4
EPOCH = 3
CLAIM = b"our claim".ljust(BLOCK_LEN, b"\0")
START = CheckpointPointer(EPOCH, 1, 0, bytes(32))


class Members:
    """Six members with the same records in `commits.3`: a checkpoint, then plain ones."""

    def __init__(self, count: int = 5) -> None:
        self.world = World(Geometry(4, 2), 6)
        self.keys = box_keys(self.world.master, POOL_ID, "commit")
        self.records: list[bytes] = []
        parent = NO_PARENT
        for seq in range(1, count + 1):
            parent = self.make(seq, parent)
        for memory in self.world.memories:
            memory.create(commits_name(EPOCH), b"".join(self.records))
            memory.create(claim_name(EPOCH), CLAIM)
        self.fences: dict[Target, Fenced] = {}

    def make(self, seq: int, parent: bytes, *, epoch: int = EPOCH, padding: int = 0,
             clean: bool = False, more: bool = False) -> bytes:
        """The next record of `records`; its hash."""
        root = Root(0, NO_PARENT, 1, (), (), (), 1, 1, 1, 1, 0, 0, 4, 2, 1, (), (), 1) if (
            seq == 1) else None
        pages = (PageDelta(1, False, bytes(padding)),) if padding else ()
        data = encode_commit(Commit(epoch, seq, parent, bytes(16), 0, 1, 1, pages, root=root,
                                    clean=clean, more=more),
                             self.keys, self.world.entropy.token(32))
        self.records.append(data)
        return record_hash(data)

    def mender(self, epoch: int = EPOCH) -> LogMender:
        return LogMender(self.world.fleet, self.world.journal, self.keys, epoch, CLAIM,
                         lambda target: self.fences.get(target), self.keys)

    async def view(self, offset: int = 0) -> LogView:
        return await read_log(self.world.fleet, self.world.ids, self.keys, epoch=EPOCH,
                              offset=offset)

    async def mend(self, epoch: int = EPOCH) -> tuple[int, int]:
        return await self.mender(epoch).mend(tuple(self.world.ids), START)

    async def secure(self, epoch: int = EPOCH) -> None:
        """As a mount does before it begins its epoch."""
        view = await self.view()
        chain = adopt(view, drop_tail=False)
        assert isinstance(chain, Chain)
        await self.mender(epoch).secure((tuple(self.world.ids),), QUORUM, START, chain, view)

    def file(self, number: int, epoch: int = EPOCH) -> bytes:
        memory = self.world.memories[number]
        return memory.read(commits_name(epoch), 0, 1 << 24)

    def write(self, number: int, offset: int, data: bytes, epoch: int = EPOCH) -> None:
        self.world.memories[number].write(commits_name(epoch), offset, [data])

    def write_new(self, number: int, epoch: int, data: bytes) -> None:
        self.world.memories[number].create(commits_name(epoch), data)

    def drop_last(self, *numbers: int) -> None:
        """These members never got the newest record."""
        for number in numbers:
            self.world.memories[number].truncate(
                commits_name(EPOCH), len(b"".join(self.records[:-1])))
