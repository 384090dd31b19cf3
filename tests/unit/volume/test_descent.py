"""Whether a history contains an anchor."""

from pathlib import Path

from ecfs.erasure import Geometry
from ecfs.metadata import ContentTables
from ecfs.testing.pools import Ground
from ecfs.volume.anchor import Anchor
from ecfs.volume.descent import check_descent


async def test_the_base_of_the_newest_checkpoint_is_part_of_it(tmp_path: Path) -> None:
    """A crash right after a checkpoint, with the anchor at the commit that it was made of."""
    ground = Ground(tmp_path, geometry=Geometry(1, 1), targets_count=2)
    await ground.create()
    async with ground.open_and_crash() as opening:
        for number in range(3):
            await opening.shell.write(b"file%d" % number, b"x" * 100)
            await opening.volume.fsync(None)
        await opening.volume.checkpoint()
    async with ground.open_and_crash() as opening:
        opened = opening.volume.opened
        assert opened.chain is not None and opened.database is not None
        root = opened.chain.root
        anchor = Anchor("", 1, root.base_seq, root.base_hash.hex(), 1, 1, "", 1)
        check_descent(opened.chain, ContentTables(opened.database), anchor)


async def test_it_stays_part_of_it_when_the_next_epoch_goes_on(tmp_path: Path) -> None:
    """The anchor may be as old as that after another crash, and after more checkpoints."""
    ground = Ground(tmp_path, geometry=Geometry(1, 1), targets_count=2)
    await ground.create()
    async with ground.open_and_crash() as opening:
        await opening.shell.write(b"file", b"x" * 100)
        await opening.volume.checkpoint()
    async with ground.open_and_crash() as opening:
        chain = opening.volume.opened.chain
        assert chain is not None
        root = chain.root
        for number in range(3):
            await opening.shell.write(b"file%d" % number, b"x" * 100)
            await opening.volume.checkpoint()
    async with ground.open_and_crash() as opening:
        opened = opening.volume.opened
        assert opened.chain is not None and opened.database is not None
        assert opened.chain.root.base_seq > root.base_seq
        anchor = Anchor("", 1, root.base_seq, root.base_hash.hex(), 1, 1, "", 1)
        check_descent(opened.chain, ContentTables(opened.database), anchor)
