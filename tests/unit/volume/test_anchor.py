"""What the client remembers: where it is, when it is lost, late or wrong, and what that proves."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from ecfs.base.errors import AnchorUnusable, EcfsError, Forked, RolledBack
from ecfs.observe import EventKind
from ecfs.repair import FsckMode, check_pool
from ecfs.volume import Freshness, OpenOptions, open_volume
from ecfs.volume.anchor import Anchor, AnchorFile
from tests.unit.volume.simulated import SECRET, Pool, get, put

LOOK = OpenOptions(read_only=True)


pytestmark = pytest.mark.usefixtures("remembered_keys")


def anchor_of(pool: Pool) -> Path:
    [path] = (pool.folder / "state" / "anchors").glob("*.json")
    return path


# -- the words of freshness ----------------------------------------------------------------------

@pytest.mark.parametrize(("away", "known", "word"), [
    (0, True, Freshness.PROVEN), (2, True, Freshness.PROVEN),
    (0, False, Freshness.QUORUM_ONLY), (2, False, Freshness.QUORUM_ONLY),
    (3, True, Freshness.ANCHOR_ONLY), (3, False, Freshness.NOT_PROVEN)])
async def test_each_word_of_freshness_is_reached(
        pool: Pool, away: int, known: bool, word: Freshness) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x")
    pool.absent = set(pool.paths[:away])
    async with pool.mounted(LOOK, state="state" if known else "elsewhere") as volume:
        assert volume.opened.freshness is word
        assert volume.status().to_json()["freshness"] == str(word)
    async with pool.mounted(state="state" if known else "elsewhere") as volume:
        # Without a read quorum nothing newer can be excluded, so nothing is written.
        assert bool(volume.read_only) == (away == 3)


async def test_what_was_accepted_against_the_anchor_is_not_called_proven(pool: Pool) -> None:
    old = pool.snapshot()
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x")
    pool.memories = old
    accept = OpenOptions(read_only=True, accept_rollback=True)
    async with pool.mounted(accept) as volume:
        assert volume.opened.freshness is Freshness.QUORUM_ONLY
    pool.absent = set(pool.paths[:3])
    async with pool.mounted(accept) as volume:
        assert volume.opened.freshness is Freshness.NOT_PROVEN


# -- lost, late, wrong ---------------------------------------------------------------------------

async def test_an_anchor_that_lags_is_accepted_where_it_is_an_ancestor(pool: Pool) -> None:
    """A virtual machine put back to a snapshot, or a crash before the anchor was written."""
    saved = []
    for number in range(4):
        saved.append(anchor_of(pool).read_bytes())
        async with pool.mounted() as volume:
            await put(volume, b"f%d" % number, b"x")
            await volume.checkpoint()
            await put(volume, b"g%d" % number, b"x")
    for text in saved:
        anchor_of(pool).write_bytes(text)
        async with pool.mounted(LOOK) as volume:
            assert volume.opened.freshness is Freshness.PROVEN
            assert await get(volume, b"g3") == b"x"


async def test_a_lost_anchor_is_said_and_a_new_one_is_made(pool: Pool) -> None:
    anchor_of(pool).unlink()
    async with pool.mounted() as volume:
        assert volume.status().to_json()["freshness"] == "quorum_only"
        await put(volume, b"a", b"x")
    async with pool.mounted(LOOK) as volume:
        assert volume.status().to_json()["freshness"] == "proven"


@pytest.mark.parametrize("change", [
    {"pool_id": "00" * 16}, {"seq": "7"}, {"seq": True}, {"epoch": -1}, {"hash": "00"},
    {"hash": 5}, {"pool_id": "zz"}, {"commitment": ""}, {"more": 1}, {"data": 4.0}])
async def test_an_anchor_that_is_damaged_or_of_another_pool_is_refused_with_what_to_do(
        pool: Pool, change: dict[str, object]) -> None:
    good = json.loads(anchor_of(pool).read_text())
    anchor_of(pool).write_text(json.dumps(good | change))
    before = {path: memory.list_names() for path, memory in pool.memories.items()}
    for options in (LOOK, OpenOptions(), OpenOptions(accept_rollback=True)):
        with pytest.raises(AnchorUnusable, match=r"put back|Put it back") as caught:
            async with pool.mounted(options):
                pass
        assert caught.value.id == "E-ANCHOR"
    assert before == {path: memory.list_names() for path, memory in pool.memories.items()}


async def test_an_anchor_that_cannot_be_read_is_refused(pool: Pool) -> None:
    place = anchor_of(pool)
    place.unlink()
    place.mkdir()
    with pytest.raises(AnchorUnusable, match="cannot be read"):
        async with pool.mounted():
            pass
    place.rmdir()
    place.write_bytes(b"\xff\xfe")
    with pytest.raises(AnchorUnusable, match="damaged"):
        async with pool.mounted():
            pass


# -- a place of choice ---------------------------------------------------------------------------

async def test_the_anchor_may_be_kept_elsewhere(pool: Pool, tmp_path: Path) -> None:
    place = tmp_path / "medium"
    options = OpenOptions(anchor_dir=place)
    with pytest.raises(AnchorUnusable, match="Is its medium mounted"):
        async with pool.mounted(options):
            pass
    place.mkdir()
    default = anchor_of(pool).read_bytes()
    async with pool.mounted(options) as volume:
        assert volume.opened.freshness is Freshness.QUORUM_ONLY
        await put(volume, b"a", b"x")
    assert anchor_of(pool).read_bytes() == default
    assert [path.name for path in place.glob("*.json")] == [anchor_of(pool).name]
    old = pool.snapshot()
    async with pool.mounted(options) as volume:
        assert volume.opened.freshness is Freshness.PROVEN
        await put(volume, b"b", b"x")
    pool.memories = old
    with pytest.raises(RolledBack):
        async with pool.mounted(options):
            pass
    # The one in the state directory is older and knows nothing of it.
    async with pool.mounted(LOOK) as volume:
        assert volume.opened.freshness is Freshness.PROVEN


async def test_an_anchor_before_every_acknowledgement(pool: Pool) -> None:
    async with pool.mounted(OpenOptions(anchor_always=True)) as volume:
        for number in range(3):
            await put(volume, b"%d" % number, b"x")
            assert volume.committer is not None
            assert json.loads(anchor_of(pool).read_text())["seq"] == volume.committer.tip.seq


async def test_a_medium_that_is_taken_away_fails_what_it_was_to_vouch_for(
        pool: Pool, tmp_path: Path) -> None:
    place = tmp_path / "medium"
    place.mkdir()
    options = OpenOptions(anchor_always=True, anchor_dir=place)
    async with pool.mounted(options) as volume:
        await put(volume, b"a", b"x")
        shutil.move(place, tmp_path / "gone")
        with pytest.raises((OSError, EcfsError)):
            await put(volume, b"b", b"x")
        shutil.move(tmp_path / "gone", place)
        await put(volume, b"c", b"x")


# -- fsck ----------------------------------------------------------------------------------------

async def test_fsck_refuses_and_accepts_as_a_mount_does(pool: Pool) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x")
    old = pool.snapshot()
    async with pool.mounted() as volume:
        await put(volume, b"b", b"x")
    pool.memories = old
    environment = pool.environment()

    async def checked(options: OpenOptions | None) -> int:
        report = await check_pool(pool.paths, SECRET, environment, options, mode=FsckMode.LOOK,
                                  force=True)
        return int(report.to_json()["exit_bits"])

    with pytest.raises(RolledBack):
        await checked(None)
    assert await checked(OpenOptions(accept_rollback=True)) == 0
    log = (pool.folder / "state" / "audit.jsonl").read_text()
    assert f'"kind":"{EventKind.ROLLBACK_ACCEPTED}"' in log
    # It only looked: the next one is refused all the same.
    with pytest.raises(RolledBack):
        await checked(None)


async def test_fsck_takes_the_anchor_from_the_place_of_choice(pool: Pool, tmp_path: Path) -> None:
    place = tmp_path / "medium"
    place.mkdir()
    async with pool.mounted(OpenOptions(anchor_dir=place)) as volume:
        await put(volume, b"a", b"x")
    [anchor] = place.glob("*.json")
    text = json.loads(anchor.read_text())
    anchor.write_text(json.dumps(text | {"hash": "00" * 32}))
    with pytest.raises(Forked):
        await check_pool(pool.paths, SECRET, pool.environment(), OpenOptions(anchor_dir=place),
                         mode=FsckMode.LOOK, force=True)


async def test_a_clock_that_goes_backwards_neither_orders_nor_permits(pool: Pool) -> None:
    class Backwards:
        def __init__(self) -> None:
            self.now_ns = 10**18

        def wall_ns(self) -> int:
            self.now_ns -= 3600 * 10**9
            return self.now_ns

        def monotonic_ns(self) -> int:
            return int(trio.current_time() * 1e9)

    environment = replace(pool.environment(), clock=Backwards())
    for number in range(3):
        async with open_volume(pool.paths, SECRET, environment) as volume:
            assert volume.opened.freshness is Freshness.PROVEN
            for before in range(number):
                assert await get(volume, b"%d" % before) == b"x"
            await put(volume, b"%d" % number, b"x")
            await volume.checkpoint()


def test_an_anchor_is_on_the_disk_before_it_takes_the_place_of_another(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems keep a rename over a power cut, and not what was in the file."""
    done: list[str] = []
    sync, rename = os.fsync, os.replace

    def noted_sync(fd: int) -> None:
        done.append("sync")
        sync(fd)

    def noted_rename(source: Path, target: Path) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_rename)
    file = AnchorFile(tmp_path, b"p" * 16)
    anchor = Anchor((b"p" * 16).hex(), 3, 7, "00" * 32, 4, 2, "00" * 32, 1)
    file.save(anchor, durable=False)
    assert done == ["sync", "rename"] and file.load() == anchor
    # What a thread was about to save when a newer one came is no longer wanted.
    file.save(replace(anchor, seq=6), durable=False)
    assert file.load() == anchor
    file.save(replace(anchor, epoch=4, seq=8), durable=True)
    assert done == ["sync", "rename"] * 2 + ["sync"] and file.load() != anchor
