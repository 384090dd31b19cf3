"""Deleting: only what is named to be deleted, on all targets that are there."""

import logging

import pytest

from ecfs.base.errors import Fault
from ecfs.erasure import Geometry
from ecfs.formats import claim_name, column_name, commits_name, heartbeat_name, label_name
from ecfs.volume.housekeeping import (
    forget_epochs,
    remove_columns,
    remove_strays,
    stray_columns,
)
from tests.unit.stripes.simulated import World

COLUMNS = [(2, 5), (2, 6), (3, 7), (3, 8), (4, 9)]


@pytest.fixture
def world() -> World:
    world = World(Geometry(2, 1), 3)
    for memory in world.memories:
        for epoch in (1, 2, 3, 4):
            for name_of in (claim_name, heartbeat_name, commits_name):
                memory.create(name_of(epoch), b"x")
        memory.create(label_name(1, 1), b"x")
        memory.create("claim.junk", b"x")
        memory.create("commits.0000000000000001.old", b"x")
        for epoch, segment in COLUMNS:
            memory.create(column_name(epoch, segment), b"x")
        memory.create("segments/05/notes.txt", b"x")
        memory.create("segments/odd/0000000000000001-0000000000000001.col", b"x")
    return world


def columns_on(world: World, number: int) -> set[tuple[int, int]]:
    """Columns that are left."""
    found = set()
    for epoch, segment in COLUMNS:
        folder, _, base = column_name(epoch, segment).rpartition("/")
        if base in world.memories[number].list_names(folder):
            found.add((epoch, segment))
    return found


async def test_epochs_before_the_oldest_that_is_needed_go(world: World) -> None:
    await forget_epochs(world.fleet, 3)
    kept = {name_of(epoch) for epoch in (3, 4)
            for name_of in (claim_name, heartbeat_name, commits_name)}
    odd = {label_name(1, 1), "claim.junk", "commits.0000000000000001.old", "segments"}
    for memory in world.memories:
        assert set(memory.list_names()) == kept | odd


async def test_a_target_that_cannot_delete_holds_up_no_other(
        world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.fail_one(1, Fault.READ_ONLY, "remove")
    with caplog.at_level(logging.CRITICAL):
        await forget_epochs(world.fleet, 9)
    assert claim_name(1) in world.memories[1].list_names()
    for number in (0, 2):
        assert commits_name(4) not in world.memories[number].list_names()
    assert world.fleet[world.ids[1]].online


async def test_named_columns_go_everywhere(world: World) -> None:
    await remove_columns(world.fleet, [])
    await remove_columns(world.fleet, [column_name(2, 6), column_name(7, 7)])
    for number in range(3):
        assert columns_on(world, number) == set(COLUMNS) - {(2, 6)}


def test_strays_are_older_and_named_by_nothing(world: World) -> None:
    """A column of this epoch may be one that is being written; a name that is odd is not ours."""
    found = stray_columns(world.memories[0], {(2, 5)}, 4)
    assert sorted(found) == sorted(column_name(*one) for one in ((2, 6), (3, 7), (3, 8)))


async def test_only_strays_go(world: World) -> None:
    await remove_strays(world.fleet, {(2, 5), (3, 8)}, 4)
    for number in range(3):
        assert columns_on(world, number) == {(2, 5), (3, 8), (4, 9)}
        assert "notes.txt" in world.memories[number].list_names("segments/05")


async def test_strays_go_folder_by_folder_and_so_many_in_a_mount(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target may show names without an end: none is kept, and the next mount goes on."""
    listed: list[str] = []
    target = world.targets[0]
    list_names = target.list_names

    def listing(folder: str = "") -> list[str]:
        listed.append(folder)
        return list_names(folder)

    monkeypatch.setattr(target, "list_names", listing)
    next(stray_columns(target, {(2, 5)}, 4))
    assert listed[0] == "segments" and len(listed) < len(COLUMNS)
    monkeypatch.setattr("ecfs.volume.housekeeping.STRAYS_REMOVED_MAX", 2)
    await remove_strays(world.fleet, {(2, 5)}, 4)
    for number in range(3):
        assert len(columns_on(world, number)) == len(COLUMNS) - 2
    await remove_strays(world.fleet, {(2, 5)}, 4)
    for number in range(3):
        assert columns_on(world, number) == {(2, 5), (4, 9)}
