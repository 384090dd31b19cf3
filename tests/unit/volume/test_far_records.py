"""A record that a crash left on one member only, shown by that one where it does not belong."""

import shutil
from pathlib import Path

import pytest

from ecfs.base.limits import LOG_READ_LEN_MAX
from ecfs.base.units import BLOCK_LEN, MIB
from ecfs.erasure import Geometry
from ecfs.formats import commits_name, record_hash
from ecfs.testing.pools import Ground
from ecfs.volume.loglength import LogLength
from ecfs.volume.records import read_log
from tests.unit.volume.log_members import EPOCH, Members

pytestmark = pytest.mark.usefixtures("remembered_keys")


@pytest.fixture
def members() -> Members:
    return Members()


@pytest.mark.parametrize("place", [3, 5, 100_000])
async def test_who_alone_has_the_newest_record_does_not_say_where_it_lies(
        members: Members, place: int) -> None:
    """Near the end of what a mount reads, or where the one before lies, which it hides then."""
    members.drop_last(*range(6))
    members.write(0, place * BLOCK_LEN, members.records[4])
    view = await members.view()
    assert view.records[EPOCH, 5].offset == 4 * BLOCK_LEN and not view.holders[EPOCH, 5]
    assert view.ends[EPOCH] == 5 * BLOCK_LEN
    await members.secure()
    whole = b"".join(members.records)
    assert all(members.file(number).rstrip(b"\0") == whole.rstrip(b"\0")
               for number in range(1, 6))
    assert members.file(0)[: len(whole)] == whole
    assert not any(members.world.memories[0].read(commits_name(EPOCH), at * BLOCK_LEN, BLOCK_LEN)
                   .strip(b"\0") for at in (5, place) if at > 4)


async def test_the_first_record_of_an_epoch_lies_at_its_begin(members: Members) -> None:
    """One that opened an epoch and crashed: it is on one member, which shows it further on."""
    members.make(6, record_hash(members.records[-1]), epoch=EPOCH + 1)
    members.write_new(1, EPOCH + 1, bytes(9 * BLOCK_LEN) + members.records[5])
    assert (await members.view()).records[EPOCH + 1, 6].offset == 0
    await members.secure(EPOCH + 1)
    assert all(members.file(number, EPOCH + 1)[:BLOCK_LEN] == members.records[5]
               for number in range(6))


@pytest.mark.parametrize("honest", [0, 5])
async def test_labels_say_where_their_record_lies(members: Members, honest: int) -> None:
    """What was before it was given back, and is nothing that anybody needs."""
    whole = b"".join(members.records)
    for number in range(6):
        if number > honest:
            members.world.memories[number].truncate(commits_name(EPOCH), 0)
        members.write(number, 0, bytes(2 * BLOCK_LEN))
    members.write(0, 0, bytes(6 * BLOCK_LEN) + whole[BLOCK_LEN:])
    view = await read_log(members.world.fleet, members.world.ids, members.keys, epoch=EPOCH,
                          offset=2 * BLOCK_LEN, seq=3)
    assert {seq: found.offset for (_, seq), found in view.records.items()} == {
        3: 2 * BLOCK_LEN, 4: 3 * BLOCK_LEN, 5: 4 * BLOCK_LEN}
    assert view.ends[EPOCH] == len(whole)
    assert all(view.holders[EPOCH, seq] == set(members.world.ids[1 : 1 + honest])
               for seq in (3, 4, 5))


@pytest.mark.parametrize("count", [1, 2])
async def test_what_follows_a_gap_lies_where_most_have_one_of_it(members: Members,
                                                                count: int) -> None:
    """Nothing tells where the first of it begins; the last of it one member alone has."""
    for number in range(6):
        members.write(number, 0, bytes(2 * BLOCK_LEN))
    members.drop_last(*range(count, 6))
    for number in range(count):
        members.write(number, 0, bytes(7 * BLOCK_LEN) + b"".join(members.records[2:]))
    view = await members.view()
    assert {seq: found.offset for (_, seq), found in view.records.items()} == {
        3: 2 * BLOCK_LEN, 4: 3 * BLOCK_LEN, 5: 4 * BLOCK_LEN}
    assert view.holders[EPOCH, 3] == set(members.world.ids[count:])
    assert not view.holders[EPOCH, 5]


class Killed(BaseException):
    """Nothing more happens to the pool."""


@pytest.mark.parametrize("geometry, count", [(Geometry(4, 2), 6), (Geometry(2, 1), 3)])
async def test_a_record_shown_far_out_does_not_lead_past_what_is_read(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, geometry: Geometry, count: int) -> None:
    """The next mount gives it to all, and is killed before its first checkpoint: the mount after
    that reads all that was acknowledged, on honest targets alone too."""
    ground = Ground(tmp_path / "pool", geometry=geometry, targets_count=count)
    kept = tmp_path / "kept"
    await ground.create()
    async with ground.open_and_crash() as opening:
        epoch = opening.volume.opened.epoch
        await opening.shell.write(b"a", b"acknowledged")
        await opening.volume.fsync(None)
        assert opening.volume.committer is not None
        before = opening.volume.committer.tip
        for path in ground.paths[1:]:
            shutil.copytree(path, kept / Path(path).name)
        await opening.shell.write(b"b", b"on one target")
        await opening.volume.fsync(None)
    for path in ground.paths[1:]:
        shutil.rmtree(path)
        shutil.copytree(kept / Path(path).name, path)
    own = Path(ground.paths[0], commits_name(epoch))
    end = before.offset + before.length
    newest = own.read_bytes()[end:].rstrip(b"\0")
    with open(own, "r+b") as file:
        file.truncate(end)
        file.seek(LOG_READ_LEN_MAX - 40 * BLOCK_LEN)
        file.write(newest.ljust(-(-len(newest) // BLOCK_LEN) * BLOCK_LEN, b"\0"))

    async def killed(self: LogLength) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(LogLength, "shorten", killed)
        with pytest.RaisesGroup(Killed, allow_unwrapped=True, flatten_subgroups=True):
            async with ground.open_and_crash():
                raise AssertionError("not reached")
    assert all(Path(path, commits_name(epoch)).stat().st_size <= 8 * MIB
               for path in ground.paths[1:])
    async with ground.open(paths=ground.paths[1:]) as opening:
        assert not opening.volume.read_only
        assert await opening.shell.read(b"a") == b"acknowledged"
