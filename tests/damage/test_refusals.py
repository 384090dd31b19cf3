"""Targets that are copies, strangers or out of order, and pools that are older than they should be.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.base.errors import (
    ClonedTargets,
    ForeignTargets,
    Forked,
    InUse,
    NotAPool,
    PoolExists,
    RolledBack,
    SameTarget,
    WrongPassphrase,
)
from ecfs.testing.pools import Ground, copy_tree
from ecfs.volume import OpenOptions, Secret
from tests.damage.lab import Lab, scrub_twice, states_of


def audited(lab: Lab) -> list[str]:
    """Kinds of all audited events."""
    lines = (lab.ground.state_dir / "audit.jsonl").read_text().splitlines()
    return [json.loads(line).get("kind", "") for line in lines]


async def stranger(lab: Lab) -> Ground:
    """Another pool with the same passphrase, elsewhere."""
    ground = Ground(lab.base / "stranger")
    shutil.rmtree(ground.base, ignore_errors=True)
    await ground.create()
    return ground


async def test_wrong_passphrase(lab: Lab) -> None:
    lab.ground.secret = Secret("passphrase", b"wrong")
    try:
        with pytest.raises(WrongPassphrase):
            async with lab.open():
                pass
    finally:
        lab.ground.secret = Ground(lab.base).secret
    async with lab.open() as opening:
        await lab.check_contents(opening)


async def test_permuted_order_and_other_places(lab: Lab) -> None:
    """A target is known by its label, not by its position or path."""
    spare = lab.base / "pool" / "spare"
    lab.path(0).rename(spare)
    lab.path(5).rename(lab.path(0))
    lab.path(3).rename(lab.path(5))
    paths = (str(spare), *[lab.ground.paths[number] for number in (5, 0, 4, 2, 1)])
    async with lab.ground.open(OpenOptions(block_cache_len=0), paths) as opening:
        assert set(states_of(opening)) == {"online"}
        await lab.check_contents(opening)
        await scrub_twice(opening)
    # The labels name the new places now: one path is enough to find them all.
    async with lab.ground.open(paths=(str(spare),)) as opening:
        assert set(states_of(opening)) == {"online"}
        await lab.check_contents(opening)


async def test_one_directory_twice(lab: Lab) -> None:
    """Given twice it is a slip; by a link, which its owner may have made, it counts once."""
    link = lab.base / "pool" / "link"
    link.symlink_to(lab.path(2))
    with pytest.raises(SameTarget):
        async with lab.ground.open(paths=(*lab.ground.paths, f"{lab.path(2)}/.")):
            pass
    async with lab.ground.open(paths=(str(link), *lab.ground.paths)) as opening:
        assert set(states_of(opening)) == {"online"}
        assert str(lab.path(2)) in {member.path for member in opening.volume.fleet}


async def test_a_cloned_target_is_left_out(lab: Lab) -> None:
    """With its original: nobody can tell which is the older one."""
    clone = lab.base / "pool" / "clone"
    copy_tree(lab.path(2), clone)
    paths = (*lab.ground.paths, str(clone))
    async with lab.ground.open(paths=paths) as opening:
        states = states_of(opening)
        assert states[2] != "online" and states.count("online") == 5
        assert any(str(clone) in line and str(lab.path(2)) in line
                   for line in opening.volume.opened.located.messages)
        await lab.check_contents(opening)
    shutil.rmtree(clone)
    async with lab.open() as opening:
        await lab.check_contents(opening)
        await scrub_twice(opening)


async def test_only_clones(lab: Lab) -> None:
    clones = [lab.base / "pool" / f"clone{number}" for number in range(2)]
    for clone in clones:
        copy_tree(lab.path(2), clone)
    for target in range(6):
        shutil.rmtree(lab.path(target))
    with pytest.raises(ClonedTargets) as caught:
        async with lab.ground.open(paths=tuple(map(str, clones))):
            pass
    assert all(str(clone) in str(caught.value) for clone in clones)


@pytest.mark.parametrize("count", [1, 2])
async def test_a_foreign_target_is_left_out(lab: Lab, count: int) -> None:
    other = await stranger(lab)
    for target in range(count):
        copy_tree(Path(other.paths[target]), lab.path(target))
    before = [sorted(path.name for path in lab.path(target).iterdir()) for target in range(count)]
    # Its path is known to have held this pool, which is said, and it is not touched.
    async with lab.open() as opening:
        assert states_of(opening).count("online") == 6 - count
        assert any("another pool" in line for line in opening.volume.opened.located.messages)
        await lab.check_contents(opening)
    assert before == [sorted(path.name for path in lab.path(target).iterdir())
                      for target in range(count)]


async def test_the_whole_pool_substituted(lab: Lab) -> None:
    """All labels are another pool's, which opens with the same passphrase."""
    other = await stranger(lab)
    for target in range(6):
        copy_tree(Path(other.paths[target]), lab.path(target))
    with pytest.raises(ForeignTargets) as caught:
        async with lab.open():
            pass
    assert caught.value.exit_code == 13
    assert "targets.json" in str(caught.value)


async def test_not_a_pool(lab: Lab) -> None:
    for target in range(6):
        lab.make_blank(target)
    with pytest.raises(NotAPool):
        async with lab.open():
            pass
    with pytest.raises(NotAPool):
        async with lab.ground.open(paths=(str(lab.base / "nowhere"),)):
            pass


async def test_an_existing_pool_is_not_overwritten(lab: Lab) -> None:
    with pytest.raises(PoolExists):
        await lab.ground.create()
    async with lab.open() as opening:
        await lab.check_contents(opening)


async def test_all_rolled_back(lab: Lab) -> None:
    async with lab.open() as opening:
        await opening.shell.write(b"newer", b"x" * 10_000)
    for target in range(6):
        lab.restore(target)
    with pytest.raises(RolledBack) as caught:
        async with lab.open():
            pass
    assert caught.value.exit_code == 22
    with pytest.raises(RolledBack):
        async with lab.ground.open(OpenOptions(read_only=True)):
            pass
    async with lab.ground.open(OpenOptions(accept_rollback=True)) as opening:
        assert "rollback-accepted" in audited(lab)
        assert not opening.volume.read_only
        await lab.check_contents(opening)
        await opening.shell.write(b"after", b"y" * 10_000)
    assert "rollback-refused" in audited(lab)
    async with lab.open() as opening:
        assert await opening.shell.read(b"after") == b"y" * 10_000
        assert not opening.shell.exists(b"newer")
        await scrub_twice(opening)


async def test_most_rolled_back(lab: Lab) -> None:
    """Those that a read quorum does not need are old: the newest root wins."""
    async with lab.open() as opening:
        await opening.shell.write(b"newer", b"x" * 10_000)
        await opening.shell.fsync(b"newer")
    for target in (0, 3):
        lab.restore(target)
    async with lab.open() as opening:
        assert await opening.shell.read(b"newer") == b"x" * 10_000
        await lab.check_contents_of(opening)
        await scrub_twice(opening)


async def test_forked(lab: Lab) -> None:
    """Another client went on from an older copy: its history lacks what this one has seen."""
    async with lab.open() as opening:
        await opening.shell.write(b"here", b"x" * 10_000)
    for target in range(6):
        lab.restore(target)
    elsewhere = lab.ground.state_dir
    lab.ground.state_dir = lab.base / "pool" / "state2"
    for number in range(3):
        async with lab.open() as opening:
            await opening.shell.write(b"there%d" % number, b"y" * 10_000)
            await opening.volume.fsync(None)
    lab.ground.state_dir = elsewhere
    with pytest.raises(Forked) as caught:
        async with lab.open():
            pass
    assert caught.value.exit_code == 23
    async with lab.ground.open(OpenOptions(accept_rollback=True)) as opening:
        assert opening.shell.exists(b"there0") and not opening.shell.exists(b"here")


@pytest.mark.parametrize("writes", [False, True])
async def test_two_clients_take_turns(lab: Lab, writes: bool) -> None:
    """What one of them saw last is still known when the other has mounted many times."""
    first, second = lab.ground.state_dir, lab.base / "pool" / "state2"
    try:
        for number in range(9):
            lab.ground.state_dir = first if number % 4 == 0 else second
            async with lab.open() as opening:
                await lab.check_contents_of(opening)
                if writes:
                    await opening.shell.write(b"turn%d" % number, b"x" * 5_000)
                    await opening.shell.fsync(b"turn%d" % number)
                    await opening.volume.checkpoint()
    finally:
        lab.ground.state_dir = first


async def test_in_use_on_this_host(lab: Lab) -> None:
    async with lab.open() as opening:
        with pytest.raises(InUse):
            async with replace_state(lab).open():
                pass
        await lab.check_contents(opening)
    async with lab.open():
        pass


def replace_state(lab: Lab) -> Ground:
    """The same pool for another user of this host."""
    other = replace(lab.ground)
    other.state_dir = lab.base / "pool" / "state3"
    return other
