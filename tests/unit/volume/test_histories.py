"""Two histories of one pool: halves mounted apart, copies written apart, a machine put back to a
snapshot. They are refused or one is taken whole; they are never merged, and no key and nonce seal
two plaintexts."""

import random
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from trio.testing import MockClock

from ecfs.base.errors import Damage, Fenced, Forked, InUse, ReadOnly, Refusal, RolledBack
from ecfs.observe import EventKind
from ecfs.sealing import UnitSealer
from ecfs.volume import Freshness, OpenOptions, Volume, open_volume
from tests.unit.volume.simulated import SECRET, Pool, get, put

LOOK = OpenOptions(read_only=True)
ACCEPT = OpenOptions(read_only=True, accept_rollback=True)


pytestmark = pytest.mark.usefixtures("remembered_keys")


async def contents(volume: Volume) -> dict[bytes, bytes]:
    """Every file that can be read; one that cannot has more lost than parity replaces."""
    found = {}
    for (name,) in volume.database.rows("SELECT name FROM entries"):
        assert isinstance(name, bytes)
        try:
            found[name] = await get(volume, name)
        except Damage:
            found[name] = b""
    return found


# -- halves --------------------------------------------------------------------------------------

async def test_neither_half_of_a_pool_can_be_written(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"before", b"x" * 9000)
    for half in (pool.paths[:3], pool.paths[3:]):
        pool.absent = set(pool.paths) - set(half)
        for options in (OpenOptions(), OpenOptions(accept_rollback=True)):
            try:
                async with pool.mounted(options) as volume:
                    assert volume.read_only
                    assert volume.opened.freshness is not Freshness.PROVEN
                    with pytest.raises(ReadOnly):
                        volume.admit(grows=False)
                    assert volume.opened.epoch == 0 and volume.committer is None
            except Damage:
                # Three of six shards are fewer than the four that content needs.
                pass
    pool.absent = set()
    async with pool.mounted() as volume:
        assert volume.opened.freshness is Freshness.PROVEN
        assert await get(volume, b"before") == b"x" * 9000


async def diverged(pool: Pool, ours: int, theirs: int) -> tuple[dict[bytes, bytes], ...]:
    """The pool was copied; each copy was written by a machine of its own, in so many mounts. Then
    half of the targets are of the one and half of the other. What each machine had."""
    async with pool.mounted() as volume:
        await put(volume, b"common", b"c" * 5000)
    other = pool.copied(pool.folder / "other")
    shutil.rmtree(other.folder / "state")
    had: list[dict[bytes, bytes]] = []
    for which, mounts, mark in ((pool, ours, b"mine"), (other, theirs, b"else")):
        known = {b"common": b"c" * 5000}
        for number in range(mounts):
            async with which.mounted(host=mark.decode()) as volume:
                for step in range(2):
                    name = b"%s%d%d" % (mark, number, step)
                    known[name] = mark * 2000
                    await put(volume, name, known[name])
        had.append(known)
    for path in pool.paths[3:]:
        pool.memories[path] = other.memories[path]
    return tuple(had)


@pytest.mark.parametrize(("ours", "theirs"), [(1, 1), (1, 2), (2, 1), (3, 1), (1, 4)])
async def test_halves_with_two_histories_are_never_merged(
        pool: Pool, ours: int, theirs: int, autojump_clock: MockClock) -> None:
    histories = await diverged(pool, ours, theirs)
    refused = 0
    for which, state in enumerate(("state", "other/state")):
        for options in (LOOK, ACCEPT):
            try:
                async with pool.mounted(options, state=state, host="third") as volume:
                    found = await contents(volume)
                    accepted = volume.journal.count(EventKind.ROLLBACK_ACCEPTED)
            except (Refusal, Damage):
                refused += 1
                continue
            # All names are of one history, and what reads is what was written there.
            [history] = [known for known in histories if known.keys() == found.keys()]
            assert all(data in (b"", history[name]) for name, data in found.items())
            # Whoever remembers the other history is not given this one without a word.
            assert accepted == (history is not histories[which])
    assert refused


async def test_a_fork_that_is_accepted_is_in_the_audit_log(pool: Pool) -> None:
    old = pool.snapshot()
    async with pool.mounted() as volume:
        await put(volume, b"mine", b"x")
    pool.memories = old
    async with pool.mounted(state="elsewhere") as volume:
        for number in range(5):
            await put(volume, b"%d" % number, b"x")
    with pytest.raises(Forked):
        async with pool.mounted():
            pass
    async with pool.mounted(ACCEPT) as volume:
        assert volume.journal.count(EventKind.ROLLBACK_ACCEPTED) == 1
        assert volume.opened.freshness is Freshness.QUORUM_ONLY
    text = (pool.folder / "state" / "audit.jsonl").read_text()
    assert text.count('"kind":"fork-refused"') == text.count('"kind":"rollback-accepted"') == 1
    assert "history was forked" in text


# -- single targets ------------------------------------------------------------------------------

@pytest.mark.parametrize("count", [1, 2])
async def test_targets_put_back_are_outvoted_and_named(pool: Pool, count: int) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"1" * 5000)
    old = pool.snapshot()
    async with pool.mounted() as volume:
        await put(volume, b"b", b"2" * 5000)
        await volume.checkpoint()
    for path in pool.paths[:count]:
        pool.memories[path] = old[path]
    async with pool.mounted() as volume:
        assert volume.opened.freshness is Freshness.PROVEN
        assert await get(volume, b"b") == b"2" * 5000
        assert volume.journal.count(EventKind.TARGET_STALE) == count
        stale = {event.target for event in volume.journal.recent(1000)
                 if event.kind is EventKind.TARGET_STALE}
        assert stale == {member.id for member in volume.fleet
                         if member.path in pool.paths[:count]}


async def test_a_pool_that_was_put_back_is_not_written_by_a_look(pool: Pool) -> None:
    old = pool.snapshot()
    async with pool.mounted() as volume:
        await put(volume, b"a", b"1")
    pool.memories = old
    names = {path: memory.list_names() for path, memory in old.items()}
    with pytest.raises(RolledBack):
        async with pool.mounted(LOOK):
            pass
    assert names == {path: memory.list_names() for path, memory in pool.memories.items()}


async def test_another_pool_in_the_place_of_this_one_gets_no_write(
        pool: Pool, tmp_path: Path) -> None:
    async with pool.mounted():
        pass
    other = Pool(tmp_path / "attacker", place="/other")
    await other.make()
    for mine, theirs in zip(pool.paths, other.paths, strict=True):
        pool.memories[mine] = other.memories[theirs]
    logs = [memory.list_names() for memory in pool.memories.values()]
    with pytest.raises(Refusal) as caught:
        async with pool.mounted():
            pass
    assert caught.value.id == "E-FOREIGN"
    assert logs == [memory.list_names() for memory in pool.memories.values()]


# -- a machine put back to a snapshot ------------------------------------------------------------

class RestoredEntropy:
    """The random numbers of a machine: after a restore the same ones come again."""

    def __init__(self) -> None:
        self._random = random.Random(7)

    def token(self, length: int) -> bytes:
        return self._random.randbytes(length)


async def test_a_restored_machine_seals_nothing_else_under_the_same_key_and_nonce(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed: dict[tuple[bytes, int], set[bytes]] = defaultdict(set)
    keys: dict[int, tuple[UnitSealer, bytes]] = {}
    init, seal, seal_run = UnitSealer.__init__, UnitSealer.seal, UnitSealer.seal_run

    def keyed(self: UnitSealer, key: bytes) -> None:
        keys[id(self)] = (self, key)
        init(self, key)

    def sealing(self: UnitSealer, index: int, aad: bytes, plain: bytes) -> bytes:
        sealed[keys[id(self)][1], index].add(bytes(plain) + aad)
        return seal(self, index, aad, plain)

    def sealing_run(self: UnitSealer, index: int, aad: bytes, plain: memoryview,
                    out: memoryview, *, unit_len: int) -> None:
        for number, low in enumerate(range(0, len(plain), unit_len)):
            sealed[keys[id(self)][1], index + low + 16 * number].add(
                bytes(plain[low : low + unit_len]) + aad)
        seal_run(self, index, aad, plain, out, unit_len=unit_len)

    monkeypatch.setattr(UnitSealer, "__init__", keyed)
    monkeypatch.setattr(UnitSealer, "seal", sealing)
    monkeypatch.setattr(UnitSealer, "seal_run", sealing_run)
    before = (pool.folder / "state" / "anchors", pool.folder / "saved")
    shutil.copytree(*before)
    for data in (b"one", b"two", b"three"):
        shutil.rmtree(before[0])
        shutil.copytree(before[1], before[0])
        environment = replace(pool.environment(), entropy=RestoredEntropy())
        async with open_volume(pool.paths, SECRET, environment) as volume:
            # The anchor lags, as the machine's memory does, and is an ancestor.
            assert volume.opened.freshness is Freshness.PROVEN
            await put(volume, b"file" + data, data * 30_000)
            await put(volume, b"small" + data, data)
            await volume.checkpoint()
    assert len(sealed) > 50
    assert [key for key, plains in sealed.items() if len(plains) > 1] == []


async def test_the_machine_that_was_put_back_loses_its_claim_to_who_took_over(
        pool: Pool, autojump_clock: MockClock) -> None:
    """It wakes with its mount still open and its memory as it was."""
    async with pool.mounted() as asleep:
        await put(asleep, b"a", b"1")
        with pytest.raises(InUse):
            async with pool.mounted(host="there", state="elsewhere"):
                pass
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ecfs.volume.claiming.TAKEOVER_QUIET_S", 0.0)
            async with pool.mounted(host="there", state="elsewhere") as second:
                await put(second, b"b", b"2")
        with pytest.raises(Fenced):
            await put(asleep, b"c", b"3")
        assert asleep.status().state == "read_only"
    async with pool.mounted(LOOK) as volume:
        assert await contents(volume) == {b"a": b"1", b"b": b"2"}
