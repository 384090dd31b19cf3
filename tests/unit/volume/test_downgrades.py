"""What a client remembers of a pool holds it to that: no older history, no weaker pool (I3, I7)."""

from dataclasses import replace
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest

from ecfs.base.errors import (
    AnchorNotWritten,
    Forked,
    ReadOnly,
    Refusal,
    RolledBack,
    UnknownFormat,
)
from ecfs.base.units import KIB
from ecfs.formats import (
    NO_PARENT,
    Commit,
    Label,
    Root,
    decode_label,
    encode_label,
    labels_among,
)
from ecfs.metadata import ContentTables, Database
from ecfs.observe import EventKind
from ecfs.testing.mounts import small_disk
from ecfs.testing.quick import remember_keys
from ecfs.volume import OpenOptions, label_mac
from ecfs.volume.anchor import Anchor, AnchorFile
from ecfs.volume.descent import check_descent, check_downgrade
from ecfs.volume.records import Found
from ecfs.volume.recovery import Chain
from tests.crash.world import MemoryDisks, memory_ground

POOL = bytes(range(16))
LABEL = Label(pool_id=POOL, target_id=POOL, epoch=1, generation=1, data=4, parity=2, liars=1,
              members=(), targets=(), slots=(), slots_generation=1, commitment=b"c" * 32,
              checkpoint=None)


def hash_of(seq: int) -> bytes:
    return bytes([seq]) * 32


def anchor_at(seq: int, **changes: Any) -> Anchor:
    made = Anchor(POOL.hex(), 1, seq, hash_of(seq).hex(), 4, 2, LABEL.commitment.hex(), 1)
    return replace(made, **changes)


def chain_of(*seqs: int) -> Chain:
    """Records, the first of which is a checkpoint of the one before it."""
    root = Root(seqs[0] - 1, hash_of(seqs[0] - 1), 1, (), (), (), 1, 1, 1, 1, 0, 0, 4, 2, 1, (),
                (), 1)
    records = tuple(Found(Commit(1, seq, NO_PARENT, POOL, 0, 1, 1,
                                 root=root if seq == seqs[0] else None), hash_of(seq), 0, 4096)
                    for seq in seqs)
    base = seqs[0] - 1
    root = Root(base, hash_of(base), 1, (), (), (), 1, 1, 1, 1, 0, 0, 4, 2, 1, (), (), 1)
    checkpoint = replace(records[0], commit=replace(records[0].commit, root=root))
    return Chain(checkpoint, (checkpoint, *records[1:]), ())


@pytest.fixture
def tables() -> ContentTables:
    """A history that holds commits 3 to 6."""
    database = Database.in_memory()
    database.run_many("INSERT INTO history VALUES(?,?)",
                      [(seq, hash_of(seq)) for seq in range(3, 7)])
    return ContentTables(database)


@pytest.mark.parametrize("seq", [3, 6, 7, 8, 9])
def test_an_anchor_in_the_records_or_in_the_history_is_an_ancestor(tables: ContentTables,
                                                                   seq: int) -> None:
    check_descent(chain_of(7, 8, 9), tables, anchor_at(seq))


@pytest.mark.parametrize("seq", [5, 8])
def test_another_commit_of_that_number_is_a_fork(tables: ContentTables, seq: int) -> None:
    with pytest.raises(Forked):
        check_descent(chain_of(7, 8, 9), tables, anchor_at(seq, hash="ab" * 32))


def test_an_anchor_that_the_history_does_not_know_proves_nothing(tables: ContentTables) -> None:
    """Not having it is no proof: what cannot be shown to descend is refused."""
    with pytest.raises(Forked):
        check_descent(chain_of(7, 8, 9), tables, anchor_at(2))


def test_a_pool_that_ends_before_the_anchor_was_rolled_back(tables: ContentTables) -> None:
    with pytest.raises(RolledBack):
        check_descent(chain_of(7, 8, 9), tables, anchor_at(10))


@pytest.mark.parametrize("changes", [
    {"version": 2}, {"data": 5}, {"data": 3}, {"parity": 3}, {"parity": 1},
    {"commitment": "00" * 32}])
def test_nothing_sinks_below_what_was_seen(changes: dict[str, Any]) -> None:
    check_downgrade(LABEL, anchor_at(1))
    with pytest.raises(UnknownFormat):
        check_downgrade(LABEL, anchor_at(1, **changes))


def test_a_later_version_is_no_downgrade() -> None:
    check_downgrade(replace(LABEL, version=2), anchor_at(1))


@pytest.mark.parametrize("read_only", [False, True])
async def test_old_key_slots_put_back_on_all_targets_are_not_made_the_newest(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool) -> None:
    """THREATS 34. Nothing changes slots yet: labels and root are made to say that something did."""
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    disks = MemoryDisks()
    ground = memory_ground(tmp_path / "pool", disks)
    await ground.create()
    async with ground.open() as opening:
        volume = opening.volume
        await opening.shell.write(b"kept", b"k" * 5000)
        volume.labeller.change(replace(volume.labeller.label, slots_generation=2))
        await volume.checkpoint()
        assert volume.read_only == ""
        mac = label_mac(volume.opened.master)

    def show(*numbers: int, generation: int) -> None:
        """Authentic labels with the slots of that generation."""
        for number in numbers:
            memory = disks.targets[ground.paths[number]]
            for _, _, name in labels_among(memory.list_names()):
                label = decode_label(memory.read(name, 0, 1 << 20)).label
                memory.replace(name, encode_label(
                    replace(label, slots_generation=generation), mac))

    show(*range(6), generation=1)
    before = {path: labels_among(memory.list_names()) for path, memory in disks.targets.items()}
    async with ground.open(OpenOptions(read_only=read_only)) as opening:
        assert await opening.shell.read(b"kept") == b"k" * 5000
        assert "key slots" in opening.volume.read_only
        assert opening.volume.journal.count(EventKind.ROLLBACK_REFUSED) == 1
        with pytest.raises(ReadOnly):
            await opening.shell.write(b"more", b"m")
    assert before == {path: labels_among(memory.list_names())
                      for path, memory in disks.targets.items()}
    async with ground.open(OpenOptions(accept_rollback=True)) as opening:
        assert opening.volume.journal.count(EventKind.ROLLBACK_ACCEPTED) == 1
        await opening.shell.write(b"more", b"m")
        await opening.volume.checkpoint()
    async with ground.open() as opening:
        assert opening.volume.read_only == ""
    # Slots that no root counts yet are those of a change that was cut short after the labels.
    show(*range(6), generation=3)
    async with ground.open() as opening:
        assert opening.volume.read_only == ""
        await opening.volume.checkpoint()
    show(*range(6), generation=2)
    async with ground.open() as opening:
        assert "generation 2" in opening.volume.read_only


def test_an_anchor_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    file = AnchorFile(tmp_path, POOL)
    assert file.load() is None
    file.save(anchor_at(4), durable=True)
    assert file.load() == anchor_at(4)
    path = tmp_path / "anchors" / f"{POOL.hex()}.json"
    for text in ("", "{}", "[]", "null", '{"seq": 4}', path.read_text()[:-1]):
        path.write_text(text)
        with pytest.raises(Refusal, match="is damaged"):
            file.load()
    path.unlink()
    path.mkdir()
    with pytest.raises(Refusal, match="cannot be read"):
        file.load()


def test_an_anchor_of_another_pool_is_not_taken_for_this_one(tmp_path: Path) -> None:
    AnchorFile(tmp_path, POOL).save(anchor_at(4, pool_id=bytes(16).hex()), durable=False)
    with pytest.raises(Refusal, match="another pool"):
        AnchorFile(tmp_path, POOL).load()


def test_an_anchor_that_finds_no_room_names_itself_and_leaves_the_one_before(
        tmp_path: Path) -> None:
    with small_disk(tmp_path, size_len=64 * KIB):
        file = AnchorFile(tmp_path, POOL)
        file.save(anchor_at(4), durable=True)
        with pytest.raises(OSError), (tmp_path / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(KIB))
        path = tmp_path / "anchors" / f"{POOL.hex()}.json"
        with pytest.raises(AnchorNotWritten, match=f"{path} cannot be written: No space") as caught:
            file.save(anchor_at(5), durable=True)
        assert caught.value.errno == ENOSPC
        assert file.load() == anchor_at(4)


async def test_an_anchor_before_every_acknowledgement(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With -o anchor=always no acknowledged commit can be taken back unnoticed, not even the
    newest."""
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    disks = MemoryDisks()
    ground = memory_ground(tmp_path / "pool", disks)
    await ground.create()
    async with ground.open_and_crash(OpenOptions(anchor_always=True)) as opening:
        await opening.shell.write(b"one", b"1")
        await opening.volume.fsync(None)
        before = disks.copy()
        await opening.shell.write(b"two", b"2")
        await opening.volume.fsync(None)
        committer = opening.volume.committer
        anchor = AnchorFile(ground.state_dir, opening.volume.pool_id).load()
        assert committer is not None and anchor is not None
        assert anchor.seq == committer.tip.seq
    disks.targets = before.targets
    with pytest.raises(RolledBack):
        async with ground.open():
            raise AssertionError("a pool without the newest commit was mounted")
