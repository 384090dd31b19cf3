"""Claims of later epochs, and what only has their names: who is fenced by which, and what goes."""

from pathlib import Path

import pytest

from ecfs.base.errors import Fault, Fenced, TargetError
from ecfs.base.units import KIB
from ecfs.erasure import Geometry
from ecfs.formats import Claim, claim_name, encode_claim
from ecfs.observe import EventKind
from ecfs.targets import Target
from ecfs.testing.quick import remember_keys
from ecfs.volume import OpenOptions
from ecfs.volume.appending import CLAIMS_CHECKED_MAX, RecordWriter
from ecfs.volume.claiming import CLAIMS_LOOKED_AT_MAX, box_keys, is_claimed_after
from ecfs.volume.recordfiles import CLAIMS_CLEANED_MAX, junk_claims
from tests.crash.world import MemoryDisks, memory_ground
from tests.unit.stripes.simulated import POOL_ID, World

EPOCH = 3


class Bench:
    """One target with claims on it. `world` has five more."""

    def __init__(self) -> None:
        self.world = World(Geometry(4, 2), 6)
        self.keys = box_keys(self.world.master, POOL_ID, "claim")
        self.memory, self.target = self.world.memories[0], self.world.targets[0]

    def claim(self, epoch: int, writer: bytes = b"w") -> bytes:
        return encode_claim(Claim(epoch, writer * 16, "there", "boot", 1), self.keys,
                            self.world.entropy.token(32))

    def put(self, epoch: int, data: bytes | None = None) -> None:
        self.memory.create(claim_name(epoch), self.claim(epoch) if data is None else data)

    def writer(self) -> RecordWriter:
        """Ours, of epoch 3."""
        return RecordWriter(self.world.fleet, tuple(self.world.ids), 4, EPOCH, self.claim(EPOCH),
                            self.keys, self.world.journal,
                            keys=box_keys(self.world.master, POOL_ID, "commit"))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_only_an_authentic_claim_of_a_later_epoch_is_one(bench: Bench) -> None:
    assert not is_claimed_after(bench.target, EPOCH, bench.keys)
    bench.put(EPOCH - 1)
    bench.put(EPOCH)
    assert not is_claimed_after(bench.target, EPOCH, bench.keys)
    bench.put(EPOCH + 2, b"junk")
    bench.put(EPOCH + 3, bench.claim(EPOCH + 9))
    assert not is_claimed_after(bench.target, EPOCH, bench.keys)
    bench.put(EPOCH + 1)
    assert is_claimed_after(bench.target, EPOCH, bench.keys)
    assert not is_claimed_after(bench.target, EPOCH + 1, bench.keys)


def test_a_later_claim_that_cannot_be_read_is_passed_over(bench: Bench) -> None:
    bench.put(EPOCH + 1)
    bench.put(EPOCH + 2)
    bench.world.fail[0] = lambda method, name, offset: (
        Fault.IO if method == "read" and name == claim_name(EPOCH + 2) else None)
    assert is_claimed_after(bench.target, EPOCH, bench.keys)
    bench.world.fail_one(0, Fault.IO, "read")
    assert not is_claimed_after(bench.target, EPOCH, bench.keys)


def test_only_a_few_claims_are_looked_at_for_a_later_one(bench: Bench) -> None:
    """Whoever plants junk beside them hides a claim; the cost of a look is bounded."""
    bench.put(EPOCH + 1)
    for number in range(CLAIMS_LOOKED_AT_MAX - 1):
        bench.put(EPOCH + 2 + number, b"junk")
    assert is_claimed_after(bench.target, EPOCH, bench.keys)
    bench.put(EPOCH + 90, b"junk")
    assert not is_claimed_after(bench.target, EPOCH, bench.keys)


def test_files_named_like_earlier_claims_are_junk_unless_they_are_claims(bench: Bench) -> None:
    bench.put(1)
    bench.put(2, b"junk")
    bench.put(4, bench.claim(3))
    # Whoever looks at claims reads one block of it, which is in order.
    bench.put(5, bench.claim(5) + b"!")
    bench.put(6, b"cannot be read")
    bench.put(7, b"this one is ours")
    bench.put(8, b"a later one")
    bench.world.fail[0] = lambda method, name, offset: (
        Fault.IO if method == "read" and name == claim_name(6) else None)
    found = junk_claims(bench.target, 7, bench.keys)
    assert sorted(found) == sorted(claim_name(epoch) for epoch in (2, 4))


def test_of_very_many_junk_claims_the_newest_are_looked_at(bench: Bench) -> None:
    for epoch in range(1, CLAIMS_CLEANED_MAX + 6):
        bench.put(epoch, b"junk")
    found = junk_claims(bench.target, CLAIMS_CLEANED_MAX + 6, bench.keys)
    assert len(found) == CLAIMS_CLEANED_MAX and claim_name(5) not in found
    assert {claim_name(6), claim_name(CLAIMS_CLEANED_MAX + 5)} <= set(found)


def test_a_losers_claim_of_our_own_epoch_is_no_later_one(bench: Bench) -> None:
    """It keeps its target from counting for a record, and not from being mended."""
    writer = bench.writer()
    bench.put(EPOCH, bench.claim(EPOCH, b"l"))
    assert writer.later_claim(bench.target) is None
    assert isinstance(writer.check_claims(bench.target), Fenced)
    bench.put(EPOCH + 1)
    fenced = writer.later_claim(bench.target)
    assert isinstance(fenced, Fenced) and f"epoch {EPOCH + 1}" in str(fenced)


def test_a_cut_off_or_unreadable_later_claim_fences_nobody(bench: Bench) -> None:
    writer = bench.writer()
    bench.put(EPOCH + 1, b"cut off")
    assert writer.later_claim(bench.target) is None
    assert bench.world.journal.count(EventKind.RECORD_TORN) == 1
    bench.put(EPOCH + 2)
    bench.world.fail_one(0, Fault.IO, "read")
    assert writer.later_claim(bench.target) is None
    bench.world.heal()
    assert isinstance(writer.later_claim(bench.target), Fenced)


async def test_a_target_with_junk_claims_without_end_does_not_count(bench: Bench) -> None:
    """And holds nobody up: the others are a quorum, and say who missed the record."""
    writer = bench.writer()
    await writer.create_files()
    for number in range(CLAIMS_CHECKED_MAX):
        bench.put(EPOCH + 1 + number, b"junk")
    assert writer.later_claim(bench.target) is None
    bench.put(EPOCH)
    assert writer.later_claim(bench.target) is None
    with pytest.raises(TargetError) as caught:
        writer.check_claims(bench.target)
    assert caught.value.fault is Fault.UNSAFE
    await writer.append(bytes(4096))
    assert writer.missed == (bench.world.ids[0],)


async def test_who_may_have_given_back_what_is_missing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer with a later claim; for who only reads, also one that has not ended cleanly."""
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    disks = MemoryDisks()
    ground = memory_ground(tmp_path / "pool", disks)
    await ground.create()
    target: Target = disks.open(ground.paths[0])
    async with ground.open() as opening:
        volume = opening.volume
        later = Claim(volume.opened.epoch + 1, b"l" * 16, "there", "boot", 1)
        data = encode_claim(later, box_keys(volume.opened.master, volume.pool_id, "claim"),
                            bytes(32))
    async with ground.open(OpenOptions(read_only=True)) as opening:
        is_fenced = opening.volume.store.is_fenced
        assert not is_fenced(target)
        target.create(claim_name(later.epoch), data)
        assert is_fenced(target)
        target.remove(claim_name(later.epoch))
    async with ground.open_and_crash() as opening:
        await opening.shell.write(b"file", b"content" * 900)
        await opening.volume.fsync(None)
    disks.crash()
    async with ground.open(OpenOptions(read_only=True)) as opening:
        assert opening.volume.store.is_fenced(target)
        assert await opening.shell.read(b"file") == b"content" * 900
