"""A target that is there is replaced only where the pool can spare it; and what went wrong half-way
in a pool that gave one up goes on from the old target's columns."""

import importlib
from pathlib import Path

import pytest

from ecfs.base.errors import Refusal, TooFewReachable, Unreadable
from ecfs.base.limits import RESERVE_LEN_MIN
from ecfs.base.units import MIB
from ecfs.formats import labels_among
from ecfs.repair import replace_target, salvage, scrub
from ecfs.repair.mending import catch_up
from ecfs.repair.sparing import held_len
from ecfs.targets import MemoryTarget
from ecfs.volume import OpenOptions, Volume
from tests.unit.repair.sites import FILES, POOLS, Site, fail_to_settle, holds_everything


def is_as_before(volume: Volume, site: Site) -> None:
    """Nobody was put aside, and nobody came."""
    assert {member.path for member in volume.fleet} == set(site.paths)
    assert {member.path for member in volume.fleet if member.online} == (
        set(site.paths) - site.lost)
    assert not any(member.leaving for member in volume.fleet)
    assert {entry.path for entry in volume.labeller.label.targets} == set(site.paths)
    assert volume.writer is not None
    assert volume.writer._groups == (volume.labeller.label.members,)


@pytest.mark.parametrize(("site", "lost_count"), [(pool, pool[2]) for pool in POOLS],
                         indirect=["site"])
async def test_a_target_that_is_needed_is_not_given_up(site: Site, lost_count: int) -> None:
    await site.make(lost_count)
    async with site.ground.open() as opening:
        volume = opening.volume
        with pytest.raises(TooFewReachable, match=r"cannot spare it.*Nothing was changed.*t\d") as (
                refused):
            await replace_target(volume, site.old, site.new)
        assert refused.value.exit_code == 12
        assert site.new not in site.disks.targets
        is_as_before(volume, site)
        await opening.shell.write(b"later", b"l" * 900)
        await volume.fsync(None)
        await holds_everything(opening)
    async with site.ground.open() as opening:
        is_as_before(opening.volume, site)
        for number, lost in enumerate(sorted(site.lost)):
            assert (await replace_target(opening.volume, lost, f"{site.new}{number}")).complete
        # Now it can be spared.
        assert (await replace_target(opening.volume, site.old, site.new)).complete
        await holds_everything(opening)
        assert not (await scrub(opening.volume)).bad_count
        assert opening.volume.status().state == "healthy"


@pytest.mark.parametrize("site", [POOLS[1]], indirect=True)
async def test_who_catches_up_has_no_shards_to_count_on(site: Site) -> None:
    """All members are there, so a quorum is; but columns of one of them are not whole."""
    await site.make()
    async with site.ground.open() as opening:
        volume = opening.volume
        late = next(member for member in volume.fleet if member.path == site.mates[1])
        late.behind = late.filling = True
        with pytest.raises(TooFewReachable, match=r"only 1 of the 2 shards.*catching up"):
            await replace_target(volume, site.old, site.new)
        is_as_before(volume, site)
        late.behind = late.filling = False
        assert (await replace_target(volume, site.old, site.new)).complete


@pytest.mark.parametrize("site", [POOLS[1]], indirect=True)
async def test_a_member_that_a_quorum_needs_is_not_given_up(site: Site) -> None:
    """All shards are there: the one that is lost holds none of these stripes."""
    await site.make()
    (bystander,) = set(site.paths) - set(site.mates)
    site.lost = {bystander}
    async with site.ground.open() as opening:
        with pytest.raises(TooFewReachable, match="only 2 of the 3 members"):
            await replace_target(opening.volume, site.old, site.new)
        is_as_before(opening.volume, site)


@pytest.mark.parametrize("site", [((4, 2), 6, 1)], indirect=True)
async def test_a_target_that_can_be_spared_is_replaced_though_another_is_lost(site: Site) -> None:
    await site.make(1)
    async with site.ground.open() as opening:
        assert (await replace_target(opening.volume, site.old, site.new)).complete
        await holds_everything(opening)


@pytest.mark.parametrize("site", [((1, 1), 2, 0), ((2, 1), 3, 0)], indirect=True)
async def test_the_old_target_takes_records_until_the_new_one_is_a_member(site: Site) -> None:
    """Of two members both are needed to acknowledge anything, the one that leaves too."""
    await site.make()
    async with site.ground.open() as opening:
        assert (await replace_target(opening.volume, site.old, site.new)).complete
        assert opening.volume.status().state == "healthy"
        # It is told nothing of it: whatever its labels show later, they are not the newest.
        newest = labels_among(site.disks.targets[site.old].list_names())[0]
        assert newest[:2] < labels_among(site.disks.targets[site.new].list_names())[1][:2]
        await opening.shell.write(b"later", b"l" * 900)
        await opening.volume.fsync(None)
        await holds_everything(opening)
    site.lost = {site.old}
    async with site.ground.open(paths=(*site.paths, site.new)) as opening:
        assert not opening.volume.read_only
        await holds_everything(opening)


@pytest.mark.parametrize("site", [POOLS[1]], indirect=True)
@pytest.mark.parametrize("short_len", [0, 1])
async def test_a_disk_that_is_too_small_is_refused_before_anything_is_changed(
        site: Site, short_len: int) -> None:
    await site.make()
    async with site.ground.open() as opening:
        volume = opening.volume
        old = next(member for member in volume.fleet if member.path == site.old)
        needed_len = RESERVE_LEN_MIN + sum(
            entry.length for segments in (volume.opened.table.segments, volume.files.index.segments)
            for entry in segments.values() if old.id in entry.columns)
        # What the exchange itself writes, claim, records and labels, may use the reserve.
        site.disks.targets[site.new] = MemoryTarget(site.new, total_len=needed_len - short_len)
        if not short_len:
            assert (await replace_target(volume, site.old, site.new)).complete
            return
        with pytest.raises(Refusal, match=r"MiB free.*larger disk"):
            await replace_target(volume, site.old, site.new)
        assert not site.disks.targets[site.new].list_names()
        is_as_before(volume, site)


@pytest.mark.parametrize("site", [POOLS[0]], indirect=True)
@pytest.mark.parametrize("is_lost", [False, True])
async def test_what_was_given_back_needs_no_room_on_the_new_disk(
        site: Site, is_lost: bool) -> None:
    """A disk of the size of the old one does, however much has been written and deleted there."""
    await site.make()
    async with site.ground.open() as opening:
        volume = opening.volume
        for number in range(24):
            await opening.shell.write(b"f%d" % number, b"%d" % number * MIB)
            await volume.fsync(None)
        old = next(member for member in volume.fleet if member.path == site.old)
        whole_len = held_len(volume, old)
        assert whole_len == sum(
            entry.length for segments in (volume.opened.table.segments, volume.files.index.segments)
            for entry in segments.values() if old.id in entry.columns)
        for number in range(24):
            if number % 4:
                opening.shell.unlink(b"f%d" % number)
        await volume.fsync(None)
        assert held_len(volume, old) == whole_len
        await volume.background.tidy()
        needed_len = held_len(volume, old)
        assert needed_len < whole_len / 2
        space = site.disks.targets[site.old].space()
        assert needed_len <= space.total_len - space.free_len
        if is_lost:
            site.lost = {site.old}
            volume.fleet.mark_away(old.id, "unplugged")
        site.disks.targets[site.new] = MemoryTarget(
            site.new, total_len=RESERVE_LEN_MIN + needed_len)
        assert (await replace_target(volume, site.old, site.new)).complete
        await holds_everything(opening)
        assert not (await scrub(volume)).bad_count


@pytest.mark.parametrize(("site", "lost_count"), [(pool, pool[2]) for pool in POOLS],
                         indirect=["site"])
async def test_what_stopped_half_way_goes_on_with_the_old_target(
        site: Site, lost_count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its columns are the new target's, which is empty, and m others are lost."""
    await site.make()
    await site.give_up(monkeypatch, lost_count)
    async with site.ground.open(OpenOptions(read_only=True)) as opening:
        await holds_everything(opening)
    async with site.ground.open() as opening:
        assert not opening.volume.read_only
        await holds_everything(opening)
        again = await replace_target(opening.volume, site.old, site.new)
        assert again.complete and not again.began
        for number, lost in enumerate(sorted(site.lost)):
            assert (await replace_target(opening.volume, lost, f"{site.new}{number}")).complete
        assert not any(member.source for member in opening.volume.fleet)
        assert opening.volume.status().state == "healthy"
        await holds_everything(opening)
    site.lost.add(site.old)
    async with site.ground.open(paths=(*site.paths, site.new)) as opening:
        await holds_everything(opening)
        assert not (await scrub(opening.volume)).bad_count


@pytest.mark.parametrize(("site", "lost_count"), [(pool, pool[2]) for pool in POOLS],
                         indirect=["site"])
async def test_who_gives_the_old_target_reads_what_the_new_one_has_not_got(
        site: Site, lost_count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exchange is over, the filling has not begun: no label names the old target any more."""
    await site.make()
    await site.begin(monkeypatch, lost_count)
    without = (*(path for path in site.paths if path != site.old), site.new)
    async with site.ground.open(OpenOptions(read_only=True), without) as opening:
        with pytest.raises(Unreadable):
            await opening.shell.read(b"one")
    async with site.ground.open(paths=(*site.paths, site.new)) as opening:
        await holds_everything(opening)
        old = {member.source.path for member in opening.volume.fleet if member.source}
        assert old <= {site.old}
        assert (await replace_target(opening.volume, site.old, site.new)).complete
        assert not any(member.source for member in opening.volume.fleet)
        assert all(not opening.volume.journal.errors_of(member.id).tag
                   for member in opening.volume.fleet if member.online)
    async with site.ground.open(paths=without) as opening:
        await holds_everything(opening)


@pytest.mark.parametrize(("site", "lost_count"), [(pool, pool[2]) for pool in POOLS],
                         indirect=["site"])
async def test_what_stopped_between_root_and_labels_goes_on_with_the_old_target(
        site: Site, lost_count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root names the new one, which is empty; labels name both still."""
    await site.make()
    count = await site.stop_before_the_labels(monkeypatch, lost_count)
    assert count == len(site.paths)
    paths = (*site.paths, site.new)
    for options in (OpenOptions(read_only=True), OpenOptions()):
        async with site.ground.open(options, paths) as opening:
            volume = opening.volume
            new = next(member for member in volume.fleet if member.path == site.new)
            assert new.behind and new.source is not None and new.source.path == site.old
            assert site.old not in {member.path for member in volume.fleet}
            assert any(message.startswith(site.old) and "keep it" in message
                       for message in volume.opened.located.messages)
            await holds_everything(opening)
            assert not any(volume.journal.errors_of(member.id).tag for member in volume.fleet)
    # It is found by its name as well, now that labels name the new one alone.
    async with site.ground.open(paths=paths) as opening:
        await holds_everything(opening)
        assert (await replace_target(opening.volume, site.old, site.new)).complete
        assert not any(member.source for member in opening.volume.fleet)
    site.lost.add(site.old)
    async with site.ground.open(paths=paths) as opening:
        await holds_everything(opening)


@pytest.mark.parametrize("site", [POOLS[1]], indirect=True)
async def test_a_new_target_that_never_counted_is_no_source(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels name both, and the columns have not moved."""
    await site.make()
    await site.stop_before_the_columns(monkeypatch)
    async with site.ground.open(paths=(*site.paths, site.new)) as opening:
        assert {member.path for member in opening.volume.fleet} == set(site.paths)
        assert not any(member.source for member in opening.volume.fleet)
        assert any(message.startswith(site.new) and "not part of the pool" in message
                   for message in opening.volume.opened.located.messages)
        await holds_everything(opening)


@pytest.mark.parametrize(("site", "lost_count"), [(POOLS[1], 1)], indirect=["site"])
@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("with_metadata", [False, True])
async def test_salvage_takes_what_only_the_old_target_has(
        site: Site, lost_count: int, settled: bool, with_metadata: bool, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    await site.make()
    await (site.begin if settled else site.give_up)(monkeypatch, lost_count)
    out = tmp_path / "out"
    if not with_metadata:
        async def cannot(*_: object) -> bool:
            return False

        module = importlib.import_module("ecfs.repair.salvage")
        monkeypatch.setattr(module, "_copy_tree", cannot)
    report = await salvage((*site.paths, site.new), site.ground.secret, site.ground.environment,
                           out)
    assert report.from_log is not with_metadata and not report.incomplete
    assert not report.lost_stripes_count
    assert {path.name.encode(): path.read_bytes() for path in out.rglob("*")
            if path.is_file() and path.name.encode() in FILES} == FILES


@pytest.mark.parametrize("site", [POOLS[1]], indirect=True)
async def test_an_exchange_that_lacked_a_quorum_is_finished_by_the_same_command(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.make()
    async with site.ground.open() as opening:
        volume = opening.volume

        await fail_to_settle(volume, site, monkeypatch)
        assert any(member.leaving for member in volume.fleet)
        await holds_everything(opening)
        again = await replace_target(volume, site.old, site.new)
        assert again.complete and not again.began
        assert not any(member.leaving for member in volume.fleet)
        assert volume.writer is not None and len(volume.writer._groups) == 1
        assert len(volume.labeller.label.targets) == len(volume.fleet) == 4
        await holds_everything(opening)
    async with site.ground.open(paths=(*site.paths, site.new)) as opening:
        assert {member.path for member in opening.volume.fleet} == (
            {*site.paths, site.new} - {site.old})


@pytest.mark.parametrize("site", [POOLS[1]], indirect=True)
async def test_an_exchange_that_lacked_a_quorum_is_finished_before_another_begins(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.make()
    async with site.ground.open() as opening:
        volume = opening.volume
        await fail_to_settle(volume, site, monkeypatch)
        new = next(member for member in volume.fleet if member.path == site.new)
        await catch_up(volume, new)
        assert not new.behind
        for number, path in enumerate(site.mates[1:]):
            assert (await replace_target(volume, path, f"{site.new}{number}")).complete
            assert volume.writer is not None and len(volume.writer._groups) == 1
        assert len(volume.labeller.label.targets) == len(volume.fleet) == 4
        await holds_everything(opening)
