"""Salvage: with metadata a copy that goes on, without it the files out of the log."""

import errno
import os
import random
import resource
import stat
from pathlib import Path

import pytest

from ecfs.base.errors import (
    InUse,
    NotAPool,
    Refusal,
    TargetInside,
    Unreadable,
    UsageRefusal,
    WrongPassphrase,
)
from ecfs.base.ids import InodeId
from ecfs.base.limits import FILE_LEN_MAX
from ecfs.base.units import BLOCK_LEN, KIB, MIB
from ecfs.formats import SegmentEntry, column_name
from ecfs.namespace import ACCESS, DEFAULT
from ecfs.namespace.acls import Acl
from ecfs.repair import Progress, SalvageReport, salvage
from ecfs.volume import OpenOptions, Secret
from tests.unit.repair.conftest import (
    BIG,
    PASSPHRASE,
    SMALL,
    Pool,
    SharedTarget,
    metadata_columns,
    put,
    scramble,
)

ROOT = InodeId(1)
NO_ID = 0xFFFFFFFF


async def run(pool: Pool, out_dir: Path) -> SalvageReport:
    return await salvage(pool.paths, PASSPHRASE, pool.environment, out_dir)


async def lose_metadata(pool: Pool) -> list[str]:
    """Nothing of metadata stripes and commits is left anywhere; names of the content columns."""
    names = await metadata_columns(pool)
    for target in pool.targets.values():
        for name in target.list_names():
            if name.startswith("commits."):
                target.remove(name)
    for path in pool.paths:
        for name in set(names) & set(pool.columns(path)):
            pool.edit(path, name, scramble)
    return sorted({name for path in pool.paths for name in pool.columns(path)} - set(names))


async def content_segments(pool: Pool) -> list[SegmentEntry]:
    """As far as the pool knows before anything was damaged."""
    async with pool.open(OpenOptions(read_only=True, copies_help=True)) as volume:
        return list(volume.files.index.segments.values())


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()}


# -- with metadata ---------------------------------------------------------------------------


async def test_a_healthy_pool_is_copied_out(pool: Pool, tmp_path: Path) -> None:
    async with pool.open() as volume:
        inode = await put(volume, ROOT, b"sparse", b"head")
        await volume.files.write(inode, 5 * MIB, b"tail")
        await volume.fsync(inode)
        volume.tree.set_attributes(inode, mode=0o100751, mtime_ns=1_500_000_000_123_456_789)
        volume.files.times_were_set(inode)
        volume.tree.create(ROOT, b"fifo", mode=0o010600, uid=0, gid=0)
    before = pool.bytes_of()
    out = tmp_path / "out"
    seen: list[Progress] = []
    report = await salvage(pool.paths, PASSPHRASE, pool.environment, out, progress=seen.append)
    assert pool.bytes_of() == before
    sparse = b"head".ljust(5 * MIB, b"\0") + b"tail"
    assert files_in(out) == {
        "big": BIG, "docs/small": SMALL, "second": SMALL, "sparse": sparse}
    assert (out / "second").samefile(out / "docs/small")
    assert os.readlink(out / "link") == "docs/small"
    assert (out / "docs/deep").is_dir()
    status = (out / "sparse").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o751, 1_500_000_000_123_456_789)
    assert status.st_blocks * 512 < MIB
    assert stat.S_ISFIFO((out / "fifo").stat().st_mode)
    assert report == SalvageReport(3, len(BIG) + len(SMALL) + len(sparse), [])
    assert report.to_json()["schema"] == "ecfs.salvage/1"
    assert seen[-1].done_len <= seen[-1].total_len


async def test_what_is_unreadable_is_left_out_and_told(pool: Pool, tmp_path: Path) -> None:
    async with pool.open() as volume:
        (piece,) = volume.files.tables.pieces(volume.tree.lookup(ROOT, b"big").inode, 0, 1)
        assert piece.stripe is not None
        row = volume.files.tables.stripe(piece.stripe)
        entry = volume.files.index.segments[row.segment]
    name = column_name(entry.epoch, entry.id)
    # Three of six shards of the first stripe of `big`: more than parity can replace. What lies
    # whole in the shards that are left is still readable.
    bad = [member.path for member in volume.fleet if member.id in entry.columns[:3]]
    for path in bad:
        pool.edit(path, name, lambda data: data.__setitem__(
            slice(row.offset + BLOCK_LEN, row.offset + row.body_len), bytes(
                row.body_len - BLOCK_LEN)))
    report = await run(pool, tmp_path / "out")
    found = (tmp_path / "out/big").read_bytes()
    assert report.incomplete == ["big"]
    assert len(found) == len(BIG)
    right = [found[at : at + KIB] == BIG[at : at + KIB] for at in range(0, len(BIG), KIB)]
    assert len(right) // 5 < sum(right) < len(right)
    assert all(is_right or found[at * KIB : (at + 1) * KIB] == bytes(KIB)
               for at, is_right in enumerate(right))
    assert (tmp_path / "out/docs/small").read_bytes() == SMALL


async def test_rot_within_parity_costs_nothing(pool: Pool, tmp_path: Path) -> None:
    for path in pool.paths[:2]:
        for name in pool.columns(path):
            pool.edit(path, name, scramble)
    report = await run(pool, tmp_path / "out")
    assert not report.incomplete
    assert files_in(tmp_path / "out") == {"big": BIG, "docs/small": SMALL, "second": SMALL}


async def test_what_the_metadata_does_not_cover_comes_from_the_log(pool: Pool,
                                                                   tmp_path: Path) -> None:
    names = [b"file %03d " % number + b"x" * 80 for number in range(300)]
    async with pool.open() as volume:
        many = volume.tree.create(ROOT, b"many", mode=0o040755, uid=0, gid=0).inode
        for name in names:
            inode = volume.tree.create(many, name, mode=0o100600, uid=0, gid=0).inode
            await volume.files.write(inode, 0, name * 3)
        await volume.fsync(None)
    async with pool.open(OpenOptions(read_only=True)) as volume:
        page = volume.database.value(
            "SELECT pageno FROM dbstat WHERE name = 'entries' AND pagetype = 'leaf' "
            "ORDER BY path DESC LIMIT 1")
        place = volume.pages.map.place(page)
        ref = volume.opened.table.ref(place >> 32)
        (unit,) = volume.store.layout(ref).units_of(place & 0xFFFFFFFF, BLOCK_LEN)
    column = column_name(ref.segment.epoch, ref.segment.id)
    low = ref.offset + ref.head_len + unit.offset
    for path in pool.paths:
        if column in pool.columns(path):
            pool.edit(path, column, lambda data: data.__setitem__(
                slice(low, low + unit.length), bytes(unit.length)))
    assert {finding.id for finding in (await pool.check()).findings} >= {"database-corrupt"}

    report = await run(pool, tmp_path / "out")
    assert report.from_log
    assert report.incomplete == ["many"]
    found = files_in(tmp_path / "out")
    assert found["big"] == BIG
    assert {name: found["many/" + name.decode()] for name in names} == {
        name: name * 3 for name in names}
    assert report.files_count == 302


# -- where the output takes not everything ---------------------------------------------------


async def test_one_odd_name_or_file_does_not_cost_the_rest(pool: Pool, tmp_path: Path) -> None:
    """A path longer than paths may be, a file longer than the disk here takes files."""
    async with pool.open() as volume:
        folder = ROOT
        for _ in range(20):
            folder = volume.tree.create(folder, b"x" * 250, mode=0o040755, uid=0, gid=0).inode
        await put(volume, folder, b"bottom", SMALL)
        inode = await put(volume, ROOT, b"huge", b"head")
        volume.tree.record_content(inode, size=FILE_LEN_MAX, mtime_ns=None, ctime_ns=None)
        for number in range(5):
            await put(volume, ROOT, b"z%d" % number, SMALL)
    too_long = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32 * MIB, too_long[1]))
    try:
        report = await run(pool, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, too_long)
    found = files_in(tmp_path / "out")
    (bottom,) = [name for name in found if name.endswith("/bottom")]
    assert bottom.startswith("lost+found/inode-")
    assert found[bottom] == SMALL
    assert found["huge"] == b"head"
    assert [found[f"z{number}"] for number in range(5)] == [SMALL] * 5
    assert "huge" in report.incomplete
    assert [name for name in report.incomplete if name.startswith("lost+found/")]


@pytest.mark.parametrize("call", ["link", "symlink", "mkfifo"])
async def test_where_there_are_no_links_the_rest_is_saved(
        pool: Pool, tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on vfat: what has several names comes several times."""
    async with pool.open() as volume:
        volume.tree.create(ROOT, b"fifo", mode=0o010600, uid=0, gid=0)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, call, refuse)
    report = await run(pool, tmp_path / "out")
    assert files_in(tmp_path / "out") == {"big": BIG, "docs/small": SMALL, "second": SMALL}
    assert len(report.incomplete) == (call != "link")


async def test_a_full_disk_still_ends_it(pool: Pool, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite

    def refuse(fd: int, data: bytes, offset: int) -> int:
        if len(data) < KIB:
            # The lock's process id, in the run directory.
            return pwrite(fd, data, offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(Refusal, match="No space left"):
        await run(pool, tmp_path / "out")


async def test_a_file_of_the_log_whose_name_cannot_be_keeps_its_number(
        pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await lose_metadata(pool)
    rename = Path.rename

    def picky(path: Path, other: Path) -> Path:
        if other.name == "big":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return rename(path, other)

    monkeypatch.setattr(Path, "rename", picky)
    report = await run(pool, tmp_path / "out")
    found = files_in(tmp_path / "out")
    assert found.pop("2/small") == SMALL
    assert list(found.values()) == [BIG]
    assert next(iter(found)).startswith("inode-")
    assert not report.incomplete

@pytest.mark.parametrize("taken", [True, False])
async def test_acls_come_along_and_nobody_gets_more(
        pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, taken: bool) -> None:
    """Where they cannot be, the group's bits are not those of the mask, which stat(2) shows."""
    named = Acl(((1, 6, NO_ID), (2, 6, 1234), (4, 0, NO_ID), (16, 6, NO_ID), (32, 0, NO_ID)))
    async with pool.open() as volume:
        tree = volume.tree
        folder = tree.create(ROOT, b"folder", mode=0o040750, uid=0, gid=0).inode
        inode = await put(volume, folder, b"file", SMALL)
        tree.set_xattr(inode, ACCESS, named.to_bytes())
        plain = await put(volume, folder, b"plain", SMALL)
        tree.set_xattr(folder, DEFAULT, named.to_bytes())
        tree.set_xattr(folder, b"user.f", b"g")
        assert tree.attributes(inode).mode & 0o777 == 0o660
        assert tree.attributes(plain).mode & 0o777 == 0o640
    kept: dict[tuple[str, bytes], bytes] = {}

    def setxattr(path: Path, name: bytes, value: bytes, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        if not taken:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        assert name != DEFAULT or (path / "plain").exists()
        kept[path.name, name] = value

    monkeypatch.setattr(os, "setxattr", setxattr)
    await run(pool, tmp_path / "out")
    modes = {name: (tmp_path / "out/folder" / name).stat().st_mode & 0o777
             for name in ("file", "plain")}
    assert modes == {"file": 0o660 if taken else 0o600, "plain": 0o640}
    names = [("file", ACCESS), ("folder", DEFAULT), ("folder", b"user.f"), ("second", b"user.x")]
    assert sorted(kept) == (names if taken else [])


# -- copies of targets -----------------------------------------------------------------------


def copied(pool: Pool) -> tuple[str, ...]:
    """Copies of four targets, whose originals stay where they are; the other two are gone."""
    for path in pool.paths[4:]:
        del pool.targets[path]
    copies = []
    for path in pool.paths[:4]:
        copy = SharedTarget(f"{path}.copy")
        for name, file in pool.targets[path]._names.items():
            copy.create(name, bytes(file.live))
        pool.targets[copy.path] = copy
        copies.append(copy.path)
    return tuple(copies)


EVERYTHING = {"big": BIG, "docs/small": SMALL, "second": SMALL}


@pytest.mark.parametrize("both_given", [False, True])
@pytest.mark.parametrize("rotten", ["neither", "copies", "originals", "half of each"])
async def test_copies_of_targets_are_read_and_not_left_out(
        pool: Pool, tmp_path: Path, *, both_given: bool, rotten: str) -> None:
    """What was saved off a failing disk is given, while that disk is still in its place."""
    copies = copied(pool)
    bad = {"neither": (), "copies": copies, "originals": pool.paths[:4],
           "half of each": (*copies[:2], *pool.paths[2:4])}[rotten]
    contents = {column_name(entry.epoch, entry.id) for entry in await content_segments(pool)}
    for path in bad:
        for name in contents & set(pool.columns(path)):
            pool.edit(path, name, scramble)
    given = (*copies, *pool.paths[:4]) if both_given else copies
    report = await salvage(given, PASSPHRASE, pool.environment, tmp_path / "out")
    assert (report.incomplete, report.from_log) == ([], False)
    assert files_in(tmp_path / "out") == EVERYTHING


async def test_copies_are_read_for_the_log_too(pool: Pool, tmp_path: Path) -> None:
    await lose_metadata(pool)
    copies = copied(pool)
    for path in copies[:2]:
        for name in pool.columns(path):
            pool.edit(path, name, scramble)
    report = await salvage(copies, PASSPHRASE, pool.environment, tmp_path / "out")
    assert not report.incomplete
    assert files_in(tmp_path / "out") == {"1/big": BIG, "2/small": SMALL}


# -- without metadata ------------------------------------------------------------------------


async def test_all_files_come_out_of_the_log_by_name(pool: Pool, tmp_path: Path) -> None:
    await lose_metadata(pool)
    before = pool.bytes_of()
    with pytest.raises(Unreadable, match="ecfs salvage"):
        await pool.contents()
    seen: list[Progress] = []
    report = await salvage(pool.paths, PASSPHRASE, pool.environment, tmp_path / "out",
                           progress=seen.append)
    assert files_in(tmp_path / "out") == {"1/big": BIG, "2/small": SMALL}
    assert report == SalvageReport(2, len(BIG) + len(SMALL), [], from_log=True)
    assert (tmp_path / "out/1/big").stat().st_mode & 0o777 == 0o640
    assert pool.bytes_of() == before
    assert seen[-1].done_len <= seen[-1].total_len


async def test_the_log_survives_rot_within_parity(pool: Pool, tmp_path: Path) -> None:
    """One column rotten here and there, another gone, and headers overwritten in two more."""
    contents = await lose_metadata(pool)
    dice = random.Random(5)

    def rot(data: bytearray) -> None:
        for _ in range(60):
            data[dice.randrange(len(data))] ^= 0xFF

    for name in contents:
        pool.edit(pool.paths[0], name, rot)
        pool.targets[pool.paths[1]].remove(name)
        for path in pool.paths[2:4]:
            pool.edit(path, name, lambda data: data.__setitem__(slice(0, 64), bytes(64)))
    report = await run(pool, tmp_path / "out")
    assert files_in(tmp_path / "out") == {"1/big": BIG, "2/small": SMALL}
    assert (report.incomplete, report.lost_stripes_count) == ([], 0)


async def test_garbage_in_columns_hurts_only_what_it_hit(pool: Pool, tmp_path: Path) -> None:
    contents = await lose_metadata(pool)
    noise = random.Random(9).randbytes(700_000)
    for number, path in enumerate(pool.paths):
        target = pool.targets[path]
        target.create("segments/aa/00000000000000aa-00000000000000aa.col", noise)
        target.create("segments/aa/no.column", b"ECFSSHD1" * 1000)
        target.create("segments/00/0000000000000001-0000000000000100.col", b"ECFSSHD1" * 9000)
        if number < 4:
            for name in contents:
                # The head of the first stripe is gone on four of six: two records still tell.
                pool.edit(path, name, lambda data: data.__setitem__(
                    slice(BLOCK_LEN, BLOCK_LEN + 80), noise[:80]))
    report = await run(pool, tmp_path / "out")
    assert files_in(tmp_path / "out") == {"1/big": BIG, "2/small": SMALL}
    assert report.files_count == 2


async def test_past_parity_what_still_opens_is_saved(pool: Pool, tmp_path: Path) -> None:
    contents = await lose_metadata(pool)
    for path in pool.paths[:3]:
        for name in contents:
            pool.targets[path].remove(name)
    report = await run(pool, tmp_path / "out")
    found = files_in(tmp_path / "out")
    assert set(found) <= {"1/big", "2/small"}
    for name, data in found.items():
        whole = BIG if name == "1/big" else SMALL
        assert all(data[at : at + KIB] in (whole[at : at + KIB], bytes(KIB))
                   for at in range(0, len(data) - KIB, KIB))
    assert report.lost_stripes_count + len(report.incomplete) > 0


async def test_the_newest_bytes_and_sizes_win(pool: Pool, tmp_path: Path) -> None:
    async with pool.open() as volume:
        files, tree = volume.files, volume.tree
        big = tree.lookup(ROOT, b"big").inode
        await files.write(big, 100_000, b"n" * 200_000)
        await files.flush(None)
        await volume.commit()
        await files.truncate(big, 250_000)
        await files.write(big, 0, b"first")
        await files.flush(None)
        await volume.commit()
        other = await put(volume, ROOT, b"version", b"old" * 20_000)
        await volume.fsync(None)
        tree.unlink(ROOT, b"version")
        newer = await put(volume, ROOT, b"version", b"new" * 20_000)
        await files.flush(None)
    await lose_metadata(pool)
    await run(pool, tmp_path / "out")
    expected = bytearray(BIG[:250_000])
    expected[100_000:250_000] = b"n" * 150_000
    expected[:5] = b"first"
    found = files_in(tmp_path / "out")
    assert found["1/big"] == bytes(expected)
    assert found["1/version"] == b"new" * 20_000
    assert found.get(f"1/version.inode-{other}", b"old" * 20_000) == b"old" * 20_000
    assert newer > other


async def test_extents_that_were_moved_stay_as_old_as_they_are(pool: Pool,
                                                               tmp_path: Path) -> None:
    async with pool.open() as volume:
        files = volume.files
        big = volume.tree.lookup(ROOT, b"big").inode
        old = next(iter(files.index.segments))
        volume.store.close_segments()
        await files.write(big, 0, b"newer" * 1000)
        await files.flush(None)
        await volume.commit()
        # What the newer bytes lie over moves behind them in the log.
        assert await files.compact(old) > 0
        await volume.commit()
    await lose_metadata(pool)
    await run(pool, tmp_path / "out")
    assert (tmp_path / "out/1/big").read_bytes() == b"newer" * 1000 + BIG[5000:]


# -- what it refuses -------------------------------------------------------------------------


async def test_nothing_is_written_where_something_is(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    with pytest.raises(UsageRefusal, match="not empty"):
        await run(pool, tmp_path / "out")
    for place in (Path(pool.paths[0]), Path(pool.paths[0]) / "inside", Path("/")):
        with pytest.raises(TargetInside):
            await run(pool, place)


async def test_a_wrong_passphrase_and_a_mounted_pool_are_refused(pool: Pool,
                                                                 tmp_path: Path) -> None:
    with pytest.raises(WrongPassphrase):
        await salvage(pool.paths, Secret("passphrase", b"wrong"), pool.environment,
                      tmp_path / "out")
    async with pool.open():
        with pytest.raises(InUse):
            await run(pool, tmp_path / "out")


async def test_a_directory_that_is_no_pool_is_refused(pool: Pool, tmp_path: Path) -> None:
    for target in pool.targets.values():
        for name in target.list_names():
            if name.startswith("label."):
                target.remove(name)
    with pytest.raises(NotAPool):
        await run(pool, tmp_path / "out")


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_damaged_no_wrong_byte_comes_out(pool: Pool, tmp_path: Path,
                                                           seed: int) -> None:
    contents = await lose_metadata(pool)
    dice = random.Random(seed)

    def damage(data: bytearray) -> None:
        for _ in range(dice.randrange(1, 8)):
            at, length = dice.randrange(len(data)), dice.randrange(1, 90_000)
            part = data[at : at + length]
            kind = dice.randrange(3)
            data[at : at + length] = (
                bytes(len(part)) if kind == 0 else dice.randbytes(len(part)) if kind == 1
                else (bytes(data[dice.randrange(len(data)) :]) * 2).ljust(
                    len(part), b"\1")[: len(part)])

    for path in pool.paths:
        for name in contents:
            pool.edit(path, name, damage)
    report = await run(pool, tmp_path / "out")
    for name, data in files_in(tmp_path / "out").items():
        whole = BIG if name.endswith(("big", "inode-5")) else SMALL
        for at in range(0, len(data), 4 * KIB):
            got, wanted = data[at : at + 4 * KIB], whole[at : at + 4 * KIB]
            assert got == wanted or all(
                one in (0, other) for one, other in zip(got, wanted, strict=True))
        if data != whole:
            assert name in report.incomplete
