"""fsck from outside: what it changes, when it looks, its exit bits, and what targets lack."""

import re
from pathlib import Path

import pytest

from ecfs.base.errors import InUse, TooFewReachable, WrongPassphrase
from ecfs.base.ids import InodeId
from ecfs.base.units import BLOCK_LEN
from ecfs.base.world import SystemClock
from ecfs.formats import COMMIT, peek_box
from ecfs.keys import MasterKey
from ecfs.repair import FsckMode, FsckReport, check_pool
from ecfs.repair.salvage_asking import Asked
from ecfs.repair.salvage_log import columns_of
from ecfs.repair.target_pass import strays_of
from ecfs.targets import DirectoryTarget, InlineLane, MemoryTarget
from ecfs.volume import Secret
from tests.unit.repair.breakages import BREAKAGES, ROW_CHECKS, break_database
from tests.unit.repair.conftest import (
    BIG,
    PASSPHRASE,
    SMALL,
    Pool,
    metadata_columns,
    put,
    scramble,
    snapshot,
)

LOOK, SAFE, YES = FsckMode.LOOK, FsckMode.SAFE, FsckMode.YES


def ids(report: FsckReport) -> set[str]:
    return {finding.id for finding in report.findings}


async def commit_breakages(pool: Pool, names: list[str]) -> None:
    """Break the database and commit that, as a bug of ours would."""
    async with pool.open() as volume:
        with volume.database.change():
            for case in BREAKAGES:
                if case.id in names:
                    break_database(volume, case)
        await volume.commit()


def commits_name_of(pool: Pool) -> str:
    return max(name for name in pool.targets[pool.paths[0]].list_names()
               if name.startswith("commits."))


# -- what it looks at ------------------------------------------------------------------------


async def test_a_clean_pool_is_only_glanced_at_and_nothing_changes(pool: Pool) -> None:
    before = pool.bytes_of()
    for force in (False, True):
        report = await pool.check(LOOK, force=force)
        assert (report.clean, report.full, report.exit_bits) == (True, force, 0)
    assert pool.bytes_of() == before
    json = report.to_json()
    assert json["schema"] == "ecfs.fsck/1"
    assert json["findings"] == []
    assert json["mode"] == "look"


async def test_a_clean_pool_is_not_claimed_for_repairs(pool: Pool) -> None:
    before = pool.bytes_of()
    assert (await pool.check(YES)).exit_bits == 0
    assert pool.bytes_of() == before


async def test_a_mounted_pool_is_refused(pool: Pool) -> None:
    async with pool.open():
        for mode in FsckMode:
            with pytest.raises(InUse):
                await pool.check(mode)


async def test_a_wrong_passphrase_is_refused(pool: Pool) -> None:
    with pytest.raises(WrongPassphrase):
        await check_pool(pool.paths, Secret("passphrase", b"wrong"), pool.environment, mode=LOOK,
                         force=True)


async def test_a_pool_that_was_not_unmounted_is_checked_in_full(pool: Pool,
                                                                tmp_path: Path) -> None:
    async with pool.open() as volume:
        await put(volume, InodeId(1), b"new", SMALL)
        crashed = snapshot(pool, tmp_path / "crashed")
    report = await crashed.check(LOOK, force=False)
    assert report.full
    assert not [finding for finding in report.findings if not finding.harmless]
    assert (await crashed.contents())["/new"] == SMALL


# -- repairs of the database, through commits ------------------------------------------------

_SAFE_TOGETHER = [
    "tree-number-reused", "tree-entry-without-inode", "tree-name-invalid", "tree-orphan-named",
    "tree-nlink-wrong", "tree-xattr-without-inode",
    "content-segment-short", "content-extent-unused", "content-stripe-live-wrong",
    "content-missed-stranger"]


async def test_safe_repairs_are_committed(pool: Pool) -> None:
    await commit_breakages(pool, _SAFE_TOGETHER)
    before = pool.bytes_of()
    look = await pool.check(LOOK)
    assert set(_SAFE_TOGETHER) <= ids(look)
    assert look.exit_bits == 4
    assert pool.bytes_of() == before

    safe = await pool.check(SAFE)
    assert safe.exit_bits == 1
    assert all(finding.repaired for finding in safe.findings)
    again = await pool.check(LOOK)
    assert (again.clean, again.exit_bits) == (True, 0)
    assert await pool.contents() == {"/docs/small": SMALL, "/second": SMALL, "/a_b": BIG}


async def test_lost_content_is_given_up_only_when_told(pool: Pool) -> None:
    await commit_breakages(pool, ["content-stripe-missing"])
    for mode in (LOOK, SAFE):
        report = await pool.check(mode)
        assert report.exit_bits == 4
        assert {finding.path for finding in report.findings if finding.gives_up} == {"/big"}
    yes = await pool.check(YES)
    assert yes.exit_bits == 1
    assert {finding.path for finding in yes.findings if finding.gives_up} == {"/big"}
    assert (await pool.check(LOOK)).clean
    found = await pool.contents()
    assert found["/docs/small"] == SMALL
    assert found["/big"] == bytes(len(BIG))


async def test_a_segment_row_comes_back_from_the_columns(pool: Pool) -> None:
    await commit_breakages(pool, ["content-segment-missing"])
    assert (await pool.check(SAFE)).exit_bits == 1
    assert (await pool.check(LOOK)).clean
    assert (await pool.contents())["/big"] == BIG


# -- targets ---------------------------------------------------------------------------------


async def test_a_missing_target_is_told_but_no_error(pool: Pool) -> None:
    del pool.targets[pool.paths[2]]
    for mode in FsckMode:
        report = await pool.check(mode, force=False)
        assert report.full
        assert ids(report) == {"targets-missing"}
        assert report.exit_bits == 0


async def test_data_beyond_its_parity_is_an_error(pool: Pool) -> None:
    for path in pool.paths[1:4]:
        del pool.targets[path]
    report = await pool.check(LOOK)
    assert ids(report) == {"targets-missing", "targets-data-endangered"}
    assert report.exit_bits == 4
    safe = await pool.check(SAFE)
    assert ids(safe) == {"targets-missing", "targets-data-endangered", "targets-read-only"}
    assert safe.exit_bits == 4


def _remove(target: MemoryTarget, name: str) -> None:
    target.remove(name)


def _shorten(target: MemoryTarget, name: str) -> None:
    target.truncate(name, 3 * BLOCK_LEN)


def _behead(target: MemoryTarget, name: str) -> None:
    target.write(name, 0, [b"\xff" * 100])


def _lengthen(target: MemoryTarget, name: str) -> None:
    target.write(name, target.size(name), [bytes(BLOCK_LEN)])


@pytest.mark.parametrize(("damage", "name"), [
    (_remove, "segments-column-missing"), (_shorten, "segments-column-short"),
    (_behead, "segments-column-header")])
async def test_columns_are_put_right(pool: Pool, damage: object, name: str) -> None:
    assert callable(damage)
    healthy = pool.bytes_of()
    path = pool.paths[3]
    columns = pool.columns(path)
    for column in columns:
        damage(pool.targets[path], column)
    look = await pool.check(LOOK)
    assert ids(look) == {name}
    assert look.exit_bits == 4
    assert (await pool.check(SAFE)).exit_bits == 1
    assert (await pool.check(LOOK)).clean
    for column in columns:
        if column in pool.columns(path):
            assert pool.bytes_of()[path][column] == healthy[path][column]


async def test_a_column_that_goes_on_is_told_but_no_error(pool: Pool) -> None:
    for column in pool.columns(pool.paths[0]):
        _lengthen(pool.targets[pool.paths[0]], column)
    report = await pool.check(LOOK)
    assert ids(report) == {"segments-column-long"}
    assert (report.clean, report.exit_bits) == (True, 0)


async def test_strays_and_odd_names_are_counted(pool: Pool) -> None:
    target = pool.targets[pool.paths[0]]
    target.create("notes.txt", b"mine")
    target.create("segments/07/0000000000000001-0000000000000777.col", bytes(BLOCK_LEN))
    report = await pool.check(LOOK)
    assert report.clean
    assert report.notes == {"stray_columns": 1, "odd_names": 1}


def _rot_label(pool: Pool) -> None:
    target = pool.targets[pool.paths[1]]
    newest = max(name for name in target.list_names() if name.startswith("label."))
    pool.edit(pool.paths[1], newest, lambda data: data.__setitem__(100, data[100] ^ 1))


def _drop_label(pool: Pool) -> None:
    target = pool.targets[pool.paths[1]]
    target.remove(max(name for name in target.list_names() if name.startswith("label.")))


def _rot_claim(pool: Pool) -> None:
    target = pool.targets[pool.paths[1]]
    newest = max(name for name in target.list_names() if name.startswith("claim."))
    pool.edit(pool.paths[1], newest, scramble)


def _drop_claim(pool: Pool) -> None:
    target = pool.targets[pool.paths[1]]
    target.remove(max(name for name in target.list_names() if name.startswith("claim.")))


def _drop_records(pool: Pool) -> None:
    pool.targets[pool.paths[1]].remove(commits_name_of(pool))


def _rot_records(pool: Pool) -> None:
    pool.edit(pool.paths[1], commits_name_of(pool), scramble)


@pytest.mark.parametrize(("damage", "name"), [
    (_rot_label, "targets-label"), (_drop_label, "targets-label"), (_rot_claim, "targets-claim"),
    (_drop_claim, "targets-claim"), (_drop_records, "targets-records"),
    (_rot_records, "targets-records")])
async def test_labels_claims_and_records_are_put_right(pool: Pool, damage: object,
                                                       name: str) -> None:
    assert callable(damage)
    damage(pool)
    look = await pool.check(LOOK)
    assert ids(look) == {name}
    assert look.exit_bits == 4
    safe = await pool.check(SAFE)
    assert ids(safe) == {name}
    assert safe.exit_bits == 1
    assert (await pool.check(LOOK)).clean


# -- the log ---------------------------------------------------------------------------------


def _records(data: bytes) -> list[tuple[int, int]]:
    """(offset, length) of all records in a file."""
    found = []
    at = 0
    while at < len(data):
        if data[at : at + 8] == COMMIT.magic:
            length = peek_box(COMMIT, data[at : at + BLOCK_LEN]).length
            found.append((at, length))
            at += length
        else:
            at += BLOCK_LEN
    return found


async def test_a_gap_in_the_log_is_given_up_only_when_told(pool: Pool, tmp_path: Path) -> None:
    async with pool.open() as volume:
        await put(volume, InodeId(1), b"first", SMALL)
        await put(volume, InodeId(1), b"second file", SMALL)
        await put(volume, InodeId(1), b"third", SMALL)
        volume.save_anchor(durable=True)
        crashed = snapshot(pool, tmp_path / "crashed")
    name = commits_name_of(crashed)
    records = _records(bytes(crashed.targets[crashed.paths[0]]._names[name].live))
    offset, length = records[-2]
    for path in crashed.paths:
        crashed.edit(path, name, lambda data: data.__setitem__(
            slice(offset, offset + length), bytes(length)))
    with pytest.raises(TooFewReachable):
        await crashed.contents()
    for mode in (LOOK, SAFE):
        report = await crashed.check(mode)
        assert "log-gap" in ids(report)
        assert report.exit_bits == 4
    yes = await crashed.check(YES)
    assert yes.exit_bits == 1
    assert any(finding.id == "log-gap" and finding.gives_up and finding.repaired
               for finding in yes.findings)
    assert (await crashed.check(LOOK)).clean
    found = await crashed.contents()
    assert found["/first"] == SMALL
    assert "/third" not in found


async def test_metadata_that_cannot_be_read_points_to_salvage(pool: Pool) -> None:
    names = await metadata_columns(pool)
    for path in pool.paths:
        for name in names:
            if name in pool.columns(path):
                pool.edit(path, name, scramble)
    for mode in FsckMode:
        report = await pool.check(mode)
        assert ids(report) == {"database-lost"}
        assert report.exit_bits == 4
        assert "salvage" in report.findings[0].description
        assert len(report.pool_id) == 32


async def test_the_secret_is_not_in_the_report(pool: Pool) -> None:
    assert repr(PASSPHRASE.value) not in repr(await pool.check(LOOK))


# -- what is written down --------------------------------------------------------------------


def test_every_finding_is_documented() -> None:
    text = Path("docs/fsck.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([a-z][a-z-]+)` \|", text, re.MULTILINE))
    in_code: set[str] = {check.id for check in ROW_CHECKS}
    for path in Path("ecfs/repair").glob("*.py"):
        in_code |= set(re.findall(
            r'"((?:database|tree|content|segments|targets|log)-[a-z-]+)"', path.read_text()))
    in_code |= {f"segments-column-{what}" for what in ("missing", "short", "header")}
    assert documented == in_code


def test_odd_folders_on_a_target_hurt_nobody(tmp_path: Path) -> None:
    for name in ("segments/we ird", "segments/00", "segments/-rf", "spare"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "segments/00/x.col").write_bytes(b"")
    target = DirectoryTarget(tmp_path)
    assert strays_of(target, set()) == (0, 4)
    asked = Asked(target, InlineLane(), SystemClock())
    assert columns_of([asked], MasterKey(bytes(32)), bytes(16)) == {}
    target.close()
