"""The same command given again; and what is held against a target that is being filled."""

import pytest
import trio

from ecfs.base.errors import Refusal, SameTarget, UsageRefusal
from ecfs.formats import column_name
from ecfs.observe import EventKind
from ecfs.repair import RebuildReport, replace_target, scrub
from ecfs.repair.mending import catch_up
from ecfs.stripes import Member
from ecfs.targets import MemoryTarget
from ecfs.testing.pools import Opening
from ecfs.volume import Volume, adopting
from tests.unit.repair.sites import POOLS, Site, holds_everything

FOUR = pytest.mark.parametrize("site", [POOLS[1]], indirect=True)
ACCUSATIONS = (EventKind.HEADER_BAD, EventKind.SHARD_MISSING, EventKind.SHARD_BAD)


async def interrupted(volume: Volume, site: Site) -> Member:
    """As by ^C, when the first shard was filled in; the new target."""
    with trio.CancelScope() as scope:
        await replace_target(volume, site.old, site.new, progress=lambda step: scope.cancel())
    assert scope.cancelled_caught
    new = next(member for member in volume.fleet if member.path == site.new)
    assert new.behind and not new.filling
    return new


def told_of(volume: Volume, member: Member) -> list[str]:
    """What is held against a target."""
    return [event.message for event in volume.journal.recent(1000)
            if event.target == member.id and event.kind in ACCUSATIONS]


def joined(report: RebuildReport) -> bool:
    return report.complete and not report.began


@FOUR
async def test_given_again_after_it_was_interrupted_it_joins(site: Site) -> None:
    await site.make()
    async with site.ground.open() as opening:
        old = next(member for member in opening.volume.fleet if member.path == site.old)
        new = await interrupted(opening.volume, site)
        report = await replace_target(opening.volume, site.old, site.new)
        assert joined(report) and report.shards_count and not new.behind
        assert (report.old_id, report.new_id) == (old.id.hex(), new.id.hex())
        assert report.to_json()["began"] is False
        # It is complete now, and says so to whoever asks once more, by any name.
        for name in (site.old, old.name, old.id.hex(), old.id.hex()[:8], site.new, new.id.hex()):
            again = await replace_target(opening.volume, name, site.new)
            assert joined(again) and not again.shards_count
        assert len(opening.volume.fleet) == 4
    async with site.ground.open(paths=(*site.paths, site.new)) as opening:
        assert joined(await replace_target(opening.volume, site.old, site.new))
        await holds_everything(opening)


@FOUR
async def test_given_again_after_a_crash_it_joins(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.make()
    await site.begin(monkeypatch, 0)
    async with site.ground.open(paths=(*site.paths, site.new)) as opening:
        assert any(member.behind for member in opening.volume.fleet)
        assert joined(await replace_target(opening.volume, site.old, site.new))
        assert not any(member.behind for member in opening.volume.fleet)


@FOUR
async def test_what_another_task_has_filled_meanwhile_lacks_nothing(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The background fills as well: who finds a shard bad and then good looks at it again."""
    await site.make()
    async with site.ground.open() as opening:
        new = await interrupted(opening.volume, site)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(catch_up, opening.volume, new)
        assert not new.behind
        assert not (await scrub(opening.volume)).bad_count


@FOUR
async def test_another_command_joins_nothing(site: Site) -> None:
    """Its OLD is another target, or none; or NEW is a target that took nobody's place."""
    await site.make()
    async with site.ground.open() as opening:
        volume = opening.volume
        await interrupted(volume, site)
        other = site.mates[1]
        with pytest.raises(Refusal):
            await replace_target(volume, other, site.new)
        with pytest.raises(UsageRefusal):
            await replace_target(volume, "nobody", site.new)
        with pytest.raises(SameTarget):
            await replace_target(volume, other, other)
        assert joined(await replace_target(volume, site.old, site.new))
        with pytest.raises(SameTarget):
            await replace_target(volume, other, site.new)


@FOUR
@pytest.mark.parametrize("filled", [False, True])
async def test_a_new_disk_in_the_old_place_is_seen_before_the_loss_is_noticed(
        site: Site, filled: bool) -> None:
    """What the pool has open is the old disk, wherever that went; the command looks anew."""
    await site.make()
    async with site.ground.open() as opening:
        volume = opening.volume
        old = next(member for member in volume.fleet if member.path == site.old)
        site.disks.targets[site.old] = MemoryTarget(site.old)
        if filled:
            site.disks.targets[site.old].create("something", b"of somebody")
            with pytest.raises(Refusal, match="is not empty"):
                await replace_target(volume, site.old, site.old)
            assert old.online
            return
        report = await replace_target(volume, old.name, site.old)
        assert report.complete and report.began
        # It is told, and counts no more for records: nothing of it will be found again.
        (told,) = [event for event in volume.journal.recent(1000)
                   if event.kind is EventKind.TARGET_AWAY]
        assert told.target == old.id and "lies in its place" in told.message
        assert {member.path for member in volume.fleet} == set(site.paths)
        assert volume.fleet.get(old.id) is None
        await holds_everything(opening)
        # And another one, in the place of that.
        site.disks.targets[site.old] = MemoryTarget(site.old)
        report = await replace_target(volume, old.name, site.old)
        assert report.complete and report.began and report.old_id != old.id.hex()


@FOUR
async def test_a_target_that_is_there_is_not_its_own_place(site: Site) -> None:
    await site.make()
    async with site.ground.open() as opening:
        with pytest.raises(SameTarget, match="which is there"):
            await replace_target(opening.volume, site.old, site.old)
        assert all(member.online for member in opening.volume.fleet)


async def lose_columns(opening: Opening, site: Site, member: Member, *, newest: bool) -> int:
    """The columns of content of a target go: of the newest segment, or of all others. Of how many
    segments."""
    segments = sorted(opening.volume.files.index.segments.values(), key=lambda one: one.id)
    chosen = segments[-1:] if newest else segments[:-1]
    assert all(member.id in entry.columns for entry in chosen)
    for entry in chosen:
        target = site.disks.targets[member.path]
        target.remove(column_name(entry.epoch, entry.id))
    return len(chosen)


@pytest.mark.parametrize("site", [POOLS[0]], indirect=True)
async def test_nothing_is_held_against_a_target_for_what_it_never_acknowledged(site: Site) -> None:
    await site.make()
    async with site.ground.open() as opening:
        volume = opening.volume
        new = await interrupted(volume, site)
        new.filling = True
        await scrub(volume)
        assert new.behind and told_of(volume, new) == []
        errors = volume.journal.errors_of(new.id)
        assert (errors.io, errors.tag, errors.label) == (0, 0, 0)
        # What it was given since is another matter ...
        await opening.shell.write(b"later", b"l" * 200_000)
        await volume.fsync(None)
        assert await lose_columns(opening, site, new, newest=True) == 1
        await scrub(volume)
        (told,) = told_of(volume, new)
        assert "segment" in told
        # ... and so is everything once it is whole.
        new.filling = False
        await catch_up(volume, new)
        assert not volume.files.tables.behind()
        # Also where it has missed something else since.
        new.behind = new.filling = True
        assert await lose_columns(opening, site, new, newest=False)
        await scrub(volume)
        assert len(told_of(volume, new)) > 1
        assert not (await scrub(volume)).bad_count


@pytest.mark.parametrize("site", [POOLS[0]], indirect=True)
async def test_nor_by_a_later_mount(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.make()
    await site.begin(monkeypatch, 0)
    async with site.ground.open(paths=(*site.paths, site.new)) as opening:
        new = next(member for member in opening.volume.fleet if member.path == site.new)
        new.filling = True
        await scrub(opening.volume)
        assert told_of(opening.volume, new) == []


@pytest.mark.parametrize("site", [POOLS[0]], indirect=True)
async def test_nor_where_an_older_program_began(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It did not note which segments the new target never had."""
    await site.make()
    with monkeypatch.context() as patch:
        patch.setattr(adopting, "BLANK_SETTING", "nobody-reads-")
        await site.give_up(monkeypatch, 0)
    async with site.ground.open(paths=(*site.paths, site.new)) as opening:
        new = next(member for member in opening.volume.fleet if member.path == site.new)
        await scrub(opening.volume)
        await catch_up(opening.volume, new)
        assert not new.behind and told_of(opening.volume, new) == []


@FOUR
async def test_nothing_is_held_against_it_after_an_undisturbed_rebuild(site: Site) -> None:
    await site.make()
    async with site.ground.open() as opening:
        await replace_target(opening.volume, site.old, site.new)
        new = next(member for member in opening.volume.fleet if member.path == site.new)
        await scrub(opening.volume)
        assert told_of(opening.volume, new) == []
