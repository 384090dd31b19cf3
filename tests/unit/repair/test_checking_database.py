"""Each finding about the database: caused, seen, repaired, and gone.

A read-only mount takes changes of its database that no commit ever sees: a case costs one unlock.
"""

import pytest

from ecfs.base.ids import InodeId
from ecfs.repair import FsckMode
from ecfs.repair.database_pass import DatabasePass
from ecfs.repair.findings import Findings
from ecfs.volume import OpenOptions, Volume
from tests.unit.repair.breakages import BREAKAGES, ROW_CHECKS, Breakage, break_database
from tests.unit.repair.conftest import BIG, SMALL, Pool

READ_ONLY = OpenOptions(read_only=True)


async def run(volume: Volume, mode: FsckMode) -> Findings:
    findings = Findings()
    await DatabasePass(volume, mode, findings).run()
    return findings


def case_named(name: str) -> Breakage:
    return next(case for case in BREAKAGES if case.id == name)


def test_every_check_has_a_breakage() -> None:
    special = {"database-corrupt", "content-segment-invalid", "content-extent-outside-stripe",
               "content-missed-stranger"}
    assert {case.id for case in BREAKAGES} == {check.id for check in ROW_CHECKS} | special
    assert len({case.id for case in BREAKAGES}) == len(BREAKAGES)


@pytest.mark.parametrize("case", BREAKAGES, ids=lambda case: case.id)
async def test_a_finding_is_seen_repaired_and_gone(pool: Pool, case: Breakage) -> None:
    async with pool.open(READ_ONLY) as volume:
        assert not (await run(volume, FsckMode.LOOK)).kept
        break_database(volume, case)

        seen = await run(volume, FsckMode.LOOK)
        assert case.seen_as in seen.counts
        assert all(not finding.repaired for finding in seen.kept)
        assert (await run(volume, FsckMode.LOOK)).kept == seen.kept

        safe = await run(volume, FsckMode.SAFE)
        if case.gives_up:
            assert case.seen_as in safe.left_counts
            yes = await run(volume, FsckMode.YES)
            assert any(finding.id == case.id and finding.repaired and finding.gives_up
                       for finding in yes.kept)
        else:
            assert any(finding.id == case.id and finding.repaired and not finding.gives_up
                       for finding in safe.kept)
            assert not safe.has_errors()

        assert not (await run(volume, FsckMode.LOOK)).kept


async def test_bytes_that_are_given_up_are_named_by_path(pool: Pool) -> None:
    async with pool.open(READ_ONLY) as volume:
        break_database(volume, case_named("content-extent-missing"))
        yes = await run(volume, FsckMode.YES)
        assert [(finding.path, finding.gives_up) for finding in yes.kept
                if finding.id == "content-extent-missing"] == [("/docs/small", True)]
        assert await volume.files.read(InodeId(4), 0, len(SMALL)) == bytes(len(SMALL))


@pytest.mark.parametrize("name", [
    "content-segment-missing", "content-segment-invalid", "content-segment-short",
    "content-stripe-live-wrong", "content-extent-live-wrong", "content-stripe-unused",
    "database-corrupt"])
async def test_safe_repairs_of_places_lose_no_byte(pool: Pool, name: str) -> None:
    async with pool.open(READ_ONLY) as volume:
        break_database(volume, case_named(name))
        await run(volume, FsckMode.YES if name == "database-corrupt" else FsckMode.SAFE)
        assert await volume.files.read(InodeId(4), 0, len(SMALL)) == SMALL
        assert await volume.files.read(InodeId(5), 0, len(BIG)) == BIG


@pytest.mark.parametrize(("name", "path"), [
    ("tree-inode-unreachable", b"/lost+found/#5"),
    ("tree-inode-lost", b"/big"),
    ("tree-size-wrong", b"/big"),
    ("tree-name-invalid", b"/a_b"),
    ("tree-directory-lost", b"/big"),
])
async def test_what_lost_its_name_or_inode_keeps_its_bytes(pool: Pool, name: str,
                                                           path: bytes) -> None:
    async with pool.open(READ_ONLY) as volume:
        break_database(volume, case_named(name))
        await run(volume, FsckMode.SAFE)
        inode = InodeId(1)
        for part in path.split(b"/")[1:]:
            entries = {entry: child for entry, child, _ in volume.tree.list_directory(inode)}
            inode = entries[part]
        assert inode == 5
        assert await volume.files.read(inode, 0, len(BIG)) == BIG
        assert volume.files.size(inode) == len(BIG)


async def test_a_stray_file_in_the_place_of_lost_and_found_is_no_obstacle(pool: Pool) -> None:
    async with pool.open(READ_ONLY) as volume:
        volume.tree.create(InodeId(1), b"lost+found", mode=0o100644, uid=0, gid=0)
        break_database(volume, case_named("tree-inode-unreachable"))
        await run(volume, FsckMode.SAFE)
        assert not (await run(volume, FsckMode.LOOK)).kept
        assert b"lost+found.1" in [name for name, _, _ in volume.tree.list_directory(InodeId(1))]


async def test_a_cycle_with_a_tail_is_cut_once(pool: Pool) -> None:
    async with pool.open(READ_ONLY) as volume:
        tree = volume.tree
        top = tree.create(InodeId(1), b"a", mode=0o040755, uid=0, gid=0).inode
        middle = tree.create(top, b"b", mode=0o040755, uid=0, gid=0).inode
        tree.create(middle, b"tail", mode=0o040755, uid=0, gid=0)
        volume.database.run("UPDATE entries SET parent = ? WHERE inode = ?", (middle, top))
        volume.database.run("UPDATE inodes SET parent = ? WHERE id = ?", (middle, top))
        await run(volume, FsckMode.SAFE)
        assert not (await run(volume, FsckMode.LOOK)).kept
        assert len(tree.list_directory(tree.lookup(InodeId(1), b"lost+found").inode)) == 1


async def test_nothing_is_repaired_in_a_database_whose_structure_is_wrong(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool.open(READ_ONLY) as volume:
        break_database(volume, case_named("tree-nlink-wrong"))
        monkeypatch.setattr(volume.database, "integrity_findings",
                            lambda limit=100: ["page 3: never used"])
        found = await run(volume, FsckMode.YES)
        assert {"database-corrupt", "tree-nlink-wrong"} <= set(found.left_counts)
        assert not any(finding.repaired for finding in found.kept)


async def test_findings_are_bounded_but_counted(pool: Pool,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecfs.repair.findings.FINDINGS_PER_ID_MAX", 3)
    async with pool.open(READ_ONLY) as volume:
        volume.database.begin()
        for inode in range(100, 110):
            volume.database.run("INSERT INTO xattrs VALUES(?, x'61', x'62')", (inode,))
        found = await run(volume, FsckMode.SAFE)
        assert found.counts["tree-xattr-without-inode"] == 10
        assert len(found.kept) == 3
        assert not (await run(volume, FsckMode.LOOK)).kept
