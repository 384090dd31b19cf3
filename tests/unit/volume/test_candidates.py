"""Of several histories that targets show the right one, and what a checkpoint may not claim."""

from dataclasses import replace

import pytest

from ecfs.base.errors import Damage
from ecfs.formats import KIND_METADATA, ChunkPlace, MetadataStripe, SegmentEntry
from ecfs.metadata import CHUNK_LEN
from ecfs.volume.recovery import MetadataTable, adopt, load_map
from tests.unit.volume.test_recovery import Log, run_of


def test_a_younger_epoch_wins_over_a_longer_history_of_an_older_one() -> None:
    """The older writer went on after it was fenced, and even made a checkpoint: all of it is a
    branch of stragglers, though its numbers are higher."""
    log, made = run_of(3)
    stragglers = [log.add(after=made[-1])]
    stragglers += [log.add() for _ in range(3)]
    stragglers.append(log.add(base=stragglers[1]))
    newer = log.add(after=made[-1], epoch=2)
    chain = adopt(log.view(), drop_tail=False)
    assert chain is not None and chain.tip == newer
    assert not {found.hash for found in chain.records} & {found.hash for found in stragglers}
    assert chain.checkpoint == made[0]


def test_records_from_the_first_on_without_a_checkpoint_are_a_pool_that_is_being_made() -> None:
    log = Log()
    first = log.add()
    log.records[1, 1] = replace(first, commit=replace(first.commit, root=None))
    log.add()
    assert adopt(log.view(), drop_tail=False) is None


def test_a_record_that_skips_a_number_does_not_follow() -> None:
    """It names the right parent; only a bug of ours could have made it."""
    log, made = run_of(3)
    wrong = log.add()
    del log.records[1, 4]
    log.records[1, 5] = replace(wrong, commit=replace(wrong.commit, seq=5))
    chain = adopt(log.view(), drop_tail=True)
    assert chain is not None and chain.tip == made[-1]


def test_chunks_of_the_page_map_have_a_largest_length() -> None:
    """Refused before anything is read (I8)."""
    log = Log()
    root = log.add().commit.root
    assert root is not None
    asked: list[int] = []

    def read(stripe: int, start: int, length: int) -> bytes:
        asked.append(length)
        return bytes(length)

    whole = replace(root, chunks=(ChunkPlace(1, 0, CHUNK_LEN),), page_count=9)
    assert len(load_map(whole, read)) == 9
    with pytest.raises(Damage, match="too long"):
        load_map(replace(root, chunks=(ChunkPlace(1, 0, CHUNK_LEN + 8),)), read)
    assert asked == [CHUNK_LEN]
    with pytest.raises(Damage, match="too short"):
        load_map(replace(root, chunks=(ChunkPlace(1, 0, 64),), page_count=9), read)


def test_a_place_in_a_stripe_that_the_checkpoint_does_not_name() -> None:
    segment = SegmentEntry(7, 1, 1, 1, (bytes(16), bytes(16)), 8192)
    table = MetadataTable({1: MetadataStripe(1, 7, 4096, 3000, bytes(32), bytes(32)),
                           2: MetadataStripe(2, 8, 4096, 3000, bytes(32), bytes(32))},
                          {7: segment})
    ref = table.ref(1)
    assert (ref.segment, ref.kind, ref.offset) == (segment, KIND_METADATA, 4096)
    for number in (2, 3):
        with pytest.raises(Damage, match="not in the checkpoint"):
            table.ref(number)
