"""Whatever lies in a target, or on two: nothing is read wrongly, and it ends well.

ECFS_DAMAGE_SEEDS: how many seeds are tried.
"""

import os
import random
import shutil
from pathlib import Path

import pytest

from ecfs.base.errors import Fault, NoSpace
from ecfs.erasure import Geometry
from ecfs.repair import replace_target, scrub
from ecfs.targets import Outcome
from ecfs.testing.pools import Ground
from tests.damage.lab import Lab, caught_up, scrub_twice, states_of

SEEDS_COUNT = int(os.environ.get("ECFS_DAMAGE_SEEDS", "16"))
ALL = {0, 1, 2, 3, 4, 5}


def files_of(folder: Path) -> list[Path]:
    """All files below a folder, always in the same order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def hurt(path: Path, source: random.Random) -> None:
    """One of many small things to a file."""
    data = bytearray(path.read_bytes())
    kind = source.choice(["bit", "bit", "run", "zeros", "cut", "grow", "shift", "gone"])
    at = source.randrange(len(data)) if data else 0
    length = source.choice([1, 511, 4096, 70_000])
    if kind == "bit" and data:
        data[at] ^= 1 << source.randrange(8)
    elif kind == "run":
        data[at : at + length] = source.randbytes(len(data[at : at + length]))
    elif kind == "zeros":
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif kind == "cut":
        del data[at:]
    elif kind == "grow":
        data += source.randbytes(length)
    elif kind == "shift":
        data[at:at] = b"\0" * length
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(data)


@pytest.mark.parametrize("seed", range(SEEDS_COUNT))
async def test_anything_in_two_targets(lab: Lab, seed: int) -> None:
    source = random.Random(seed)
    for target in source.sample(sorted(ALL), 2):
        files = files_of(lab.path(target))
        for path in source.sample(files, source.randrange(1, len(files) + 1)):
            hurt(path, source)
    gone: set[int] = set()
    async with lab.open() as opening:
        await lab.check_contents(opening)
        await opening.mending.drained()
        await scrub_twice(opening)
        gone = {number for number, state in enumerate(states_of(opening)) if state != "online"}
    lab.check_columns(opening, ALL - gone)
    for target in gone:
        lab.make_blank(target)
    async with lab.open() as opening:
        for target in gone:
            place = str(lab.path(target))
            assert (await replace_target(opening.volume, place, place)).complete
        await lab.check_contents(opening)
        await scrub_twice(opening)
        await caught_up(opening)
        assert opening.volume.status().state == "healthy"
    lab.check_columns(opening, ALL)
    report = await lab.ground.fsck()
    assert report.clean, report.findings


@pytest.mark.parametrize("moved", [0, 3])
async def test_records_that_moved(lab: Lab, moved: int) -> None:
    """One target has all its records, each a block further on: the others keep theirs in place."""
    def records_of(target: int) -> dict[str, bytes]:
        return {path.name: path.read_bytes().rstrip(b"\0")
                for path in lab.path(target).glob("commits.*")}

    before = {target: records_of(target) for target in ALL}
    for path in lab.path(moved).glob("commits.*"):
        path.write_bytes(bytes(4096) + path.read_bytes())
    async with lab.open() as opening:
        await lab.check_contents(opening)
        await scrub_twice(opening)
        oldest = min(before[moved])
        for target in ALL:
            now = records_of(target)
            for name, data in before[target].items():
                # The oldest file begins with records that nothing needs any more.
                assert now[name] == data or (target, name) == (moved, oldest)
    for target in sorted(ALL - {moved})[:2]:
        shutil.rmtree(lab.path(target))
    async with lab.open() as opening:
        await lab.check_contents(opening)


async def test_junk_in_all_targets(lab: Lab) -> None:
    """Odd names, and things in the place of folders and files that are not there yet."""
    for target in range(6):
        folder = lab.path(target)
        for name in ("junk", "label.x", "LABEL.0.0", "claim.", ".tmp-old", "säure", "a b",
                     "x" * 255, "commits.zzzz", "label." + "f" * 16):
            (folder / name).write_bytes(b"junk")
        (folder / ("claim." + "f" * 16)).write_bytes(b"junk")
        (folder / ("label." + "f" * 16 + "." + "f" * 16)).write_bytes(b"junk")
        (folder / ("heartbeat." + "0" * 15 + "9")).mkdir()
        (folder / "segments" / "zz").mkdir()
        (folder / "segments" / "01" / "odd").write_bytes(b"junk")
        os.mkfifo(folder / "pipe")
        (folder / "link").symlink_to("/etc/passwd")
    async with lab.open() as opening:
        await lab.check_contents(opening)
        await opening.shell.write(b"more", b"m" * 300_000)
        await opening.shell.fsync(b"more")
        await scrub_twice(opening)
        assert set(states_of(opening)) == {"online"}
    async with lab.open() as opening:
        assert await opening.shell.read(b"more") == b"m" * 300_000
        await scrub_twice(opening)
    for target in range(6):
        assert (lab.path(target) / "junk").read_bytes() == b"junk"


@pytest.mark.parametrize("what", ["file", "symlink", "missing"])
async def test_no_segments_folder(lab: Lab, what: str) -> None:
    """On two targets. What was put in its place cannot be mended by itself, but does no harm."""
    for target in (0, 3):
        folder = lab.path(target) / "segments"
        folder.rename(lab.base / "pool" / f"moved{target}")
        if what == "file":
            folder.write_bytes(b"junk")
        elif what == "symlink":
            folder.symlink_to(lab.base / "pool" / f"moved{target}")
    async with lab.open() as opening:
        await lab.check_contents(opening)
        await opening.shell.write(b"more", b"m" * 300_000)
        await opening.shell.fsync(b"more")
        await scrub(opening.volume)
        await lab.check_contents_of(opening)
    if what == "missing":
        lab.check_columns(opening, ALL)
    async with lab.open() as opening:
        assert await opening.shell.read(b"more") == b"m" * 300_000
        await lab.check_contents_of(opening)


@pytest.mark.parametrize("full", [(2,), (1, 4)])
async def test_full_targets(lab: Lab, full: tuple[int, ...]) -> None:
    """They take no new columns; what they missed is there once they have room again."""
    is_full = True

    def plan(number: int, method: str, name: str, offset: int) -> Outcome:
        grows = method in ("write", "create", "preallocate", "replace")
        return Fault.FULL if is_full and grows and name.startswith("segments") else None

    for target in full:
        lab.plan_for(target, plan)
    async with lab.open() as opening:
        for number in range(4):
            await opening.shell.write(b"more%d" % number, b"%d" % number * 300_000)
            await opening.shell.fsync(b"more%d" % number)
        await lab.check_contents_of(opening)
        await opening.volume.checkpoint()
    is_full = False
    async with lab.open() as opening:
        for number in range(4):
            assert await opening.shell.read(b"more%d" % number) == b"%d" % number * 300_000
        await scrub_twice(opening)
        await lab.check_contents_of(opening)


async def test_all_full(lab: Lab) -> None:
    """Writing says so, deleting works, and then there is room again."""
    is_full = True

    def plan(number: int, method: str, name: str, offset: int) -> Outcome:
        grows = method in ("write", "create", "preallocate")
        return Fault.FULL if is_full and grows and name.startswith("segments") else None

    for target in range(6):
        lab.plan_for(target, plan)
    async with lab.open() as opening:
        await opening.shell.write(b"more", b"m" * 300_000)
        with pytest.raises(NoSpace):
            await opening.shell.fsync(b"more")
        assert await opening.shell.read(b"more") == b"m" * 300_000
        opening.shell.unlink(b"docs/small1")
        await opening.volume.commit()
        is_full = False
        await lab.pause()
        await lab.pause()
        await opening.shell.fsync(b"more")
    async with lab.open() as opening:
        assert await opening.shell.read(b"more") == b"m" * 300_000
        assert not opening.shell.exists(b"docs/small1")
        await scrub_twice(opening)


@pytest.mark.parametrize("method", ["sync", "write", "create"])
async def test_errors_that_pass(lab: Lab, method: str) -> None:
    """A target fails every call of a kind for a while: it is away, comes back, catches up."""
    is_failing = False

    def plan(number: int, called: str, name: str, offset: int) -> Outcome:
        return Fault.IO if is_failing and called == method else None

    lab.plan_for(2, plan)
    async with lab.open() as opening:
        for number in range(6):
            is_failing = number in (1, 2, 4)
            await opening.shell.write(b"more%d" % number, b"%d" % number * 200_000)
            await opening.shell.fsync(b"more%d" % number)
            await opening.volume.tend()
        while opening.volume.status().state != "healthy":
            await opening.volume.tend()
            await lab.pause()
        for number in range(6):
            assert await opening.shell.read(b"more%d" % number) == b"%d" % number * 200_000
        await scrub_twice(opening)
        await lab.check_contents_of(opening)


@pytest.mark.parametrize("data, parity, targets_count", [
    (1, 1, 3), (1, 2, 5), (2, 1, 3), (3, 2, 5), (4, 2, 9), (2, 3, 7), (6, 3, 9), (8, 4, 12)])
async def test_geometries(tmp_path: Path, keys: None, data: int, parity: int,
                          targets_count: int) -> None:
    """Any m targets may go: all is read, more is written, and the lost are replaced."""
    ground = Ground(tmp_path / "pool", geometry=Geometry(data, parity),
                    targets_count=targets_count)
    await ground.create()
    files = {b"big": random.Random(1).randbytes(700_000), b"small": b"s" * 100}
    async with ground.open() as opening:
        for path, content in files.items():
            await opening.shell.write(path, content)
            await opening.shell.fsync(path)
    lost = random.Random(data).sample(range(targets_count), parity)
    for target in lost:
        shutil.rmtree(ground.paths[target])
    async with ground.open() as opening:
        assert opening.volume.status().state == "degraded", opening.volume.read_only
        files[b"narrow"] = b"n" * 400_000
        await opening.shell.write(b"narrow", files[b"narrow"])
        await opening.shell.fsync(b"narrow")
        assert await opening.shell.contents() == files
        for target in lost:
            report = await replace_target(opening.volume, ground.paths[target],
                                          ground.paths[target])
            assert report.complete
        await caught_up(opening)
        assert opening.volume.status().state == "healthy"
        await scrub_twice(opening)
    async with ground.open() as opening:
        assert await opening.shell.contents() == files
    assert (await ground.fsck()).clean
