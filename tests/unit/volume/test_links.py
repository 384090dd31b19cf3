"""Symbolic links in the places of targets, which whoever owns a target can make."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.base.errors import ForeignTargets, SameTarget
from ecfs.erasure import Geometry
from ecfs.formats import TargetEntry, decode_label, encode_label, label_name, labels_among
from ecfs.observe import EventKind
from ecfs.targets import DirectoryTarget
from ecfs.testing.pools import Ground
from ecfs.volume import OpenOptions, peek_pool

pytestmark = pytest.mark.usefixtures("remembered_keys")


async def pool_of(base: Path, content: bytes) -> Ground:
    ground = Ground(base, geometry=Geometry(2, 1), targets_count=3)
    await ground.create()
    async with ground.open() as opening:
        await opening.shell.write(b"a", content)
    return ground


def by_itself(ground: Ground) -> None:
    os.rename(ground.paths[0], ground.paths[0] + ".hidden")
    os.symlink(ground.paths[1], ground.paths[0])


def by_its_parent(ground: Ground) -> None:
    """The folder above it is the target's owner's too."""
    folder = ground.base / "disk"
    folder.symlink_to(ground.base)
    ground.base.joinpath("t0").rename(ground.base / "hidden")


@pytest.mark.parametrize("plant, path", [(by_itself, "t0"), (by_its_parent, "disk/t1")])
async def test_a_link_to_another_target_costs_its_owner_alone(
        tmp_path: Path, plant: Callable[[Ground], None], path: str) -> None:
    ground = await pool_of(tmp_path / "pool", b"all of it")
    plant(ground)
    paths = (str(ground.base / path), *ground.paths[1:])
    async with ground.open(paths=paths) as opening:
        volume = opening.volume
        assert await opening.shell.read(b"a") == b"all of it"
        assert {member.path for member in volume.fleet.online()} == set(ground.paths[1:])
        assert not volume.read_only
        assert volume.journal.count(EventKind.TARGET_FOREIGN) == 1
        assert any("leads to" in message for message in volume.opened.located.messages)


async def test_one_path_given_twice_is_a_slip(tmp_path: Path) -> None:
    ground = await pool_of(tmp_path / "pool", b"all of it")
    with pytest.raises(SameTarget):
        async with ground.open(paths=(*ground.paths, f"{ground.base}/../pool/t0")):
            pass


@pytest.mark.parametrize("copied", [True, False])
async def test_links_to_another_pool_do_not_open_that(tmp_path: Path, copied: bool) -> None:
    """All targets together: both pools are this client's, under one passphrase."""
    one = await pool_of(tmp_path / "one", b"one")
    other = await pool_of(tmp_path / "other", b"other")
    known = {path: pool for ground in (one, other) for path, pool in json.loads(
        (ground.state_dir / "targets.json").read_text()).items()}
    (one.state_dir / "targets.json").write_text(json.dumps(known))
    for path, instead in zip(one.paths, other.paths, strict=True):
        shutil.rmtree(path)
        if copied:
            shutil.copytree(instead, path + ".copy")
        os.symlink(path + ".copy" if copied else instead, path)
    with pytest.raises(ForeignTargets):
        async with one.open():
            pass
    assert (await pool_opened_at(other, known)) == b"other"


async def pool_opened_at(ground: Ground, known: dict[str, str]) -> bytes:
    (ground.state_dir / "targets.json").write_text(json.dumps(known))
    async with ground.open() as opening:
        return await opening.shell.read(b"a")


async def test_real_paths_of_another_pool_that_labels_name_do_not_open_that(
        tmp_path: Path) -> None:
    """Copies of its targets, whose labels name the paths where it is, and was before."""
    one = await pool_of(tmp_path / "one", b"one")
    other = await pool_of(tmp_path / "other", b"other")
    known = {path: pool for ground in (one, other) for path, pool in json.loads(
        (ground.state_dir / "targets.json").read_text()).items()}
    (one.state_dir / "targets.json").write_text(json.dumps(known))
    shutil.rmtree(one.paths[0])
    shutil.copytree(other.paths[0], one.paths[0])
    with pytest.raises(ForeignTargets):
        async with one.open(paths=(one.paths[0],)):
            pass


async def test_links_of_the_users_own_are_followed(tmp_path: Path) -> None:
    """Made before or after: which pool was there is known by either name."""
    ground = await pool_of(tmp_path / "pool", b"all of it")
    (tmp_path / "name").symlink_to(ground.base)
    paths = tuple(str(tmp_path / "name" / f"t{number}") for number in range(3))
    async with ground.open(paths=paths) as opening:
        assert await opening.shell.read(b"a") == b"all of it"
    pins = json.loads((ground.state_dir / "targets.json").read_text())
    assert set(pins) == {*paths, *ground.paths}
    (ground.state_dir / "targets.json").write_text(json.dumps(
        dict.fromkeys(ground.paths, "00" * 16)))
    with pytest.raises(ForeignTargets):
        async with ground.open(paths=paths):
            pass


@pytest.mark.parametrize("alone", [True, False])
async def test_paths_that_one_label_names_alone_are_not_looked_at(
        tmp_path: Path, alone: bool) -> None:
    """But where the pool was before, or where there are no more labels than two."""
    ground = await pool_of(tmp_path / "pool", b"all of it")
    name = labels_among(os.listdir(ground.paths[0]))[0][2]
    label = decode_label(Path(ground.paths[0], name).read_bytes()).label
    moved = str(tmp_path / "moved")
    forged = replace(label, generation=label.generation + 1, targets=(
        *label.targets, *(TargetEntry(bytes([number + 1]) * 16, "t", f"/nowhere/{number}")
                          for number in range(9)), TargetEntry(bytes(16), "t", moved)))
    Path(ground.paths[0], label_name(forged.epoch, forged.generation)).write_bytes(
        encode_label(forged, lambda body: bytes(32)))
    pins = ground.state_dir / "targets.json"
    pins.write_text(json.dumps(json.loads(pins.read_text()) | {moved: label.pool_id.hex()}))
    looked: list[str] = []

    def opened(path: str) -> DirectoryTarget:
        looked.append(path)
        return DirectoryTarget(path)

    ground.open_target = opened
    await peek_pool(ground.paths[: 1 if alone else 3], ground.environment)
    assert any(path.startswith("/nowhere/") for path in looked) is alone
    assert moved in looked


async def test_where_nothing_was_found_nobody_looks_again(tmp_path: Path) -> None:
    """It may be a share that hangs: each look at it takes its deadline."""
    ground = await pool_of(tmp_path / "pool", b"all of it")
    shutil.rmtree(ground.paths[0])
    looked: list[str] = []

    def opened(path: str) -> DirectoryTarget:
        looked.append(path)
        return DirectoryTarget(path)

    ground.open_target = opened
    async with ground.open(OpenOptions(read_only=True), ground.paths[1:]) as opening:
        assert await opening.shell.read(b"a") == b"all of it"
    assert looked.count(ground.paths[0]) == 1


async def test_what_one_authentic_label_names_alone_is_looked_for(tmp_path: Path) -> None:
    """Two targets were away while another moved, and nothing else is remembered of it."""
    ground = Ground(tmp_path / "pool", geometry=Geometry(4, 2), targets_count=6)
    await ground.create()
    kept = tmp_path / "kept"
    for path in ground.paths[:2]:
        shutil.copytree(path, kept / Path(path).name)
    moved = str(tmp_path / "moved")
    os.rename(ground.paths[5], moved)
    async with ground.open(paths=(*ground.paths[:5], moved)) as opening:
        await opening.shell.write(b"a", b"all of it")
    for path in ground.paths[:2]:
        shutil.rmtree(path)
        shutil.copytree(kept / Path(path).name, path)
    ground.state_dir.joinpath("targets.json").unlink()
    async with ground.open(paths=ground.paths[:3]) as opening:
        volume = opening.volume
        assert {member.path for member in volume.fleet.online()} == {*ground.paths[:5], moved}
        assert await opening.shell.read(b"a") == b"all of it"
