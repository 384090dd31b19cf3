"""mkfs that fails, or is killed: no pool is left half made, and a pool is never taken for that."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.base.errors import Fault, Fenced, InUse, NoSpace, PoolExists, Refusal
from ecfs.base.limits import MEMBERS_MAX, PARITY_SHARDS_MAX
from ecfs.erasure import Geometry, quorum_for
from ecfs.formats import COMMITS_PATTERN, label_name
from ecfs.volume import PoolOrder, create_pool
from ecfs.volume.anchor import PathMemory
from ecfs.volume.creating import alone, lay_out
from tests.unit.volume.simulated import FOUR_AND_TWO, KDF, SECRET, Pool, put

pytestmark = pytest.mark.usefixtures("remembered_keys")


def order(pool: Pool, *, force: bool = False) -> PoolOrder:
    return PoolOrder(pool.paths, FOUR_AND_TWO, SECRET, KDF, force=force)


def names(pool: Pool) -> set[str]:
    return {name for memory in pool.memories.values() for name in memory.list_names()}


def killed(pool: Pool) -> None:
    """mkfs, killed when it had written the labels."""
    lay_out(order(pool), pool.environment(), b"k" * 16)


async def works(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x")
        assert not volume.read_only


def no_room(*args: object, **options: object) -> None:
    raise NoSpace("no target has room")


@pytest.mark.parametrize(("count", "data", "parity", "told"), [
    (2, 1, 1, "with any of the 2 targets"), (3, 1, 2, "with more than 1 of the 3 targets"),
    (4, 2, 2, "with more than 1 of the 4 targets"), (5, 2, 2, ""), (3, 2, 1, ""), (6, 4, 2, "")])
async def test_a_pool_that_cannot_be_written_with_m_targets_gone_is_told_of(
        tmp_path: Path, count: int, data: int, parity: int, told: str) -> None:
    pool = Pool(tmp_path, targets_count=count)
    made = await create_pool(replace(order(pool), geometry=Geometry(data, parity)),
                             pool.environment())
    warnings = [warning for warning in made.warnings if "lost target can be replaced" in warning]
    assert [warning[: len(told)] for warning in warnings] == [told] * bool(told)


def test_2m_and_1_targets_are_enough_to_write_with_m_of_them_gone() -> None:
    for parity in range(1, PARITY_SHARDS_MAX + 1):
        for count in range(2 * parity + 1, 3 * MEMBERS_MAX):
            quorum = quorum_for(count, parity)
            assert quorum.members - quorum.commit >= parity


# -- that fails ----------------------------------------------------------------------------------

@pytest.mark.parametrize("fault", [Fault.FULL, Fault.TIMEOUT])
async def test_where_one_target_takes_no_label_none_has_one(tmp_path: Path, fault: Fault) -> None:
    pool = Pool(tmp_path)
    pool.fail_on(4, methods=("replace",))
    pool.fail = dict.fromkeys(pool.fail, fault)
    with pytest.raises(Refusal, match="no pool was made"):
        await create_pool(order(pool), pool.environment())
    assert names(pool) == set()
    assert PathMemory(tmp_path / "state").load() == {}
    pool.heal()
    await create_pool(order(pool), pool.environment())
    await works(pool)


@pytest.mark.parametrize("where", ["ecfs.volume.opening.open_database",
                                   "ecfs.namespace.tree.Tree.format_root",
                                   "ecfs.volume.checkpointing.Checkpointer.write"])
async def test_a_pool_that_could_not_be_finished_is_taken_back(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    pool = Pool(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(where, no_room)
        with pytest.raises(NoSpace):
            await create_pool(order(pool), pool.environment())
    assert names(pool) <= {"segments"} and PathMemory(tmp_path / "state").load() == {}
    await create_pool(order(pool), pool.environment())
    await works(pool)


async def test_a_directory_with_folders_of_its_own_is_not_empty(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    pool.memories[pool.paths[0]].create("segments/film", b"x")
    with pytest.raises(Refusal, match="is not empty"):
        await create_pool(order(pool), pool.environment())
    pool.memories[pool.paths[0]].remove("segments/film")
    pool.memories[pool.paths[0]].create("segments/00/film", b"x")
    with pytest.raises(Refusal, match="is not empty"):
        await create_pool(order(pool), pool.environment())


async def test_a_target_that_cannot_be_asked_does_not_keep_the_others(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pool = Pool(tmp_path)

    def fail(*args: object) -> None:
        pool.fail_on(2)
        no_room()

    monkeypatch.setattr("ecfs.volume.opening.open_database", fail)
    with pytest.raises(NoSpace):
        await create_pool(order(pool), pool.environment())
    left = {path for path, memory in pool.memories.items() if memory.list_names()}
    assert left == {pool.paths[2]}
    assert f"{pool.paths[2]}: a label of the pool that could not be made" in caplog.text


async def test_what_another_one_has_opened_is_left(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(tmp_path)

    def fenced(*args: object) -> None:
        raise Fenced("another machine has it")

    monkeypatch.setattr("ecfs.volume.opening.open_database", fenced)
    with pytest.raises(Fenced):
        await create_pool(order(pool), pool.environment())
    assert label_name(0, 1) in names(pool)


async def test_a_refused_mkfs_leaves_the_pool_that_is_there(pool: Pool) -> None:
    before = {path: memory.list_names() for path, memory in pool.memories.items()}
    noted = PathMemory(pool.folder / "state").load()
    with pytest.raises(PoolExists):
        await create_pool(order(pool), pool.environment())
    assert before == {path: memory.list_names() for path, memory in pool.memories.items()}
    assert PathMemory(pool.folder / "state").load() == noted
    await works(pool)


# -- that is killed ------------------------------------------------------------------------------

async def test_what_a_killed_mkfs_left_needs_no_force(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    killed(pool)
    await create_pool(order(pool), pool.environment())
    await works(pool)


async def test_record_files_without_a_record_are_left_by_a_killed_mkfs(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    killed(pool)
    for memory in pool.memories.values():
        memory.create(f"commits.{1:016x}", bytes(8192))
    await create_pool(order(pool), pool.environment())
    await works(pool)


@pytest.mark.parametrize("change", [
    lambda memory: memory.create(f"commits.{1:016x}", b"x" + bytes(8191)),
    lambda memory: memory.create(f"segments/00/{1:016x}-{1:016x}.col", b"x"),
    lambda memory: memory.create(label_name(1, 2), b"x")])
async def test_what_may_be_a_pool_is_refused_before_anything_is_removed(
        tmp_path: Path, change: Callable[..., object]) -> None:
    pool = Pool(tmp_path)
    killed(pool)
    change(pool.memories[pool.paths[5]])
    with pytest.raises(PoolExists):
        await create_pool(order(pool), pool.environment())
    assert all(label_name(0, 1) in memory.list_names() for memory in pool.memories.values())


async def test_a_pool_whose_records_are_gone_is_not_taken_for_one_that_was_never_finished(
        pool: Pool) -> None:
    for memory in pool.memories.values():
        for name in memory.list_names():
            if COMMITS_PATTERN.fullmatch(name):
                memory.remove(name)
    with pytest.raises(PoolExists):
        await create_pool(order(pool), pool.environment())


async def test_what_another_mkfs_has_begun_is_not_taken_for_left_by_a_killed_one(
        tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    with alone(PoolOrder(pool.paths[5:], FOUR_AND_TWO, SECRET, KDF), pool.environment()):
        killed(pool)
        with pytest.raises(InUse, match="another mkfs is at work on /pool/t5"):
            await create_pool(order(pool), pool.environment())
    await create_pool(order(pool), pool.environment())
