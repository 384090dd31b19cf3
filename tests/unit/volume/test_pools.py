"""Whole pools in memory: durability over crashes, losses and checkpoints; freshness; claims."""

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ecfs.base.errors import (
    ClonedTargets,
    EcfsError,
    Fenced,
    ForeignTargets,
    Forked,
    InUse,
    NotAPool,
    ReadOnly,
    RolledBack,
    SameTarget,
    UnknownFormat,
    WrongPassphrase,
)
from ecfs.erasure import Geometry
from ecfs.volume import Freshness, OpenOptions, Secret, open_volume
from tests.unit.volume.simulated import SECRET, Pool, get, put

# -- durability ----------------------------------------------------------------------------------

async def test_what_was_synced_survives_a_crash(pool: Pool) -> None:
    data = os.urandom(700_000)
    async with pool.crashing() as volume:
        await put(volume, b"small", b"inline")
        await put(volume, b"large", data)
        await put(volume, b"lost", b"perhaps", sync=False)
    async with pool.mounted() as volume:
        assert await get(volume, b"small") == b"inline"
        assert await get(volume, b"large") == data
        assert volume.database.integrity_findings() == []
        assert volume.opened.freshness is Freshness.PROVEN


@pytest.mark.parametrize("lost", [(0, 1), (2, 5), (3, 4)])
async def test_what_was_synced_survives_a_crash_and_two_lost_targets(
        pool: Pool, lost: tuple[int, int]) -> None:
    data = os.urandom(300_000)
    async with pool.crashing() as volume:
        await put(volume, b"a", data)
    async with pool.crashing() as volume:
        await put(volume, b"b", data)
        await volume.checkpoint()
        await put(volume, b"c", data)
    pool.absent = {pool.paths[number] for number in lost}
    async with pool.mounted() as volume:
        for name in (b"a", b"b", b"c"):
            assert await get(volume, name) == data
        await put(volume, b"d", data)
    async with pool.mounted() as volume:
        assert await get(volume, b"d") == data
        assert volume.database.integrity_findings() == []


async def test_many_commits_and_checkpoints(pool: Pool) -> None:
    """Page map chunks and metadata segments are reused and released; every mount sees it all."""
    expected: dict[bytes, bytes] = {}
    for cycle in range(6):
        async with pool.mounted() as volume:
            for name, data in expected.items():
                assert await get(volume, name) == data
            for step in range(6):
                name = b"%d-%d" % (cycle, step)
                expected[name] = os.urandom(3000 * (step + 1))
                await put(volume, name, expected[name])
                if step % 2:
                    await volume.checkpoint()
                if step == 3 and cycle:
                    gone = b"%d-%d" % (cycle - 1, step)
                    entry = volume.tree.lookup(1, gone)  # type: ignore[arg-type]
                    volume.tree.unlink(1, gone)  # type: ignore[arg-type]
                    volume.files.discard([entry.inode])
                    del expected[gone]
            assert volume.database.integrity_findings() == []
            assert volume.checkpointer is not None
            assert len(volume.checkpointer.known_segments()) < 12
    async with pool.crashing() as volume:
        await put(volume, b"last", b"bytes")
    async with pool.mounted() as volume:
        for name, data in (expected | {b"last": b"bytes"}).items():
            assert await get(volume, name) == data


async def test_a_crash_between_checkpoints_with_two_lost_targets(pool: Pool) -> None:
    names = [b"n%d" % number for number in range(30)]
    for third in range(3):
        async with pool.crashing() as volume:
            for name in names[third * 10 : third * 10 + 10]:
                await put(volume, name, name * 1000)
            await volume.checkpoint()
            await put(volume, names[third * 10] + b"x", b"tail")
    pool.absent = {pool.paths[1], pool.paths[4]}
    async with pool.mounted() as volume:
        for name in names:
            assert await get(volume, name) == name * 1000
        assert await get(volume, names[20] + b"x") == b"tail"


async def test_a_large_transaction_of_many_records(pool: Pool) -> None:
    async with pool.crashing() as volume:
        for _ in range(3000):
            volume.tree.create(1, os.urandom(100).hex().encode(),  # type: ignore[arg-type]
                               mode=0o100644, uid=0, gid=0)
        await volume.commit()
        count = volume.tree.count()
    async with pool.mounted() as volume:
        assert volume.tree.count() == count
        assert volume.database.integrity_findings() == []


# -- quorum --------------------------------------------------------------------------------------

async def test_losing_the_quorum_while_mounted_is_read_only_until_it_is_back(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"before", b"1")
        pool.fail_on(0, 1, 2)
        with pytest.raises(EcfsError):
            await put(volume, b"during", b"2")
        assert volume.read_only
        with pytest.raises(ReadOnly):
            volume.admit(grows=False)
        assert await get(volume, b"before") == b"1"
        pool.heal()
        await volume.tend()
        await volume.tend()
        assert not volume.read_only
        await volume.fsync(None)
    async with pool.mounted() as volume:
        assert await get(volume, b"before") == b"1"
        assert await get(volume, b"during") == b"2"


async def test_too_few_members_open_read_only(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x" * 100_000)
    pool.absent = set(pool.paths[:3])
    async with pool.mounted() as volume:
        assert volume.read_only
        entry = volume.tree.lookup(1, b"a")  # type: ignore[arg-type]
        assert entry.size == 100_000
    pool.absent = set(pool.paths[:5])
    with pytest.raises(EcfsError):
        async with pool.mounted() as volume:
            raise AssertionError("opened")
    pool.absent = set()
    async with pool.mounted() as volume:
        assert not volume.read_only


async def test_unacknowledged_work_of_a_crashed_writer_is_all_or_nothing(pool: Pool) -> None:
    for failing in range(1, 6):
        async with pool.crashing() as volume:
            pool.fail_on(*range(failing, 6), methods=("write", "sync"))
            name = b"half-%d" % failing
            try:
                await put(volume, name, name * 100)
            except EcfsError:
                pass
        async with pool.mounted() as volume:
            assert volume.database.integrity_findings() == []
            names = [row[0] for row in volume.database.rows("SELECT name FROM entries")]
            if name in names:
                size = volume.tree.lookup(1, name).size  # type: ignore[arg-type]
                assert size in (0, len(name) * 100)
                assert await get(volume, name) == (name * 100)[:size]


# -- freshness -----------------------------------------------------------------------------------

async def test_a_rolled_back_pool_is_refused(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"1")
    old = pool.snapshot()
    async with pool.mounted() as volume:
        await put(volume, b"b", b"2")
    pool.memories = old
    with pytest.raises(RolledBack):
        async with pool.mounted():
            pass
    async with pool.mounted(OpenOptions(accept_rollback=True)) as volume:
        assert await get(volume, b"a") == b"1"
    async with pool.mounted() as volume:
        assert volume.opened.freshness is Freshness.PROVEN


async def test_two_rolled_back_targets_are_outvoted(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"1")
    old = pool.snapshot()
    async with pool.mounted() as volume:
        await put(volume, b"b", b"2" * 100_000)
    for path in pool.paths[2:4]:
        pool.memories[path] = old[path]
    async with pool.mounted() as volume:
        assert await get(volume, b"b") == b"2" * 100_000


async def test_a_forked_pool_is_refused(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"1")
    old = pool.snapshot()
    async with pool.mounted() as volume:
        await put(volume, b"mine", b"2")
    pool.memories = old
    async with pool.mounted(state="other state") as volume:
        for number in range(6):
            await put(volume, b"theirs%d" % number, b"3")
    with pytest.raises(Forked):
        async with pool.mounted():
            pass


async def test_without_an_anchor_freshness_is_the_quorums_word(pool: Pool) -> None:
    async with pool.mounted(state="elsewhere") as volume:
        assert volume.opened.freshness is Freshness.QUORUM_ONLY
    async with pool.mounted(state="elsewhere") as volume:
        assert volume.opened.freshness is Freshness.PROVEN


async def test_a_damaged_anchor_is_not_ignored(pool: Pool, tmp_path: Path) -> None:
    [anchor] = (tmp_path / "state" / "anchors").glob("*.json")
    text = anchor.read_text()
    for bad in ("", "{}", "[]", text[:-5], "null", '{"seq": "x"}'):
        anchor.write_text(bad)
        with pytest.raises(EcfsError) as caught:
            async with pool.mounted():
                pass
        assert not isinstance(caught.value, AssertionError)
    anchor.write_text(text)
    async with pool.mounted():
        pass


async def test_a_downgrade_is_refused(pool: Pool, tmp_path: Path) -> None:
    [anchor] = (tmp_path / "state" / "anchors").glob("*.json")
    text = anchor.read_text()
    for old, new in (('"parity": 2', '"parity": 3'), ('"data": 4', '"data": 3'),
                     ('"version": 1', '"version": 2')):
        assert old in text
        anchor.write_text(text.replace(old, new))
        with pytest.raises(UnknownFormat):
            async with pool.mounted():
                pass


# -- claims --------------------------------------------------------------------------------------

async def test_a_second_mount_on_this_host_is_refused(pool: Pool) -> None:
    async with pool.mounted() as volume:
        with pytest.raises(InUse):
            async with pool.mounted():
                pass
        await put(volume, b"still", b"writable")


async def test_a_mount_on_another_host_is_refused_while_the_first_beats(
        pool: Pool, autojump_clock: MockClock) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"1")
        with pytest.raises(InUse, match="here"):
            async with pool.mounted(host="there"):
                pass
        await put(volume, b"b", b"2")


async def test_a_dead_host_is_taken_over_after_its_silence(
        pool: Pool, autojump_clock: MockClock) -> None:
    async with pool.crashing() as volume:
        await put(volume, b"a", b"1")
    began = trio.current_time()
    async with pool.mounted(host="there") as volume:
        assert trio.current_time() - began >= 30
        assert await get(volume, b"a") == b"1"
        await put(volume, b"b", b"2")


async def test_a_clean_pool_is_taken_over_at_once(pool: Pool, autojump_clock: MockClock) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"1")
    began = trio.current_time()
    async with pool.mounted(host="there") as volume:
        assert trio.current_time() - began < 5
        assert await get(volume, b"a") == b"1"


async def test_a_writer_that_lost_its_claim_never_acknowledges(
        pool: Pool, autojump_clock: MockClock) -> None:
    """The first writer stands still for so long that another one takes over."""
    async with pool.mounted() as first:
        await put(first, b"a", b"1")
        await stolen(pool)
        with pytest.raises(Fenced):
            await put(first, b"late", b"3")
        assert first.read_only
    async with pool.mounted(host="there") as volume:
        names = [row[0] for row in volume.database.rows("SELECT name FROM entries")]
        assert sorted(names) == [b"a", b"b"]


async def stolen(pool: Pool) -> None:
    """Another host, for which no heartbeat moves, takes the pool and writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecfs.volume.claiming.TAKEOVER_QUIET_S", 0.0)
        async with pool.mounted(host="there") as second:
            await put(second, b"b", b"2")


# -- finding targets -----------------------------------------------------------------------------

async def test_targets_in_any_order_and_some_not_named(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x" * 50_000)
    async with pool.mounted(paths=tuple(reversed(pool.paths))) as volume:
        assert await get(volume, b"a") == b"x" * 50_000
    async with pool.mounted(paths=(pool.paths[3],)) as volume:
        assert len(volume.fleet.online()) == 6


async def test_targets_that_changed_places(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x" * 50_000)
    one, other = pool.paths[0], pool.paths[3]
    pool.memories[one], pool.memories[other] = pool.memories[other], pool.memories[one]
    async with pool.mounted() as volume:
        assert await get(volume, b"a") == b"x" * 50_000
        assert len(volume.fleet.online()) == 6


async def test_one_directory_twice(pool: Pool) -> None:
    for again in (pool.paths[0], f"{pool.place}/../pool/t0"):
        with pytest.raises(SameTarget):
            async with pool.mounted(paths=(*pool.paths, again)):
                pass


async def test_a_clone_is_left_out_with_its_original(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x" * 50_000)
    clone = f"{pool.place}/clone"
    pool.memories[clone] = pool.snapshot()[pool.paths[2]]
    async with pool.mounted(paths=(*pool.paths, clone)) as volume:
        assert len(volume.fleet.online()) == 5
        assert any("copies" in message for message in volume.opened.located.messages)
        assert await get(volume, b"a") == b"x" * 50_000


async def test_only_clones(pool: Pool) -> None:
    clone = f"{pool.place}/clone"
    pool.memories[clone] = pool.snapshot()[pool.paths[2]]
    pool.absent = set(pool.paths) - {pool.paths[2]}
    with pytest.raises(ClonedTargets):
        async with pool.mounted(paths=(pool.paths[2], clone)):
            pass


async def test_a_foreign_target_and_a_blank_one_are_left_out(pool: Pool, tmp_path: Path) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x" * 50_000)
    other = Pool(tmp_path / "other", place="/other")
    await other.make()
    pool.memories[pool.paths[0]] = other.memories[other.paths[0]]
    pool.memories[pool.paths[1]].crash()
    for name in pool.memories[pool.paths[1]].list_names():
        if name != "segments":
            pool.memories[pool.paths[1]].remove(name)
    async with pool.mounted() as volume:
        assert len(volume.fleet.online()) == 4
        assert await get(volume, b"a") == b"x" * 50_000


async def test_a_substituted_pool_is_refused(pool: Pool, tmp_path: Path) -> None:
    async with pool.mounted():
        pass
    other = Pool(tmp_path / "other", place="/other")
    await other.make()
    for mine, theirs in zip(pool.paths, other.paths, strict=True):
        pool.memories[mine] = other.memories[theirs]
    with pytest.raises(ForeignTargets):
        async with pool.mounted():
            pass


async def test_refusals_before_anything_is_opened(pool: Pool) -> None:
    with pytest.raises(WrongPassphrase):
        async with open_volume(pool.paths, Secret("passphrase", b"wrong"), pool.environment()):
            pass
    pool.absent = set(pool.paths)
    with pytest.raises(NotAPool):
        async with pool.mounted():
            pass
    pool.absent = set()
    async with open_volume(pool.paths, SECRET, pool.environment()) as volume:
        assert not volume.read_only


async def test_an_epoch_rests_on_no_single_member(pool: Pool) -> None:
    """A record that only one member held was adopted; then that member is lost."""
    async with pool.crashing() as volume:
        await put(volume, b"a", b"1")
        pool.fail_on(1, 2, 3, 4, 5, methods=("write", "sync"))
        with pytest.raises(EcfsError):
            await put(volume, b"half", b"2")
    async with pool.crashing() as volume:
        await put(volume, b"b", b"3")
    pool.absent = {pool.paths[0]}
    async with pool.mounted() as volume:
        assert await get(volume, b"a") == b"1"
        assert await get(volume, b"b") == b"3"


async def test_mirrors_stay_writable_with_one_away(tmp_path: Path) -> None:
    """1+2 on three targets: k cannot shrink below 1, so the missing shards count."""
    pool = Pool(tmp_path, 3)
    await pool.make(Geometry(1, 2))
    pool.absent = {pool.paths[1]}
    async with pool.mounted() as volume:
        assert not volume.read_only
        volume.admit(grows=True)
        await put(volume, b"a", b"x" * 50_000)
        assert volume.space().available_len > 0
    pool.absent = set()
    async with pool.mounted() as volume:
        assert await get(volume, b"a") == b"x" * 50_000
