"""Targets that are at hand and left out: what is said of them, and that what is said helps."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.shell import Shell, assert_done, assert_refused, status

LAST = 3


def last_of(report: Any) -> Any:
    return report["targets"][LAST]


def spoil_labels(target: str) -> None:
    for label in Path(target).glob("label.*"):
        label.write_bytes(bytes(index * 37 % 251 for index in range(label.stat().st_size)))


def test_a_copy_is_told_as_a_copy(pool: Shell) -> None:
    copy = str(pool.top / "copy")
    shutil.copytree(pool.targets[LAST], copy)
    named = f"{pool.pool}:{copy}"
    told = f"{pool.targets[LAST]} and {copy} are copies of it, so both are left out"
    peeked = status(pool, named)
    assert (peeked["state"], last_of(peeked)["state"]) == ("degraded", "clone")
    done = pool.mount(named)
    assert_done(done)
    assert f"target4 ({pool.targets[LAST]}) is left out: {told}. Take the copy away" in done.stderr
    report = status(pool, str(pool.root))
    assert (last_of(report)["state"], last_of(report)["reason"]) == ("clone", told)
    assert_done(pool.unmount())
    shutil.rmtree(copy)
    assert_done(pool.mount())
    assert last_of(status(pool, str(pool.root)))["state"] == "online"


@pytest.fixture
def other(pool: Shell) -> list[str]:
    """The targets of another pool under the same passphrase."""
    paths = [str(pool.top / f"o{index}") for index in range(3)]
    for path in paths:
        Path(path).mkdir()
    assert_done(pool.mkfs(*paths))
    return paths


def test_another_pool_in_the_place_of_a_target_is_told(pool: Shell, other: list[str]) -> None:
    stranger = status(pool, other[0])["pool_id"]
    shutil.rmtree(pool.targets[LAST])
    shutil.copytree(other[0], pool.targets[LAST])
    peeked = status(pool, pool.pool)
    assert (peeked["state"], last_of(peeked)["state"]) == ("degraded", "foreign")
    done = pool.keyed("status", "--json", pool.pool)
    assert_done(done)
    report = json.loads(done.stdout)
    reason = f"{pool.targets[LAST]} holds a target of pool {stranger}"
    assert (last_of(report)["state"], last_of(report)["reason"]) == ("foreign", reason)
    [advice] = report["advice"]
    assert "is left out" in advice and "Check what is mounted there" in advice


def test_another_pool_besides_is_told_too(pool: Shell, other: list[str]) -> None:
    done = pool.keyed("status", "--json", f"{pool.pool}:{other[0]}")
    report = json.loads(done.stdout)
    assert report["state"] == "healthy"
    assert report["advice"] == [f"{other[0]}: belongs to another pool; it is left out."]


def test_a_place_that_held_another_pool_is_refused_though_that_is_known_too(
        pool: Shell, other: list[str]) -> None:
    shutil.rmtree(other[0])
    shutil.copytree(pool.targets[0], other[0])
    assert_refused(pool.keyed("status", other[0]), 13, "E-FOREIGN")
    assert_done(pool.keyed("status", pool.targets[0]))


def test_rotten_labels_are_told_with_what_helps(pool: Shell) -> None:
    spoil_labels(pool.targets[LAST])
    done = pool.keyed("status", "--json", pool.pool)
    report = json.loads(done.stdout)
    assert last_of(report)["state"] == "missing"
    [advice] = report["advice"]
    replace = f"ecfs target replace POOL target4 {pool.targets[LAST]}"
    assert "label is rotten past correction)" in advice and f"run `{replace}`" in advice
    looked = pool.keyed("fsck", "-n", pool.pool)
    assert looked.returncode == 0 and replace in looked.stdout
    shutil.rmtree(pool.targets[LAST])
    Path(pool.targets[LAST]).mkdir()
    assert_done(pool.within("ecfs", "target", "replace", *_key(pool), pool.pool, "target4",
                            pool.targets[LAST]))
    report = json.loads(pool.keyed("status", "--json", pool.pool).stdout)
    assert (report["state"], report["advice"]) == ("healthy", [])


def _key(pool: Shell) -> tuple[str, str]:
    return "--passfile", str(pool.passfile)


def test_a_target_is_not_replaced_where_too_few_are_there(pool: Shell) -> None:
    for target in pool.targets[2:]:
        Path(target).rename(f"{target}.away")
    new = pool.top / "new"
    new.mkdir()
    done = pool.within("ecfs", "target", "replace", *_key(pool), pool.targets[0], "target4",
                       str(new))
    assert_refused(done, 12, "E-TOO-FEW-REACHABLE")
    assert f"target3 ({pool.targets[2]}, missing), target4 ({pool.targets[3]}, missing)" in (
        done.stderr)
    assert "make a new pool and copy into it" in done.stderr
    assert not list(new.iterdir())


def test_an_alarm_is_told_by_the_mount_itself(mounted: Shell) -> None:
    assert_done(mounted.unmount())
    (mounted.state / "ecfs" / "audit.jsonl").unlink()
    done = mounted.mount()
    assert_done(done)
    assert done.stderr.startswith("ecfs: the pool is healthy, but:\n  The audit log does not fit")
