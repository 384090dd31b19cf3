"""The audit log against the pool: who wrote the newest commit, and is its line there?"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from ecfs.base.errors import EcfsError, Fenced, RolledBack, WrongPassphrase
from ecfs.observe import Event, EventKind, walk
from ecfs.volume import OpenOptions, PoolOrder, Secret, Volume, create_pool, open_volume
from tests.unit.volume.simulated import FOUR_AND_TWO, KDF, SECRET, Pool, put

LOOK = OpenOptions(read_only=True)


pytestmark = pytest.mark.usefixtures("remembered_keys")


def log_of(pool: Pool, state: str = "state") -> Path:
    return pool.folder / state / "audit.jsonl"


def lines(pool: Pool, kind: EventKind) -> list[dict[str, Any]]:
    return [line.record for line in walk(str(log_of(pool))) if line.record["kind"] == kind]


def audit_of(volume: Volume) -> dict[str, Any]:
    audit: dict[str, Any] = volume.status().to_json()["audit"]
    return audit


async def test_each_commit_names_a_line_that_was_synced_before(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    durable = {"len": 0}
    real = os.fsync

    def fsync(fd: int) -> None:
        real(fd)
        if os.readlink(f"/proc/self/fd/{fd}") == str(log_of(pool)):
            durable["len"] = os.fstat(fd).st_size

    monkeypatch.setattr("os.fsync", fsync)
    async with pool.mounted() as volume:
        committer = volume.committer
        assert committer is not None
        seen = []
        for number in range(6):
            if number % 2:
                volume.journal.record(volume_event(number))
            await put(volume, b"f%d" % number, b"x")
            newest = committer.newest
            assert newest is not None and newest.audit is not None
            hashes = [line.hash for line in walk(str(log_of(pool)))]
            assert newest.audit.hash.hex() == hashes[newest.audit.count - 1] == hashes[-1]
            assert durable["len"] == log_of(pool).stat().st_size
            seen.append(newest.audit.count)
            assert newest.host == "here"
        assert seen[0] < seen[1] == seen[2] < seen[3]


def volume_event(number: int) -> Event:
    return Event(EventKind.SHARD_BAD, f"bad {number}", target=b"t" * 16, segment=1, offset=4096)


async def test_a_whole_log_matches_over_crashes_and_mounts(pool: Pool) -> None:
    for number in range(3):
        async with pool.crashing() as volume:
            assert audit_of(volume)["match"] == "matches"
            volume.journal.record(volume_event(1))
            await put(volume, b"%d" % number, b"x")
        async with pool.mounted(LOOK) as volume:
            assert audit_of(volume)["match"] == "matches"
            assert audit_of(volume)["pool"]["host"] == "here"
    assert lines(pool, EventKind.AUDIT_MISSING) == []


@pytest.mark.parametrize("deed", ["cut", "last changed", "rewritten", "older copy"])
async def test_a_log_that_lost_what_a_commit_names_is_an_alarm(pool: Pool, deed: str) -> None:
    old = log_of(pool).read_bytes()
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x")
    whole = log_of(pool).read_bytes().splitlines(keepends=True)
    named = next(number for number, line in enumerate(whole) if b'"kind":"mounted"' in line
                 and line not in old)
    if deed == "cut":
        log_of(pool).write_bytes(b"".join(whole[:named]))
    elif deed == "last changed":
        changed = whole[named].replace(b"writable", b"harmless")
        log_of(pool).write_bytes(b"".join([*whole[:named], changed]))
    elif deed == "rewritten":
        log_of(pool).unlink()
    else:
        log_of(pool).write_bytes(old)
    async with pool.mounted() as volume:
        assert audit_of(volume)["match"] == "missing"
        assert "cut, rewritten" in " ".join(volume.status().advice)
        # The alarm stays for as long as the pool is open, also after commits of the new log.
        await put(volume, b"b", b"x")
        assert audit_of(volume)["match"] == "missing"
    [alarm] = lines(pool, EventKind.AUDIT_MISSING)
    assert alarm["expected"] != alarm["got"]
    async with pool.mounted() as volume:
        assert audit_of(volume)["match"] == "matches"


async def test_a_line_that_the_log_keeps_no_longer_is_no_alarm(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another pool of this machine had much to tell since."""
    monkeypatch.setattr("ecfs.observe.audit.AUDIT_FILE_LEN_MAX", 2000)
    journal = pool.environment().journal()
    for number in range(100):
        journal.record(Event(EventKind.CLAIMED, f"another pool {number}" + "x" * 300))
    journal.close()
    async with pool.mounted() as volume:
        assert volume.opened.audit is not None
        assert volume.opened.audit.match == "not_kept"
        assert not any("audit log" in advice for advice in volume.status().advice)
        await put(volume, b"a", b"x")
        assert audit_of(volume)["match"] == "matches"
    assert lines(pool, EventKind.AUDIT_MISSING) == []


async def test_the_log_of_another_client_is_not_missed_here(
        pool: Pool, autojump_clock: MockClock) -> None:
    async with pool.mounted(LOOK, host="there", state="elsewhere") as volume:
        assert audit_of(volume)["match"] == "other_client"
    async with pool.mounted(host="there", state="elsewhere") as volume:
        await put(volume, b"a", b"x")
    async with pool.mounted(LOOK) as volume:
        audit = audit_of(volume)
        assert audit["match"] == "other_client"
        assert audit["pool"]["host"] == "there" and audit["pool"]["writer"] in audit["text"]
        assert audit["log"] != audit["pool"]["log"]
    assert lines(pool, EventKind.AUDIT_MISSING) == []


async def test_another_state_directory_of_this_machine_is_told_apart(pool: Pool) -> None:
    async with pool.mounted(LOOK, state="elsewhere") as volume:
        audit = audit_of(volume)
        assert audit["match"] == "other_log" and "XDG_STATE_HOME" in audit["text"]
    assert list((pool.folder / "elsewhere").glob("audit*"))


async def test_a_log_that_cannot_be_written_stops_no_commit(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x")
        before = audit_of(volume)["pool"]["count"]

        def full(fd: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("ecfs.observe.audit.os.write", full)
            volume.journal.record(volume_event(1))
            await put(volume, b"b", b"y")
        # The line, and that there is none.
        assert volume.journal.audit_failed_count == 2
        assert volume.journal.count(EventKind.AUDIT_UNWRITTEN) == 1
        assert "No space left on device." in volume.status().advice[-1]
        assert audit_of(volume)["pool"]["count"] == before


async def test_refusals_and_overrides_are_in_the_log(pool: Pool) -> None:
    with pytest.raises(WrongPassphrase):
        async with open_volume(pool.paths, Secret("passphrase", b"wrong"), pool.environment()):
            pass
    [refused] = lines(pool, EventKind.REFUSED)
    assert "[E-PASSPHRASE]" in refused["message"] and "wrong" not in refused["message"]
    older = pool.snapshot()
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x")
    pool.memories = older
    with pytest.raises(RolledBack):
        async with pool.mounted():
            pass
    [told] = lines(pool, EventKind.ROLLBACK_REFUSED)
    assert told["pool"] and int(told["expected"].split()[0]) > int(told["got"].split()[0])
    async with pool.mounted(OpenOptions(accept_rollback=True)):
        pass
    [accepted] = lines(pool, EventKind.ROLLBACK_ACCEPTED)
    assert accepted["expected"] == told["expected"]
    order = PoolOrder(pool.paths, FOUR_AND_TWO, SECRET, KDF)
    with pytest.raises(EcfsError):
        await create_pool(order, pool.environment())
    await create_pool(replace(order, force=True), pool.environment())
    [forced] = lines(pool, EventKind.FORCED)
    assert pool.paths[0] in forced["message"]


async def test_a_fenced_writer_says_so_once(pool: Pool, autojump_clock: MockClock) -> None:
    async with pool.mounted() as first:
        await put(first, b"a", b"1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ecfs.volume.claiming.TAKEOVER_QUIET_S", 0.0)
            async with pool.mounted(host="there", state="elsewhere") as second:
                await put(second, b"b", b"2")
        for name in (b"c", b"d"):
            with pytest.raises(Fenced):
                await put(first, name, b"3")
        await trio.sleep(20)
        status = first.status()
        assert status.state == "read_only"
        assert any("there has claimed the pool" in advice for advice in status.advice)
        assert first.journal.count(EventKind.FENCED) == 1
    [fenced] = lines(pool, EventKind.FENCED)
    assert "there" in fenced["message"] and fenced["pool"]


async def test_a_log_of_json_lines_has_what_was_found_where(pool: Pool) -> None:
    async with pool.mounted() as volume:
        volume.journal.record(volume_event(7))
    [bad] = lines(pool, EventKind.SHARD_BAD)
    assert (bad["target"], bad["segment"], bad["offset"]) == ((b"t" * 16).hex(), 1, 4096)
    assert all(json.loads(line) for line in log_of(pool).read_text().splitlines())
