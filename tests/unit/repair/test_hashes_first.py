"""Pools whose salts and tags are over hashes of the content, and older ones that do without."""

import random
from functools import partial
from pathlib import Path

import pytest

from ecfs.base.limits import LABEL_LEN_MAX
from ecfs.formats import HASHES_FIRST, Label, column_name, decode_label, labels_among
from ecfs.repair import salvage, scrub
from ecfs.repair.walking import segments_of
from tests.unit.repair.conftest import BIG, PASSPHRASE, SMALL, Pool
from tests.unit.repair.test_salvage import files_in, lose_metadata


async def made(folder: Path, *, older: bool) -> Pool:
    pool = Pool(folder)
    with pytest.MonkeyPatch.context() as patch:
        if older:
            patch.setattr("ecfs.volume.creating.HASHES_FIRST", 0)
        await pool.make()
    return pool


def labels_of(pool: Pool) -> list[Label]:
    return [decode_label(target.read(name, 0, LABEL_LEN_MAX)).label
            for target in pool.targets.values()
            for _, _, name in labels_among(target.list_names())]


def flip(at: int, data: bytearray) -> None:
    data[at] ^= 4


@pytest.mark.parametrize("older", [False, True])
async def test_labels_say_which_pool_it_is_and_go_on_saying_it(
        tmp_path: Path, *, older: bool) -> None:
    pool = await made(tmp_path, older=older)
    async with pool.open():
        pass
    labels = labels_of(pool)
    assert {label.incompatible for label in labels} == {0 if older else HASHES_FIRST}
    assert len({label.generation for label in labels}) > 1


@pytest.mark.parametrize("older", [False, True])
async def test_what_rots_is_found_and_mended(tmp_path: Path, *, older: bool) -> None:
    pool = await made(tmp_path, older=older)
    async with pool.open() as volume:
        assert all((volume.store.identity.master.segment(entry.id, entry.epoch).hash is None)
                   is older for entry, _, _ in segments_of(volume))
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


@pytest.mark.parametrize("older", [False, True])
async def test_the_log_is_salvaged_from_good_shards_alone(tmp_path: Path, *, older: bool) -> None:
    pool = await made(tmp_path, older=older)
    for name in await lose_metadata(pool):
        # A body of the data is wrong in each stripe: a tag has to tell which.
        pool.edit(pool.paths[1], name, lambda data: data.__setitem__(
            slice(8192, None), bytes(len(data) - 8192)))
    await salvage(pool.paths, PASSPHRASE, pool.environment, tmp_path / "out")
    assert files_in(tmp_path / "out") == {"1/big": BIG, "2/small": SMALL}
