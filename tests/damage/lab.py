"""A pool with some of everything, what it must hold, and where its bytes lie."""

import random
import shutil
import stat
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ecfs.base.units import BLOCK_LEN, MIB
from ecfs.formats import KIND_CONTENT, KIND_METADATA, column_name
from ecfs.repair import ScrubReport, scrub
from ecfs.repair.walking import segments_of
from ecfs.targets import DirectoryTarget, FaultyTarget, Outcome, Target
from ecfs.testing.pools import Ground, Opening, column_bytes, copy_tree, live_columns
from ecfs.volume import OpenOptions

BIG_LEN = 2 * MIB + 812_345
SPARSE_LEN = 2 * MIB
XATTR = b"user.colour"


@dataclass(frozen=True, slots=True)
class Place:
    """A stripe's records in the columns of a segment; lengths in bytes."""

    column: str
    offset: int
    head_len: int
    record_len: int


@dataclass(slots=True)
class Lab:
    """`whole`: the pool before all damage; `older`: its targets some time before that.

    The last mount of the pool was killed after an fsync, so that there are records to replay.
    """

    base: Path
    ground: Ground = field(init=False)
    whole: Path = field(init=False)
    older: Path = field(init=False)
    expected: dict[bytes, bytes] = field(default_factory=dict)
    places: dict[int, list[Place]] = field(default_factory=dict)
    columns: list[dict[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ground = Ground(self.base / "pool")
        self.whole = self.base / "whole"
        self.older = self.base / "older"

    def path(self, target: int) -> Path:
        """Directory of a target."""
        return Path(self.ground.paths[target])

    async def build(self) -> None:
        """Make it."""
        ground = self.ground
        await ground.create()
        async with ground.open() as opening:
            await _fill(opening)
        ground.save(self.older)
        async with ground.open() as opening:
            await _change(opening)
        async with ground.open_and_crash() as opening:
            for number in range(4):
                path = b"late%d" % number
                await opening.shell.write(path, _bytes(path, 3_000 * number + 1))
                await opening.shell.fsync(path)
            self.expected = await opening.shell.contents()
            for entry, kind, live in segments_of(opening.volume):
                self.places.setdefault(kind, []).extend(
                    Place(column_name(entry.epoch, entry.id), ref.offset, ref.head_len,
                          ref.record_len) for ref in live.values())
        assert len(self.places[KIND_CONTENT]) > 3
        assert self.places[KIND_METADATA]
        ground.save(self.whole)
        self.columns = [column_bytes(path) for path in ground.paths]

    def reset(self) -> None:
        """Everything whole again."""
        self.ground.load(self.whole)
        self.end_of_faults()

    def restore(self, target: int) -> None:
        """A target as it was, at its place."""
        copy_tree(self.whole / self.path(target).name, self.path(target))

    def end_of_faults(self) -> None:
        """Every target answers again."""
        self.ground.open_target = DirectoryTarget

    def plan_for(self, target: int, plan: Callable[[int, str, str, int], Outcome],
                 corrupt: Callable[[str, int, bytes], bytes] | None = None) -> None:
        """What is opened at this target's path from now on fails as planned."""
        inner, path = self.ground.open_target, str(self.path(target))

        def opener(wanted: str) -> Target:
            found = inner(wanted)
            return FaultyTarget(found, plan, corrupt=corrupt) if wanted == path else found

        self.ground.open_target = opener

    def make_blank(self, target: int) -> None:
        """An empty directory where a target was."""
        shutil.rmtree(self.path(target), ignore_errors=True)
        self.path(target).mkdir()

    def open(self, *, cache_len: int = 0) -> AbstractAsyncContextManager[Opening]:
        """Open the pool; without a cache every read goes to the targets."""
        return self.ground.open(OpenOptions(block_cache_len=cache_len))

    async def pause(self) -> None:
        """A second, in which the background works."""
        await trio.sleep(1)

    async def check_contents(self, opening: Opening) -> None:
        """Every file reads back bit for bit, and every name is there."""
        found = await self.check_contents_of(opening)
        assert found.keys() == self.expected.keys()

    async def check_contents_of(self, opening: Opening) -> dict[bytes, bytes]:
        """As `check_contents`, with other files beside them; returns all that there is."""
        found = await opening.shell.contents()
        assert found.keys() >= self.expected.keys()
        assert [path for path in self.expected if found[path] != self.expected[path]] == []
        colour = opening.volume.tree.get_xattr(opening.shell.find(b"docs/small1").inode, XATTR)
        assert colour == b"green" * 300
        return found

    def check_columns(self, opening: Opening, targets: set[int]) -> None:
        """Columns that are still needed are byte-identical to what they were, on these targets."""
        live = live_columns(opening.volume)
        compared = 0
        for target in targets:
            now = column_bytes(str(self.path(target)))
            for name, data in self.columns[target].items():
                if name in live:
                    assert name in now, f"{name} is gone from target {target}"
                    assert now[name] == data, (
                        f"{name} of target {target} differs in the blocks "
                        f"{_different_blocks(now[name], data)} ({len(now[name])}, {len(data)})")
                    compared += 1
        assert compared or not targets


def _different_blocks(one: bytes, two: bytes) -> list[int]:
    return [number for number in range(-(-max(len(one), len(two)) // BLOCK_LEN))
            if one[number * BLOCK_LEN :][:BLOCK_LEN] != two[number * BLOCK_LEN :][:BLOCK_LEN]]


async def caught_up(opening: Opening) -> None:
    """Wait until nobody is behind: whose labels or records were damaged is compared in full."""
    with trio.fail_after(600):
        while any(member.behind or not member.online for member in opening.volume.fleet):
            await opening.volume.tend()
            await trio.sleep(0.2)


async def scrub_twice(opening: Opening) -> ScrubReport:
    """Scrub; a second one must find nothing. The first report."""
    first = await scrub(opening.volume)
    second = await scrub(opening.volume)
    assert (second.bad_count, second.unreadable_count) == (0, 0), (first, second)
    assert opening.volume.database.integrity_findings() == []
    return first


def errors_of(opening: Opening) -> list[int]:
    """How many errors the status counts against each target."""
    return [target.io_errors + target.tag_errors + target.label_errors
            for target in opening.volume.status().targets]


def states_of(opening: Opening) -> list[str]:
    """The state of each target in the status."""
    return [target.state for target in opening.volume.status().targets]


def _bytes(seed: bytes, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


async def _fill(opening: Opening) -> None:
    shell, tree = opening.shell, opening.volume.tree
    shell.make_folder(b"docs")
    shell.make_folder(b"docs/deep")
    for number in range(24):
        path = b"docs/small%d" % number
        await shell.write(path, _bytes(path, 137 * number * number))
    # By themselves, so that there are stripes of each.
    await opening.volume.files.flush(None)
    await shell.write(b"big", _bytes(b"big", BIG_LEN))
    await opening.volume.files.flush(None)
    await shell.write(b"sparse", b"begin")
    await shell.write(b"sparse", b"the end", SPARSE_LEN)
    await shell.write(b"docs/deep/gone", _bytes(b"gone", 300_000))
    shell.make(b"link", stat.S_IFLNK | 0o777, symlink=b"docs/small1")
    shell.make(b"pipe", stat.S_IFIFO | 0o600)
    tree.set_xattr(shell.find(b"docs/small1").inode, XATTR, b"green" * 300)
    tree.link(shell.find(b"docs/small2").inode, shell.find(b"docs/deep").inode, b"twin")
    await opening.volume.fsync(None)


async def _change(opening: Opening) -> None:
    """A second mount: dead bytes, holes in a stripe, replaced names."""
    shell = opening.shell
    await shell.write(b"big", _bytes(b"again", 700_000), 1_000_001)
    shell.unlink(b"docs/deep/gone")
    await shell.write(b"docs/new", _bytes(b"new", 50_000))
    await shell.rename(b"docs/new", b"docs/small3")
    await shell.truncate(b"docs/small4", 1_000)
    await shell.write(b"docs/tail", _bytes(b"tail", 900_000))
    await opening.volume.fsync(None)

