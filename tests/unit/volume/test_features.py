"""Pools of other versions: what labels and checkpoints say of features decides who may do what."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ecfs.base.errors import ReadOnly, UnknownFormat
from ecfs.base.limits import LABEL_LEN_MAX
from ecfs.formats import Label, decode_label, encode_label, labels_among
from ecfs.keys import MasterKey
from ecfs.volume import OpenOptions, label_mac
from tests.unit.volume.simulated import Pool

NEWER: dict[str, Any] = {"incompatible": 1 << 5}
ONLY_READABLE: dict[str, Any] = {"read_only_compatible": 1 << 7}


def relabel(pool: Pool, master: MasterKey, **fields: Any) -> None:
    """Authentic labels that say something else, in the place of all."""
    mac = label_mac(master)
    for memory in pool.memories.values():
        for _, _, name in labels_among(memory.list_names()):
            label = decode_label(memory.read(name, 0, LABEL_LEN_MAX)).label
            memory.replace(name, encode_label(replace(label, **fields), mac))


async def made(pool: Pool, **in_checkpoint: Any) -> MasterKey:
    """A pool whose newest checkpoint has these fields, as a program of another version leaves it
    when it stops before it wrote new labels."""
    await pool.make()
    async with pool.mounted() as volume:
        checkpointer = volume.checkpointer
        assert checkpointer is not None
        write = checkpointer.write

        async def write_other(label: Label, **options: Any) -> object:
            return await write(replace(label, **in_checkpoint), **options)

        setattr(checkpointer, "write", write_other)  # noqa: B010 - a method, exchanged on purpose
        await volume.checkpoint()
    return volume.opened.master


async def refusal_of(pool: Pool, *, read_only: bool = False) -> str:
    with pytest.raises(BaseException) as refused:
        async with pool.mounted(OpenOptions(read_only=read_only)):
            pass
    matched = (refused.group_contains(UnknownFormat) if isinstance(
        refused.value, BaseExceptionGroup) else isinstance(refused.value, UnknownFormat))
    assert matched, refused.value
    return str(refused.value)


async def test_a_pool_without_unknown_features_is_written(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    await made(pool)
    async with pool.mounted() as volume:
        assert not volume.read_only
        volume.admit(grows=True)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("fields", [NEWER, {"version": 2}, {"version": 0}])
async def test_labels_of_an_unknown_version_or_feature_refuse_the_pool(
        tmp_path: Path, fields: dict[str, Any], read_only: bool) -> None:
    pool = Pool(tmp_path)
    relabel(pool, await made(pool), **fields)
    assert "ecfs version that wrote it" in await refusal_of(pool, read_only=read_only)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("fields", [NEWER, {"version": 2}])
async def test_a_checkpoint_of_an_unknown_version_or_feature_refuses_the_pool(
        tmp_path: Path, fields: dict[str, Any], read_only: bool) -> None:
    """The labels that name the feature are not here, or were not yet written."""
    pool = Pool(tmp_path)
    await made(pool, **fields)
    assert "ecfs version that wrote it" in await refusal_of(pool, read_only=read_only)


async def test_labels_with_an_unknown_harmless_feature_are_only_read(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    relabel(pool, await made(pool), **ONLY_READABLE)
    async with pool.mounted() as volume:
        assert "only read" in volume.read_only
        with pytest.raises(ReadOnly):
            volume.admit(grows=True)


async def test_a_checkpoint_with_an_unknown_harmless_feature_is_only_read(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    await made(pool, **ONLY_READABLE)
    async with pool.mounted() as volume:
        assert "only read" in volume.read_only
        with pytest.raises(ReadOnly):
            volume.admit(grows=True)
