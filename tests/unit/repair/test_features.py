"""Pools of today, and older ones without features that a pool has from its first day or never."""

import random
from functools import partial
from pathlib import Path

import pytest

from ecfs.base.limits import LABEL_LEN_MAX, UNIT_LEN, UNIT_LEN_MAX
from ecfs.formats import (
    HASHES_FIRST,
    LOGGED_WRITES,
    SHORT_UNITS,
    Label,
    column_name,
    decode_label,
    labels_among,
)
from ecfs.repair import salvage, scrub
from ecfs.repair.walking import segments_of
from tests.unit.repair.conftest import BIG, PASSPHRASE, SMALL, Pool
from tests.unit.repair.test_salvage import ROOT, files_in, lose_metadata

TODAY = HASHES_FIRST | SHORT_UNITS | LOGGED_WRITES
FEATURES = (0, HASHES_FIRST, HASHES_FIRST | SHORT_UNITS, LOGGED_WRITES, TODAY)


async def made(folder: Path, features: int) -> Pool:
    pool = Pool(folder)
    with pytest.MonkeyPatch.context() as patch:
        if features != TODAY:
            patch.setattr("ecfs.volume.creating.INCOMPATIBLE_OF_NEW", features)
        await pool.make()
    return pool


def labels_of(pool: Pool) -> list[Label]:
    return [decode_label(target.read(name, 0, LABEL_LEN_MAX)).label
            for target in pool.targets.values()
            for _, _, name in labels_among(target.list_names())]


def flip(at: int, data: bytearray) -> None:
    data[at] ^= 4


@pytest.mark.parametrize("features", FEATURES)
async def test_labels_say_which_pool_it_is_and_go_on_saying_it(
        tmp_path: Path, features: int) -> None:
    pool = await made(tmp_path, features)
    async with pool.open():
        pass
    labels = labels_of(pool)
    assert {label.incompatible for label in labels} == {features}
    assert len({label.generation for label in labels}) > 1


@pytest.mark.parametrize("features", FEATURES)
async def test_what_rots_is_found_and_mended(tmp_path: Path, features: int) -> None:
    pool = await made(tmp_path, features)
    async with pool.open() as volume:
        for entry, _, _ in segments_of(volume):
            keys = volume.store.identity.master.segment(entry.id, entry.epoch)
            assert (keys.hash is not None) is bool(features & HASHES_FIRST)
            assert keys.unit_len == (UNIT_LEN if features & SHORT_UNITS else UNIT_LEN_MAX)
        assert (await scrub(volume)).bad_count == 0
        shards = [(column_name(ref.segment.epoch, ref.segment.id), ref)
                  for _, _, live in segments_of(volume) for ref in live.values()]
    dice = random.Random(3)
    for number, (name, ref) in enumerate(shards):
        # One bit of one body, of data or parity, in each stripe.
        path = pool.paths[number % len(pool.paths)]
        at = ref.offset + ref.head_len + dice.randrange(ref.body_len)
        pool.edit(path, name, partial(flip, at))
    async with pool.open() as volume:
        report = await scrub(volume)
        assert report.bad_count == report.mended_count
        assert 0 < report.bad_count <= len(shards)
        assert (await scrub(volume)).bad_count == 0
    assert not (await pool.check()).findings


@pytest.mark.parametrize("features", FEATURES)
async def test_the_log_is_salvaged_from_good_shards_alone(tmp_path: Path, features: int) -> None:
    pool = await made(tmp_path, features)
    for name in await lose_metadata(pool):
        # A body of the data is wrong in each stripe: a tag has to tell which.
        pool.edit(pool.paths[1], name, lambda data: data.__setitem__(
            slice(8192, None), bytes(len(data) - 8192)))
    await salvage(pool.paths, PASSPHRASE, pool.environment, tmp_path / "out")
    assert files_in(tmp_path / "out") == {"1/big": BIG, "2/small": SMALL}


@pytest.mark.parametrize("features", FEATURES)
async def test_any_range_is_read_also_without_two_targets(tmp_path: Path, features: int) -> None:
    pool = await made(tmp_path, features)
    for path in (None, pool.paths[0], pool.paths[3]):
        if path is not None:
            del pool.targets[path]
        dice = random.Random(features)
        async with pool.open() as volume:
            inode = volume.tree.lookup(ROOT, b"big").inode
            for _ in range(60):
                low = dice.randrange(len(BIG))
                high = min(len(BIG), low + dice.choice((1, 4096, 16_384, 70_000)))
                assert await volume.files.read(inode, low, high - low) == BIG[low:high]
