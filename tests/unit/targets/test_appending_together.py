"""Commit records that one thread appends to directories: same quorums, same fences."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ecfs.base.errors import Fenced, ReadOnly
from ecfs.base.units import BLOCK_LEN
from ecfs.base.world import SystemClock, SystemThreads
from ecfs.erasure import Geometry
from ecfs.formats import commits_name
from ecfs.stripes import Fleet
from ecfs.targets import (
    DirectoryTarget,
    Lane,
    SyncSteps,
    Target,
    Together,
    run_steps,
    together,
)
from ecfs.volume import appending
from ecfs.volume.appending import RecordWriter
from ecfs.volume.claiming import box_keys
from tests.unit.stripes.simulated import POOL_ID, World
from tests.unit.volume.test_claims import QUORUM, claimer_of

RECORD = b"r" * BLOCK_LEN


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Six directories, on whatever disk, and all patience with it."""
    monkeypatch.setattr(together, "PATIENCE_S", 60.0)
    world = World(Geometry(4, 2), 6)
    for number, member in enumerate(world.fleet):
        (tmp_path / str(number)).mkdir()
        member.target = DirectoryTarget(tmp_path / str(number))
    world.fleet.together = Together.open(
        partial(Lane, threads=SystemThreads(), clock=SystemClock()))
    assert world.fleet.together is not None
    yield world
    world.fleet.together.close()
    for directory in directories(world.fleet):
        directory.close()


def directories(fleet: Fleet) -> list[DirectoryTarget]:
    return [member.target for member in fleet if isinstance(member.target, DirectoryTarget)]


async def writer_in(world: World) -> RecordWriter:
    claim = (await claimer_of(world, "a").claim(3, b"a" * 16)).data
    writer = RecordWriter(world.fleet, tuple(world.ids), QUORUM, 3, claim,
                          box_keys(world.master, POOL_ID, "claim"), world.journal,
                          keys=box_keys(world.master, POOL_ID, "commit"))
    await writer.create_files()
    return writer


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """Targets on which an append was left to their lanes."""
    seen: list[Target] = []

    def watched(target: Target, steps: SyncSteps[Fenced | None]) -> Fenced | None:
        seen.append(target)
        return run_steps(target, steps)

    monkeypatch.setattr(appending, "run_steps", watched)
    return seen


@pytest.mark.parametrize(("failing", "enough"), [(2, True), (3, False)])
async def test_exactly_a_quorum_is_enough(world: World, failing: int, enough: bool,
                                          apart: list[Target]) -> None:
    writer = await writer_in(world)
    for target in directories(world.fleet)[:failing]:
        target.remove(commits_name(3))
    if enough:
        await writer.append(RECORD)
        assert writer.missed == tuple(world.ids[:failing])
        assert writer.offset == BLOCK_LEN
    else:
        with pytest.raises(ReadOnly, match="only 3 targets acknowledged"):
            await writer.append(RECORD)
        assert writer.offset == 0
    for target in directories(world.fleet)[failing:]:
        assert target.read(commits_name(3), 0, BLOCK_LEN) == RECORD
    assert not apart


async def test_a_later_claim_fences(world: World, apart: list[Target]) -> None:
    writer = await writer_in(world)
    await writer.append(RECORD)
    await claimer_of(world, "b").claim(40, b"b" * 16)
    with pytest.raises(Fenced, match="b has claimed"):
        await writer.append(RECORD)
    assert writer.offset == BLOCK_LEN and not apart


async def test_while_one_target_hangs_the_lanes_do_it(
        world: World, apart: list[Target], monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is acknowledged by the others; when the thread wakes it writes the same again."""
    writer = await writer_in(world)
    released, woken = threading.Event(), threading.Event()
    hanging = directories(world.fleet)[2]
    real, caller = hanging.write, threading.get_ident()

    def hang(name: str, offset: int, buffers: list[bytes]) -> None:
        if threading.get_ident() != caller:
            released.wait()
        real(name, offset, buffers)
        if threading.get_ident() != caller:
            woken.set()

    monkeypatch.setattr(hanging, "write", hang)
    monkeypatch.setattr(together, "PATIENCE_S", 0.05)
    await writer.append(RECORD)
    assert len(apart) == 6 and writer.missed == () and writer.offset == BLOCK_LEN
    await writer.append(RECORD[::-1])
    released.set()
    assert woken.wait(10)
    for target in directories(world.fleet):
        assert target.read(commits_name(3), 0, BLOCK_LEN) == RECORD


async def test_a_late_target_is_left_to_the_lanes(world: World, apart: list[Target],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    writer = await writer_in(world)
    monkeypatch.setattr(world.lanes[1], "is_late", lambda: True)
    await writer.append(RECORD)
    assert len(apart) == 6
