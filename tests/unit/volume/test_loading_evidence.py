"""What is missing while a pool is loaded: told of once, and of those only who had it."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from ecfs.base.errors import Damage, Fault, Unreadable
from ecfs.base.units import BLOCK_LEN, KIB
from ecfs.erasure import Geometry
from ecfs.formats import column_name
from ecfs.observe import EventKind
from ecfs.targets import DirectoryTarget, FaultyTarget, Outcome
from ecfs.testing.pools import Ground
from ecfs.testing.quick import remember_keys
from ecfs.volume import OpenOptions
from ecfs.volume.committing import Committer
from ecfs.volume.labelling import Labeller

LOOK = OpenOptions(read_only=True)
CONTENT = b"content" * 400
Told = Counter[tuple[str, int, int]]


class Died(Exception):
    """The machine."""


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """A pool of 2+1 with one file."""
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    made = Ground(tmp_path / "pool", geometry=Geometry(2, 1), targets_count=3)
    await made.create()
    async with made.open() as opened:
        await opened.shell.write(b"file", CONTENT)
    return made


def told(ground: Ground) -> Told:
    """How often each shard was told of as missing, by target, segment and offset, in all mounts."""
    lines = (ground.state_dir / "audit.jsonl").read_text().splitlines()
    return Counter((line["target"], line["segment"], line["offset"])
                   for line in map(json.loads, lines) if line.get("kind") == "shard-missing")


async def columns_of_the_root(ground: Ground) -> list[tuple[Path, tuple[str, int, int]]]:
    """The columns with the metadata stripe that loading begins with: where they are, and what is
    told of them when they are gone."""
    async with ground.open(LOOK) as opened:
        volume = opened.volume
        ref = volume.opened.table.ref(volume.opened.chunks[0].stripe)
        name = column_name(ref.segment.epoch, ref.segment.id)
        return [(Path(volume.fleet[target_id].path) / name,
                 (target_id.hex(), ref.segment.id, ref.offset))
                for target_id in ref.segment.columns]


async def miss_a_checkpoint(ground: Ground, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """One target gets no shards of a checkpoint and not its record, and the writer is killed before
    labels name it."""
    def failing(path: str) -> FaultyTarget:
        def plan(count: int, method: str, name: str, offset: int) -> Outcome:
            refused = path == ground.paths[number] and method == "write" and "segments" in name
            return Fault.IO if refused else None

        return FaultyTarget(DirectoryTarget(path), plan)

    async def die(labeller: Labeller, pointer: object) -> set[bytes]:
        raise Died

    ground.open_target = failing
    with monkeypatch.context() as patch:
        async with ground.open_and_crash() as opened:
            patch.setattr(Labeller, "write", die)
            with pytest.raises(Died):
                await opened.volume.checkpoint()
    ground.open_target = DirectoryTarget


@pytest.mark.parametrize("number", range(3))
async def test_who_was_noted_as_behind_by_a_writer_that_was_killed_is_not_accused(
        ground: Ground, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """It missed a checkpoint and was given its record. That it lacks the shards stands in the
    metadata, and reading those is what finds them lacking."""
    await miss_a_checkpoint(ground, monkeypatch, number)
    async with ground.open_and_crash() as opened:
        late = [member for member in opened.volume.fleet if member.behind]
        assert [member.path for member in late] == [ground.paths[number]]
    async with ground.open() as opened:
        volume = opened.volume
        newest = (volume.opened.label.epoch, volume.opened.label.generation)
        assert all(member.generation == newest for member in volume.fleet)
        assert volume.journal.count(EventKind.TARGET_STALE) == 1
        assert volume.journal.count(EventKind.SHARD_MISSING) == 0
        assert await opened.shell.read(b"file") == CONTENT
        with trio.fail_after(600):
            while volume.status().state != "healthy":
                await trio.sleep(1)
    assert not told(ground)


@pytest.mark.parametrize("number", range(3))
async def test_who_missed_a_checkpoint_is_known_though_it_was_given_its_record(
        ground: Ground, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """By a mount that was killed once it had secured the log, before it noted anything: nothing
    but what came before the record tells who lacks its shards."""
    await miss_a_checkpoint(ground, monkeypatch, number)

    async def die(committer: Committer) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "open_epoch", die)
        with pytest.RaisesGroup(Died, allow_unwrapped=True, flatten_subgroups=True):
            async with ground.open_and_crash():
                """It dies while it begins its epoch."""
    async with ground.open() as opened:
        volume = opened.volume
        assert [member.path for member in volume.fleet if member.behind] == [ground.paths[number]]
        with trio.fail_after(600):
            while volume.status().state != "healthy":
                await trio.sleep(1)
        assert await opened.shell.read(b"file") == CONTENT
    assert not told(ground)


def remove(column: Path) -> None:
    column.unlink()


def cut(column: Path) -> None:
    with column.open("r+b") as file:
        file.truncate(BLOCK_LEN)


@pytest.mark.parametrize("options", [OpenOptions(), LOOK], ids=["writing", "looking"])
@pytest.mark.parametrize("spoil", [remove, cut])
async def test_what_is_really_missing_is_told_of_once(
        ground: Ground, options: OpenOptions, spoil: Callable[[Path], None]) -> None:
    columns = await columns_of_the_root(ground)
    spoil(columns[0][0])
    async with ground.open_and_crash(options) as opened:
        seen = told(ground)
        assert opened.volume.journal.count(EventKind.SHARD_MISSING) == seen.total()
    assert columns[0][1] in seen and set(seen.values()) == {1}
    assert {target for target, _, _ in seen} == {columns[0][1][0]}


async def test_metadata_that_is_lost_tells_what_it_lacks(ground: Ground) -> None:
    columns = await columns_of_the_root(ground)
    for column, _ in columns:
        column.unlink()
    with pytest.raises(Unreadable):
        async with ground.open(LOOK):
            pass
    assert told(ground) == {place: 1 for _, place in columns}
    assert not (await ground.fsck()).clean
    assert told(ground) == {place: 2 for _, place in columns}


@pytest.mark.parametrize("step", ["opening.open_database", "opening._prove_fresh", "entry.Volume",
                                  "volume.find_behind"])
async def test_what_is_missing_is_told_of_wherever_opening_fails(
        ground: Ground, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """And the pool is let go of."""
    def fail(*arguments: object, **options: object) -> None:
        raise Damage("refused by the test")

    columns = await columns_of_the_root(ground)
    columns[0][0].unlink()
    with monkeypatch.context() as patch:
        patch.setattr(f"ecfs.volume.{step}", fail)
        with pytest.raises(Damage, match="refused by the test"):
            async with ground.open():
                pass
    seen = told(ground)
    assert columns[0][1] in seen and set(seen.values()) == {1}
    async with ground.open() as opened:
        assert await opened.shell.read(b"file") == CONTENT
