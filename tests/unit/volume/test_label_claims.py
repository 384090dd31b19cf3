"""What labels and names on targets claim, and how little of it is taken at its word.

Labels are re-made here under the pool's own key: the worst that a bug of ours, or somebody who once
knew the key, could leave behind.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.base.errors import ForeignTargets, UnknownFormat
from ecfs.base.units import KIB
from ecfs.formats import (
    Label,
    TargetEntry,
    claim_name,
    commits_name,
    decode_label,
    encode_label,
    heartbeat_name,
    labels_among,
)
from ecfs.keys import MasterKey, open_slots
from ecfs.observe import EventKind
from ecfs.testing.pools import SECRET, Ground
from ecfs.testing.quick import remember_keys
from ecfs.volume.adopting import quorum_of
from ecfs.volume.claiming import EPOCH_JUMP_MAX, EPOCHS_TRIED_MAX
from ecfs.volume.locate import label_mac
from tests.crash.world import MemoryDisks, memory_ground
from tests.unit.volume.test_downgrades import LABEL

Change = Callable[[Label], Label]


class Bench:
    """A 4+2 pool with one file."""

    def __init__(self, base: Path) -> None:
        self.disks = MemoryDisks()
        self.ground: Ground = memory_ground(base, self.disks)

    async def make(self) -> None:
        await self.ground.create()
        async with self.ground.open() as opening:
            await opening.shell.write(b"file", b"content" * 900)

    def newest(self, number: int) -> tuple[str, Label]:
        """Name and content of a target's newest label."""
        disk = self.disks.targets[self.ground.paths[number]]
        name = labels_among(disk.list_names())[0][2]
        return name, decode_label(disk.read(name, 0, 1 << 17)).label

    def master(self) -> MasterKey:
        _, label = self.newest(0)
        return open_slots(label.slots, SECRET.value, SECRET.slot_kind, label.pool_id)

    def relabel(self, change: Change, *numbers: int) -> None:
        """Every label of these targets (all, if none is named), changed and authentic again."""
        mac = label_mac(self.master())
        for number in numbers or range(6):
            disk = self.disks.targets[self.ground.paths[number]]
            for _, _, name in labels_among(disk.list_names()):
                label = decode_label(disk.read(name, 0, 1 << 17)).label
                disk.replace(name, encode_label(change(label), mac))


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    made = Bench(tmp_path / "pool")
    await made.make()
    return made


@pytest.mark.parametrize("name_of", [claim_name, heartbeat_name, commits_name])
async def test_a_name_cannot_push_the_epoch_to_its_end(
        bench: Bench, name_of: Callable[[int], str]) -> None:
    """Anybody can make a file with the highest number that there is: one more is then no number."""
    for number in range(6):
        bench.disks.targets[bench.ground.paths[number]].create(name_of((1 << 64) - 1), b"junk")
    async with bench.ground.open() as opening:
        assert opening.volume.opened.epoch < 100 and not opening.volume.read_only
        assert await opening.shell.read(b"file") == b"content" * 900


async def test_a_name_that_is_a_little_ahead_is_passed(bench: Bench) -> None:
    """A claim that was cut short leaves its name: the next epoch is above it."""
    async with bench.ground.open() as opening:
        epoch = opening.volume.opened.epoch
    for number, ahead in ((0, 1), (1, 2), (1, 4)):
        bench.disks.targets[bench.ground.paths[number]].create(
            claim_name(epoch + ahead), b"cut short")
    async with bench.ground.open() as opening:
        assert opening.volume.opened.epoch == epoch + 3


@pytest.mark.parametrize("name_of", [claim_name, heartbeat_name, commits_name])
async def test_names_that_a_few_targets_show_do_not_drive_the_epoch(
        bench: Bench, name_of: Callable[[int], str]) -> None:
    """Nothing but the number of a file, made anew before each mount."""
    for _ in range(3):
        async with bench.ground.open() as opening:
            epoch = opening.volume.opened.epoch
        for number in (0, 3):
            for ahead in (EPOCH_JUMP_MAX, EPOCH_JUMP_MAX - 1, *range(1, 70)):
                bench.disks.targets[bench.ground.paths[number]].create(
                    name_of(epoch + ahead), b"junk")
        async with bench.ground.open() as opening:
            assert opening.volume.opened.epoch == epoch + 1 and not opening.volume.read_only
            assert await opening.shell.read(b"file") == b"content" * 900
        for number in (0, 3):
            disk = bench.disks.targets[bench.ground.paths[number]]
            for name in disk.list_names():
                if name.startswith(name_of(0)[:5]) and disk.read(name, 0, 9) == b"junk":
                    disk.remove(name)


async def test_names_that_most_targets_show_are_of_somebody_who_wrote(bench: Bench) -> None:
    async with bench.ground.open() as opening:
        ahead = opening.volume.opened.epoch + 1000
    for number in range(3):
        bench.disks.targets[bench.ground.paths[number]].create(claim_name(ahead), b"rotten")
    async with bench.ground.open() as opening:
        assert opening.volume.opened.epoch == ahead + 1


async def test_the_last_epoch_is_not_begun(
        bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench.ground.open() as opening:
        epoch = opening.volume.opened.epoch
    monkeypatch.setattr("ecfs.volume.claiming.EPOCH_MAX", epoch + EPOCHS_TRIED_MAX)
    async with bench.ground.open() as opening:
        assert "as often as can be" in opening.volume.read_only
        assert await opening.shell.read(b"file") == b"content" * 900


async def test_features_that_can_only_be_read_are_only_read(bench: Bench) -> None:
    bench.relabel(lambda label: replace(label, read_only_compatible=1))
    async with bench.ground.open() as opening:
        assert "only read" in opening.volume.read_only
        assert await opening.shell.read(b"file") == b"content" * 900
    name, _ = bench.newest(0)
    async with bench.ground.open():
        assert bench.newest(0)[0] == name


async def test_features_that_are_unknown_are_not_opened(bench: Bench) -> None:
    bench.relabel(lambda label: replace(label, incompatible=8))
    with pytest.raises(UnknownFormat, match="features 0x8"):
        async with bench.ground.open():
            raise AssertionError("opened")


async def test_a_label_that_names_another_key_is_left_out(bench: Bench) -> None:
    """Its key slots are not the pool's: whoever opens one of them gets another key."""
    bench.relabel(lambda label: replace(label, commitment=bytes(32)), 2)
    async with bench.ground.open() as opening:
        journal = opening.volume.journal
        assert journal.count(EventKind.LABEL_BAD) >= 1
        assert [member.online for member in opening.volume.fleet].count(False) <= 1
        assert any("not authentic" in message for message in opening.volume.opened.located.messages)
    bench.relabel(lambda label: replace(label, commitment=bytes(32)))
    with pytest.raises(ForeignTargets, match="no label here is authentic"):
        async with bench.ground.open():
            raise AssertionError("opened")


async def test_the_number_of_liars_follows_from_the_geometry(bench: Bench) -> None:
    """A label cannot choose a smaller quorum."""
    bench.relabel(lambda label: replace(label, liars=0))
    with pytest.raises(UnknownFormat, match="quorum"):
        async with bench.ground.open():
            raise AssertionError("opened")


async def test_fewer_members_are_no_smaller_quorum(bench: Bench) -> None:
    bench.relabel(lambda label: replace(label, members=label.members[:3]))
    with pytest.raises(UnknownFormat, match="quorum"):
        async with bench.ground.open():
            raise AssertionError("opened")


async def test_labels_and_checkpoint_agree_about_the_geometry(bench: Bench) -> None:
    """3+2 on six targets has the same quorum; the root says 4+2 (threat 30)."""
    bench.relabel(lambda label: replace(label, data=3))
    with pytest.raises(UnknownFormat, match="geometry"):
        async with bench.ground.open():
            raise AssertionError("opened")


async def test_the_pool_with_most_labels_is_opened_and_others_are_left_out(
        bench: Bench, tmp_path: Path) -> None:
    """Threat 20: a target of another pool is left out, and said by its path."""
    other = Bench(tmp_path / "other")
    await other.make()
    path = bench.ground.paths[1]
    bench.disks.targets[path] = other.disks.targets[other.ground.paths[1]]
    foreign = {name: bench.disks.targets[path].read(name, 0, 1 << 17)
               for _, _, name in labels_among(bench.disks.targets[path].list_names())}
    async with bench.ground.open() as opening:
        assert f"{path}: belongs to another pool; it is left out" in (
            opening.volume.opened.located.messages)
        assert opening.volume.journal.count(EventKind.TARGET_FOREIGN) == 1
        # Its labels were not even tried: whose they are is said, and nothing is called rotten.
        assert opening.volume.journal.count(EventKind.LABEL_BAD) == 0
        assert await opening.shell.read(b"file") == b"content" * 900
    for name, data in foreign.items():
        assert bench.disks.targets[path].read(name, 0, 1 << 17) == data


@pytest.mark.parametrize("foreign_first", [True, False])
async def test_of_as_many_targets_of_two_pools_those_that_were_here_before_count(
        bench: Bench, tmp_path: Path, foreign_first: bool) -> None:
    """Threat 20: three targets of six are exchanged for another pool's, which do not win by
    being named first; what is left of ours is only read."""
    other = Bench(tmp_path / "other")
    await other.make()
    ours = bench.newest(0)[1].pool_id
    for number in (range(3) if foreign_first else range(3, 6)):
        path = bench.ground.paths[number]
        bench.disks.targets[path] = other.disks.targets[other.ground.paths[number]]
    async with bench.ground.open() as opening:
        opened = opening.volume.opened
        assert opened.located.pool_id == ours
        assert len(opened.located.labels) == 3 and opened.read_only
        assert opening.volume.journal.count(EventKind.TARGET_FOREIGN) == 3


def test_quorums_are_those_of_the_geometry_and_of_an_exchange() -> None:
    ids = [bytes([number]) * 16 for number in range(7)]
    entries = tuple(TargetEntry(one, "t", "/t") for one in ids)
    six = replace(LABEL, members=tuple(ids[:6]), targets=entries[:6])
    assert (quorum_of(six).commit, quorum_of(six).recover) == (4, 4)
    # One target more is named while it is exchanged for another.
    assert quorum_of(replace(six, targets=entries)) == quorum_of(six)
    for wrong in (replace(six, liars=0), replace(six, members=six.members[:5])):
        with pytest.raises(UnknownFormat):
            quorum_of(wrong)
