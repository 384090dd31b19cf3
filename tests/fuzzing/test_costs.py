"""Costs stay bounded on hostile input: each bound with what it was measured at.

Seconds are of this process's CPU, so that a busy machine fails nothing; the figures in the comments
were measured on two cores of an AVX-512 server.
"""

import itertools
import os
import random
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

from ecfs.base.errors import Damage, Fault, TargetError, UnknownFormat, UsageRefusal
from ecfs.base.limits import (
    KDF_MEMORY_CAP_KIB,
    KDF_MEMORY_FLOOR_KIB,
    KDF_PASSES_CAP,
    KDF_RUNS_PER_UNLOCK_MAX,
    KEY_SLOTS_MAX,
    LABEL_LEN_MAX,
    LOG_READ_EPOCHS_MAX,
    LOG_READ_LEN_MAX,
    TARGET_LISTING_MAX,
    TARGETS_MAX,
)
from ecfs.base.units import BLOCK_LEN, MIB
from ecfs.cli.pool import distinct
from ecfs.formats import (
    CLAIM_PATTERN,
    PageDelta,
    claim_name,
    commits_name,
    decode_label,
    encode_label,
    epochs_among,
    label_name,
    labels_among,
)
from ecfs.formats.envelope import unwrap_corrected
from ecfs.formats.packing import unpack
from ecfs.keys import KdfParameters, KeySlot
from ecfs.keys import slots as slots_module
from ecfs.metadata import decode_delta
from ecfs.observe import Journal
from ecfs.stripes import Fleet, Member, MemberState
from ecfs.targets import Buffer, DirectoryTarget, InlineLane, MemoryTarget, Target
from ecfs.testing.fuzzing.material import EPOCH, FixedEntropy, box_keys, golden, label_mac
from ecfs.volume import Environment, Host, Secret, unlock
from ecfs.volume.appending import CLAIMS_CHECKED_MAX, RecordWriter
from ecfs.volume.claiming import EPOCH_JUMP_MAX
from ecfs.volume.looking import LABELS_TRIED_MAX, look_at
from ecfs.volume.records import read_log
from ecfs.volume.recordscan import SCAN_CHUNK_LEN, SCAN_KEPT_LEN_MAX
from ecfs.volume.sighting import Sighting
from tests.unit.stripes.simulated import TrioClock
from tests.unit.volume.simulated import Pool

ID = bytes(16)


@contextmanager
def cpu_within(seconds: float) -> Iterator[None]:
    began = time.process_time()
    yield
    spent = time.process_time() - began
    assert spent < seconds, f"{spent:.2f} s of CPU"


class Counting(MemoryTarget):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__("counting")
        self.read_count = 0
        self.read_len = 0

    def read(self, name: str, offset: int, length: int) -> bytes:
        data = super().read(name, offset, length)
        self.read_count += 1
        self.read_len += len(data)
        return data


class CountingDirectory(DirectoryTarget):
    """Counts what is read."""

    read_len = 0

    def read(self, name: str, offset: int, length: int) -> bytes:
        data = super().read(name, offset, length)
        self.read_len += len(data)
        return data


def fleet_of(*targets: Target) -> Fleet:
    return Fleet([Member(bytes([number]) * 16, f"t{number}", target.path, target, InlineLane(),
                         MemberState.ONLINE) for number, target in enumerate(targets)],
                 Journal(TrioClock()))


# -- labels --------------------------------------------------------------------------------------

def worst_label() -> bytes:
    """64 KiB of 257 codewords that take all that correction can do, and a last one past it."""
    source = random.Random(1)
    count = LABEL_LEN_MAX // 255
    envelope = bytearray(LABEL_LEN_MAX)
    for word in range(count):
        for place in source.sample(range(255), 16 if word < count - 1 else 40):
            envelope[place * count + word] = source.randrange(1, 256)
    return bytes(envelope)


def test_the_worst_label_costs_a_bounded_correction() -> None:
    worst = worst_label()
    with cpu_within(4), pytest.raises(Damage):
        # Measured: 0.5 s.
        unwrap_corrected(worst)


def test_of_many_labels_on_a_target_few_are_read() -> None:
    target = Counting()
    for generation in range(64):
        target.create(label_name(3, generation), b"\1" * LABEL_LEN_MAX)
    environment = Environment(TrioClock(), FixedEntropy(), Path("/x"), Path("/x"),
                              lambda path: target, InlineLane, Host("h", "b", 1))
    with cpu_within(4):
        # Measured: 0.02 s; with four of the worst labels 2.1 s.
        sighting = look_at("counting", environment)
    assert not sighting.labels and sighting.reason
    assert target.read_count == LABELS_TRIED_MAX
    assert target.read_len <= LABELS_TRIED_MAX * (LABEL_LEN_MAX + 1)


def forged_slots(count: int) -> list[KeySlot]:
    slot = decode_label(golden("label")).label.slots[0]
    return [replace(slot, salt=bytes([number]) * 32) for number in range(count)]


def sightings_with(forged: int, honest: int) -> list[Sighting]:
    """Targets of which the first `forged` show eight slots each that nobody of us made."""
    label = decode_label(golden("label")).label
    sightings = []
    for number in range(forged + honest):
        slots = tuple(forged_slots(KEY_SLOTS_MAX * (number + 1))[-KEY_SLOTS_MAX:])
        own = replace(label, target_id=label.targets[number].id,
                      slots=slots if number < forged else label.slots)
        signed = decode_label(encode_label(own, label_mac))
        sightings.append(Sighting(f"/t{number}", labels=[signed]))
    return sightings


def test_slots_of_a_few_targets_do_not_use_up_the_runs_of_the_kdf(
        monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    stretch = slots_module._stretch

    honest = decode_label(golden("label")).label.slots[0]

    def chosen(secret: bytes, kdf: KdfParameters, salt: bytes) -> bytes:
        runs.append(salt)
        return stretch(secret, kdf, salt) if salt == honest.salt else bytes(32)

    monkeypatch.setattr(slots_module, "_stretch", chosen)
    located = unlock(sightings_with(2, 4), Secret("passphrase", b"correct horse battery staple"),
                     {}, Journal(TrioClock()))
    assert located.label.pool_id == decode_label(golden("label")).label.pool_id
    assert runs == [honest.salt]


def test_slots_with_the_dearest_parameters_are_refused_unrun(
        monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def counted(secret: bytes, kdf: KdfParameters, salt: bytes) -> bytes:
        runs.append(salt)
        return bytes(32)

    monkeypatch.setattr(slots_module, "_stretch", counted)
    label = decode_label(golden("label")).label
    for memory_kib, passes in ((KDF_MEMORY_CAP_KIB + 1, 1), ((1 << 63) - 1, 1),
                               (KDF_MEMORY_FLOOR_KIB, KDF_PASSES_CAP + 1),
                               (KDF_MEMORY_FLOOR_KIB - 1, 1), (KDF_MEMORY_FLOOR_KIB, 0)):
        kdf = replace(label.slots[0].kdf, memory_kib=memory_kib, passes=passes)
        slots = [replace(slot, kdf=kdf) for slot in forged_slots(KEY_SLOTS_MAX)]
        with cpu_within(1), pytest.raises(UnknownFormat):
            slots_module.open_slots(slots, b"secret", None, label.pool_id)
    assert not runs
    with pytest.raises(Exception, match="opens none"):
        slots_module.open_slots(forged_slots(200), b"secret", None, label.pool_id)
    assert len(runs) == KDF_RUNS_PER_UNLOCK_MAX


# -- listings ------------------------------------------------------------------------------------

class Entry:
    """A directory entry."""

    def __init__(self, number: int) -> None:
        self.name = f"junk-{number}"


class Endless:
    """What scandir(3) gives for a directory without an end."""

    seen = 0

    def __enter__(self) -> Iterator[Entry]:
        return self._entries()

    def __exit__(self, *exception: object) -> None:
        """Nothing to close."""

    def _entries(self) -> Iterator[Entry]:
        for number in itertools.count():
            Endless.seen = number
            yield Entry(number)


def test_a_listing_without_an_end_is_given_up(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    target = DirectoryTarget(tmp_path)
    monkeypatch.setattr(os, "scandir", lambda fd: Endless())
    # Measured: 0.15 s for the 100,000 entries that are looked at.
    with cpu_within(3), pytest.raises(TargetError) as refused:
        target.list_names()
    assert refused.value.fault is Fault.UNSAFE
    assert Endless.seen == TARGET_LISTING_MAX
    target.close()


def test_the_longest_listing_is_sorted_through_quickly() -> None:
    names = [label_name(3, number) for number in range(TARGET_LISTING_MAX // 2)]
    names += [claim_name((1 << 64) - number - 1) for number in range(TARGET_LISTING_MAX // 2)]
    # Measured: 0.3 s.
    with cpu_within(4):
        assert labels_among(names)[0][1] == TARGET_LISTING_MAX // 2 - 1
        assert epochs_among(names, CLAIM_PATTERN)[0] == (1 << 64) - 1


def test_a_pool_file_of_a_hundred_thousand_lines_is_refused_unseen() -> None:
    with cpu_within(0.5), pytest.raises(UsageRefusal, match=f"at most {TARGETS_MAX}"):
        distinct([f"/usr/lib/../lib/{number}" for number in range(100_000)])


# -- the log -------------------------------------------------------------------------------------

async def test_a_sparse_and_huge_log_is_read_so_far_and_no_further(tmp_path: Path) -> None:
    with open(tmp_path / commits_name(EPOCH), "wb") as file:
        file.truncate(1 << 40)
    target = CountingDirectory(tmp_path)
    # Measured: 0.4 s for 512 MiB of holes.
    with cpu_within(8):
        view = await read_log(fleet_of(target), [ID], box_keys("commit"), epoch=EPOCH, offset=0)
    assert not view.records and not view.bad and view.cut == {ID}
    assert target.read_len <= LOG_READ_LEN_MAX + SCAN_CHUNK_LEN
    target.close()


async def test_of_many_epochs_few_are_read() -> None:
    target = Counting()
    for epoch in range(LOG_READ_EPOCHS_MAX + 500):
        target.create(commits_name(epoch), golden("commit-delta"))
    view = await read_log(fleet_of(target), [ID], box_keys("commit"), epoch=0, offset=0)
    assert not view.records and not view.read and view.cut == {ID}
    # To the end of each file, and once more what does not open in it.
    assert target.read_count <= 3 * LOG_READ_EPOCHS_MAX


async def test_records_that_claim_to_be_long_are_not_read_again_and_again() -> None:
    """Each block of a file claims to be the longest record there is, and the file ends before."""
    header = golden("commit-delta")[:12] + (4 * MIB).to_bytes(4, "big")
    target = Counting()
    target.create(commits_name(EPOCH), header.ljust(BLOCK_LEN, b"\1") * 800)
    # Measured: 0.03 s; without the bound the file is read 400 times.
    with cpu_within(2):
        view = await read_log(fleet_of(target), [ID], box_keys("commit"), epoch=EPOCH, offset=0)
    assert len(view.bad) == 800
    assert target.read_len <= 4 * 800 * BLOCK_LEN


async def test_forged_records_in_forged_records_are_looked_through_so_far_and_no_further() -> None:
    """Each block begins a record of 4 MiB, which are all there: what lies in two counts twice."""
    header = golden("commit-delta")[:12] + (4 * MIB).to_bytes(4, "big")
    target = Counting()
    target.create(commits_name(EPOCH), header.ljust(BLOCK_LEN, b"\1") * (16 * MIB // BLOCK_LEN))
    # Measured: 0.3 s; all of it would be 12 GiB to hash and to open.
    with cpu_within(15):
        view = await read_log(fleet_of(target), [ID], box_keys("commit"), epoch=EPOCH, offset=0)
    assert not view.records and view.cut == {ID}
    assert target.read_len <= 2 * LOG_READ_LEN_MAX


async def test_forged_records_take_bounded_memory_and_time() -> None:
    """A target may show as much of them as a scan reads; a part of that is held in memory."""
    header = golden("commit-delta")[:12] + (MIB).to_bytes(4, "big")
    record = header.ljust(MIB, b"\1")
    target = Counting()
    target.create(commits_name(EPOCH), record * (SCAN_KEPT_LEN_MAX // MIB + 40))
    tracemalloc.start()
    try:
        view = await read_log(fleet_of(target), [ID], box_keys("commit"), epoch=EPOCH, offset=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not view.records and view.bad
    assert peak < SCAN_KEPT_LEN_MAX + 32 * MIB, peak


# -- claims --------------------------------------------------------------------------------------

async def test_junk_claims_hold_up_no_commit() -> None:
    """A target full of names of later claims is not read through: it does not count."""
    honest, hostile = Counting(), Counting()
    for number in range(5000):
        hostile.create(claim_name((1 << 63) + number), b"junk")
    writer = RecordWriter(fleet_of(honest, hostile), (ID, b"\1" * 16), 1, EPOCH, b"claim",
                          box_keys("claim"), Journal(TrioClock()), keys=box_keys("commit"))
    await writer.create_files()
    await writer.append(golden("commit-delta"))
    # And a look at the place of the record.
    assert hostile.read_count <= CLAIMS_CHECKED_MAX + 1
    assert writer.missed == (b"\1" * 16,)


async def test_names_of_claims_do_not_drive_the_epoch_to_its_end(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    await pool.make()
    pool.memories[pool.paths[0]].create(claim_name((1 << 64) - 1), b"junk")
    async with pool.mounted() as volume:
        assert volume.opened.epoch < 10
    near = claim_name(1000)
    pool.memories[pool.paths[1]].create(near, b"junk")
    async with pool.mounted() as volume:
        assert volume.opened.epoch < EPOCH_JUMP_MAX
        assert not volume.read_only


# -- bombs ---------------------------------------------------------------------------------------

@contextmanager
def heap_within(length: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < length, peak


BOMBS = (b"\xdd\x00\x02\x00\x00" * 500, b"\xdc\xff\xff" * 500, b"\x91" * 100_000,
         b"\xde\x10\x00\xa1a" * 500, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
         b"\x81\xa1a" * 50_000)


@pytest.mark.parametrize("bomb", BOMBS)
def test_msgpack_takes_no_more_memory_than_its_bytes_justify(bomb: bytes) -> None:
    # Measured: 39 MiB for 2,500 bytes before lists were walked through, 0.1 MiB since.
    with heap_within(2 * MIB), cpu_within(1), pytest.raises(Damage):
        unpack(bomb)


def test_a_whole_record_of_the_smallest_items_is_decoded_in_bounds() -> None:
    record = msgpack.packb([0] * (1 << 17))
    with heap_within(16 * MIB), cpu_within(1):
        assert len(unpack(record)) == 1 << 17


def zeros_frame(length: int) -> bytes:
    """A zstandard frame of one-byte blocks that stand for 128 KiB each."""
    block = ((128 << 10) << 3 | 0b010).to_bytes(3, "little") + b"\0"
    last = ((128 << 10) << 3 | 0b011).to_bytes(3, "little") + b"\0"
    blocks = block * (length // (128 << 10) - 1) + last
    return b"\x28\xb5\x2f\xfd\x80\x58" + length.to_bytes(4, "little") + blocks


@pytest.mark.parametrize("before", [None, bytes(BLOCK_LEN)])
def test_a_compressed_bomb_is_never_unfolded(before: Buffer | None) -> None:
    based = None if before is None else bytes(before)
    for frame in (zeros_frame(64 * MIB), zeros_frame(64 * MIB).replace(
            (64 * MIB).to_bytes(4, "little"), BLOCK_LEN.to_bytes(4, "little"), 1)):
        with heap_within(2 * MIB), cpu_within(1), pytest.raises(Damage):
            decode_delta(PageDelta(1, before is not None, frame), based)
