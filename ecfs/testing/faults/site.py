"""A pool with some of everything, made once for each geometry, and what it must hold."""

import random
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ecfs.base.units import KIB
from ecfs.erasure import Geometry, Quorum, quorum_for
from ecfs.formats import (
    KIND_METADATA,
    CheckpointPointer,
    column_name,
    commits_name,
    labels_among,
)
from ecfs.repair.walking import segments_of, walk
from ecfs.testing.faults.disk import Disks
from ecfs.testing.faults.world import (
    FaultGround,
    StateFiles,
    paths_of,
    run_repeatably,
)
from ecfs.testing.pools import Opening
from ecfs.testing.shell import Shell
from ecfs.volume import Volume
from ecfs.volume.claiming import box_keys
from ecfs.volume.records import read_log
from ecfs.volume.recovery import chains

XATTR = b"user.colour"
XATTR_VALUE = b"green" * 300


@dataclass(frozen=True, slots=True)
class Shape:
    """A geometry on a number of targets."""

    data: int
    parity: int
    targets_count: int

    @property
    def name(self) -> str:
        """As in the id of a case."""
        return f"{self.data}+{self.parity}@{self.targets_count}"

    @property
    def quorum(self) -> Quorum:
        """Of its members."""
        return quorum_for(self.targets_count, self.parity)


SHAPES = (Shape(2, 1, 3), Shape(4, 2, 6), Shape(1, 1, 2), Shape(2, 2, 4), Shape(3, 3, 6),
          Shape(2, 1, 5), Shape(4, 2, 8))
SHAPE_OF = {shape.name: shape for shape in SHAPES}


@dataclass(frozen=True, slots=True)
class StripePlace:
    """A stripe: where its records lie in the columns of its targets (numbers, in column order).

    `paths`: files of which it holds bytes, for a live stripe of content.
    """

    column: str
    offset: int
    record_len: int
    head_len: int
    targets: tuple[int, ...]
    parity: int
    kind: int
    live: bool
    paths: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """A commit record that is still needed, as all members hold it."""

    name: str
    offset: int
    length: int


@dataclass(slots=True)
class Site:
    """The pool before all faults. `older`: its disks at earlier times, oldest first; `foreign`:
    those of another pool of the same life. `expected`: the whole tree by path."""

    shape: Shape
    seed: int
    base: Path
    disks: Disks = field(default_factory=lambda: Disks({}))
    older: list[Disks] = field(default_factory=list)
    foreign: Disks | None = None
    state: StateFiles = field(default_factory=lambda: StateFiles({}))
    expected: dict[bytes, bytes] = field(default_factory=dict)
    stripes: list[StripePlace] = field(default_factory=list)
    records: list[RecordPlace] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    members: list[int] = field(default_factory=list)
    orphan: int = 0

    @property
    def paths(self) -> tuple[str, ...]:
        """Where its targets are."""
        return paths_of(self.base.name, self.shape.targets_count)

    def ground(self, disks: Disks, entropy_seed: object) -> FaultGround:
        """This pool on other disks, its state directory as it was."""
        ground = self.bare_ground(disks, entropy_seed)
        self.state.put(ground.state_dir)
        return ground

    def bare_ground(self, disks: Disks, entropy_seed: object) -> FaultGround:
        """This pool on some disks, with whatever the state directory holds."""
        return FaultGround(self.base, geometry=Geometry(self.shape.data, self.shape.parity),
                           targets_count=self.shape.targets_count, name=self.base.name,
                           disks=disks, entropy_seed=entropy_seed)


def build_site(shape: Shape, seed: int, base: Path) -> Site:
    """Make the pool, and another one like it beside."""
    site = _built(shape, seed, base)
    other = _built(shape, seed + 1, base.with_name(base.name + "-other"))
    site.foreign = Disks({path: other.disks.disks[theirs]
                          for path, theirs in zip(site.paths, other.paths, strict=True)})
    return site


def _built(shape: Shape, seed: int, base: Path) -> Site:
    site = Site(shape, seed, base)
    base.mkdir(parents=True, exist_ok=True)
    run_repeatably((shape.name, seed), lambda: _live(site))
    return site


async def _live(site: Site) -> None:
    def ground(number: int) -> FaultGround:
        return site.bare_ground(site.disks, (site.shape.name, site.seed, number))

    def remember() -> None:
        site.older.append(site.disks.copy())

    await ground(0).create()
    remember()
    async with ground(1).open() as opening:
        await _fill(opening, site.seed)
    remember()
    async with ground(2).open() as opening:
        await _change(opening, site.seed)
        await opening.volume.checkpoint()
        remember()
        await _compact(opening.volume)
        await opening.volume.checkpoint()
    remember()
    async with ground(3).open() as opening:
        await opening.shell.write(b"docs/tail", _bytes("tail", site.seed, 30_000))
        await opening.volume.fsync(None)
        await opening.volume.checkpoint()
        remember()
    last = ground(4)
    async with last.open_and_crash() as opening:
        await opening.shell.write(b"docs/new", _bytes("new", site.seed, 40_000))
        await opening.volume.fsync(None)
        await opening.volume.checkpoint()
        for number in range(3):
            path = b"late%d" % number
            await opening.shell.write(path, _bytes("late", number, 1 + 2_900 * number))
            await opening.shell.fsync(path)
        gone = opening.shell.find(b"orphan")
        opening.volume.tree.unlink(opening.shell.find(b"").inode, b"orphan")
        site.orphan = gone.inode
        await opening.volume.commit()
        await _take_stock(site, opening)
        opening.volume.save_anchor(durable=True)
    site.state = StateFiles.taken(last.state_dir)
    site.disks = site.disks.copy()


def _bytes(*seed: object) -> bytes:
    length = seed[-1]
    assert isinstance(length, int)
    return random.Random(repr(seed)).randbytes(length)


async def _fill(opening: Opening, seed: int) -> None:
    """Packed small files, a file of many stripes, links, attributes, holes."""
    shell, tree = opening.shell, opening.volume.tree
    shell.make_folder(b"docs")
    for number in range(10):
        await shell.write(b"docs/small%d" % number, _bytes(seed, number, 337 * number * number))
    await shell.write(b"single", _bytes("single", seed, 3_000))
    await opening.volume.fsync(None)
    for number in range(4):
        # Each piece is a stripe of its own.
        await shell.write(b"log", _bytes("log", seed, number, 20_000), 20_000 * number)
        await opening.volume.fsync(None)
    await shell.write(b"big", _bytes("big", seed, 180 * KIB + 123))
    await shell.write(b"sparse", b"begin")
    await shell.write(b"sparse", b"the end", 400_000)
    await shell.write(b"docs/gone", _bytes("gone", seed, 25_000))
    await shell.write(b"orphan", _bytes("orphan", seed, 9_000))
    shell.make(b"link", stat.S_IFLNK | 0o777, symlink=b"docs/small1")
    tree.set_xattr(shell.find(b"docs/small1").inode, XATTR, XATTR_VALUE)
    tree.link(shell.find(b"docs/small2").inode, shell.find(b"docs").inode, b"twin")
    await opening.volume.fsync(None)


async def _change(opening: Opening, seed: int) -> None:
    """Dead bytes, dead stripes between live ones, holes in a file's extents."""
    shell = opening.shell
    await shell.write(b"big", _bytes("again", seed, 50_000), 60_001)
    shell.unlink(b"docs/gone")
    await shell.truncate(b"docs/small9", 1_000)
    await opening.volume.fsync(None)
    await shell.write(b"log", _bytes("over", seed, 20_000), 20_000)
    await opening.volume.fsync(None)
    await shell.write(b"brief", _bytes("brief", seed, 15_000))
    await opening.volume.fsync(None)
    await shell.write(b"stays", _bytes("stays", seed, 15_000))
    await opening.volume.fsync(None)
    shell.unlink(b"brief")
    await opening.volume.fsync(None)


async def _compact(volume: Volume) -> None:
    """Move what lives in the oldest segment of this epoch or an earlier one, so that it goes."""
    open_ids = volume.store.open_segment_ids()
    closed = sorted(set(volume.files.index.segments) - open_ids)
    for segment_id in closed[:1]:
        await volume.files.compact(segment_id)
    await volume.tend()


async def _take_stock(site: Site, opening: Opening) -> None:
    volume = opening.volume
    site.expected = await opening.shell.contents()
    entries = volume.labeller.label.targets
    site.ids = [entry.id for entry in entries]
    number_of = {target_id: number for number, target_id in enumerate(site.ids)}
    site.members = [number_of[one] for one in volume.labeller.label.members]
    paths_of = _paths_by_stripe(opening.shell, volume)
    for entry, kind, live in segments_of(volume):
        name = column_name(entry.epoch, entry.id)
        async for ref, is_live in walk(volume.store, entry, kind, live):
            site.stripes.append(StripePlace(
                name, ref.offset, ref.record_len, ref.head_len,
                tuple(number_of[one] for one in entry.columns), entry.parity, kind, is_live,
                frozenset(paths_of.get((entry.id, ref.offset), ()))))
    start = volume.replay_start
    assert start is not None
    site.records = await _records_from(volume, start)


def _paths_by_stripe(shell: Shell, volume: Volume) -> dict[tuple[int, int], set[bytes]]:
    found: dict[tuple[int, int], set[bytes]] = {}
    for path, attributes in shell.paths().items():
        if not stat.S_ISREG(attributes.mode):
            continue
        for piece in volume.files.tables.pieces(attributes.inode, 0, attributes.size):
            if piece.stripe is not None:
                ref = volume.files.index.ref(piece.stripe)
                found.setdefault((ref.segment.id, ref.offset), set()).add(path)
    return found


async def _records_from(volume: Volume, start: CheckpointPointer) -> list[RecordPlace]:
    """Every record that the two newest checkpoints need, in the order in which they lie."""
    view = await read_log(volume.fleet, volume.labeller.label.members,
                          box_keys(volume.opened.master, volume.pool_id, "commit"),
                          epoch=start.epoch, offset=start.offset)
    needed = {(found.commit.epoch, found.offset): found
              for chain in chains(view) for found in (chain.checkpoint, *chain.records)}
    return [RecordPlace(commits_name(epoch), offset, found.length)
            for (epoch, offset), found in sorted(needed.items())]


def labels_of(names: Iterable[str]) -> list[str]:
    """Names of labels, newest first."""
    return [name for _, _, name in labels_among(names)]


def is_metadata(place: StripePlace) -> bool:
    """Whether a stripe holds pages of the database."""
    return place.kind == KIND_METADATA
