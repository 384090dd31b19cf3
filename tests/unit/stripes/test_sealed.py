"""Stripes as bytes: sealing, every loss within the parity, every flipped bit, every swap."""

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.base.errors import Bug, Damage, Fault, TargetError, Unreadable
from ecfs.base.limits import UNIT_LEN, UNIT_LEN_MAX
from ecfs.base.rope import Rope
from ecfs.erasure import Code, Geometry
from ecfs.formats import (
    KIND_CONTENT,
    KIND_METADATA,
    SegmentEntry,
    header_len,
    split_record_header,
)
from ecfs.keys import MasterKey
from ecfs.sealing import stripe_salt
from ecfs.stripes import SealedStripe, StripeOpener, StripeRef, UnitRun, plan_stripe, seal_stripe
from ecfs.stripes.reader import Fetch, Read, Reply, StripeLost, examine_steps, read_steps
from tests.unit.stripes.simulated import POOL_ID

MASTER = MasterKey(bytes(range(32))).for_content(hashes_first=True, unit_len=UNIT_LEN)
OLDER_MASTER = MASTER.for_content(hashes_first=False, unit_len=UNIT_LEN)
LONG_MASTER = MASTER.for_content(hashes_first=True, unit_len=UNIT_LEN_MAX)
FOUR_AND_TWO = Geometry(4, 2)
CODES = {geometry: Code(geometry) for geometry in (
    Geometry(4, 2), Geometry(2, 1), Geometry(1, 2), Geometry(3, 0), Geometry(3, 3))}


class Stored:
    """A sealed stripe, its records as targets hold them, and what was sealed."""

    def __init__(self, geometry: Geometry, extents: list[bytes], *, segment: int = 5,
                 epoch: int = 2, offset: int = 4096, kind: int = KIND_CONTENT,
                 pool_id: bytes = POOL_ID, fresh: bytes = bytes(32),
                 master: MasterKey = MASTER, order: int = 9,
                 laid: Callable[[bytes], bytes | Rope] = bytes) -> None:
        self.extents, self.pool_id = extents, pool_id
        self.keys = master.segment(segment, epoch)
        self.code = CODES[geometry]
        entry = SegmentEntry(segment, epoch, geometry.data, geometry.parity,
                             tuple(bytes([i]) * 16 for i in range(geometry.shards)), 4096)
        directory = b"directory"
        self.sealed: SealedStripe = seal_stripe(
            keys=self.keys, pool_id=pool_id, segment=entry, offset=offset, kind=kind,
            extents=[laid(extent) for extent in extents], directory=directory,
            body_len=plan_stripe(geometry, [*map(len, extents), len(directory)],
                                 unit_len=self.keys.unit_len)[0],
            order=order, fresh=fresh, code=self.code)
        self.ref = self.sealed.ref
        self.records = [self.sealed.header + bytes(body) for body in self.sealed.bodies]

    @property
    def opener(self) -> StripeOpener:
        return StripeOpener(self.ref, self.keys, self.pool_id)

    def units(self, number: int) -> list[UnitRun]:
        layout = self.ref.layout(self.keys.unit_len)
        return layout.units_of(self.sealed.starts[number], len(self.extents[number]))

    def reply(self, fetch: Fetch, records: list[bytes | TargetError]) -> Reply:
        record = records[fetch.column]
        if isinstance(record, TargetError):
            return record
        begin = fetch.offset - self.ref.offset
        return record[begin : begin + fetch.length]

    def read(self, number: int, records: list[bytes | TargetError],
             usable: set[int] | None = None,
             meddle: Callable[[Fetch, Reply], Reply] = lambda fetch, reply: reply) -> Read:
        """Drive the reader over these records."""
        columns = set(range(len(records))) if usable is None else usable
        steps = read_steps(self.ref, self.opener, self.code, self.units(number),
                           frozenset(columns))
        try:
            wish = next(steps)
            while True:
                assert {fetch.column for fetch in wish.fetches} <= columns
                wish = steps.send({fetch: meddle(fetch, self.reply(fetch, records))
                                   for fetch in wish.fetches})
        except StopIteration as stop:
            assert isinstance(stop.value, Read)
            return stop.value

    def examined(self, records: list[bytes | TargetError]) -> dict[int, bytes]:
        """Bad columns and why."""
        steps = examine_steps(self.ref, self.opener, frozenset(range(len(records))))
        try:
            steps.send({fetch: self.reply(fetch, records) for fetch in next(steps).fetches})
        except StopIteration as stop:
            for column, body in stop.value.bodies.items():
                assert bytes(body) == bytes(self.sealed.bodies[column])
            assert stop.value.header == self.sealed.header
            return {fault.column: fault.reason for fault in stop.value.faults}
        raise AssertionError("examination asked twice")


def stored(geometry: Geometry = FOUR_AND_TWO, **changes: object) -> Stored:
    chance = random.Random(1)
    return Stored(geometry, [chance.randbytes(70_000), b"x", chance.randbytes(9_000)],
                  **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("geometry", list(CODES))
def test_every_loss_within_the_parity_is_read(geometry: Geometry) -> None:
    stripe = stored(geometry)
    for count in range(geometry.parity + 1):
        for lost in itertools.combinations(range(geometry.shards), count):
            gone = TargetError(Fault.IO, "gone")
            records = [gone if i in lost else record for i, record in enumerate(stripe.records)]
            kept = set(range(geometry.shards)) - set(lost)
            for number, extent in enumerate(stripe.extents):
                assert stripe.read(number, records).data == extent
                away = stripe.read(number, list(stripe.records), usable=kept)
                assert away == Read(extent)


@pytest.mark.parametrize("geometry", list(CODES))
def test_one_loss_more_is_unreadable(geometry: Geometry) -> None:
    stripe = stored(geometry)
    for lost in itertools.combinations(range(geometry.shards), geometry.parity + 1):
        usable = set(range(geometry.shards)) - set(lost)
        for number, extent in enumerate(stripe.extents):
            shards = {unit.shard for unit in stripe.units(number)}
            if shards <= usable:
                assert stripe.read(number, list(stripe.records), usable=usable).data == extent
            else:
                with pytest.raises(Unreadable):
                    stripe.read(number, list(stripe.records), usable=usable)


def cut_at(cuts: list[int]) -> Callable[[bytes], Rope]:
    """Lays an extent out in parts that end at these places, as far as it has them."""
    def laid(extent: bytes) -> Rope:
        ends = [*sorted(min(cut, len(extent)) for cut in cuts), len(extent)]
        return Rope([memoryview(extent)[low:high]
                     for low, high in zip([0, *ends], ends, strict=False)])
    return laid


CUTS = st.lists(st.integers(0, 70_000)
                | st.integers(0, 4).map(lambda count: count * UNIT_LEN), max_size=6)


@settings(max_examples=60, deadline=None)
@given(CUTS, st.sampled_from(list(CODES)), st.sampled_from([MASTER, OLDER_MASTER, LONG_MASTER]))
def test_extents_in_parts_are_read_as_those_in_one(cuts: list[int], geometry: Geometry,
                                                   master: MasterKey) -> None:
    stripe = stored(geometry, master=master, laid=cut_at(cuts))
    for number, extent in enumerate(stripe.extents):
        assert stripe.read(number, list(stripe.records)) == Read(extent)
    assert stripe.examined(list(stripe.records)) == {}


@pytest.mark.parametrize("master", [MASTER, OLDER_MASTER])
def test_no_part_of_an_extent_may_change_and_the_salt_stay(master: MasterKey) -> None:
    content = random.Random(3).randbytes(50_000)
    salts = set()
    for at in (0, 16_384, 20_000, 49_999):
        other = bytearray(content)
        other[at] ^= 1
        for extents in ([bytes(other)], [bytes(other[:30_000]), bytes(other[30_000:])]):
            salts.add(Stored(FOUR_AND_TWO, extents, master=master,
                             laid=cut_at([16_384, 32_768])).ref.salt)
    assert len(salts) == 8


def test_a_part_does_not_pass_for_one_of_the_next_extent() -> None:
    one, two, three = (random.Random(number).randbytes(UNIT_LEN) for number in range(3))

    def laid(extent: bytes) -> Rope:
        return Rope(extent[at : at + UNIT_LEN] for at in range(0, len(extent), UNIT_LEN))

    first = Stored(Geometry(1, 2), [one + two, three], laid=laid)
    second = Stored(Geometry(1, 2), [one, two + three], laid=laid)
    assert first.opener.head(first.sealed.header) == second.opener.head(second.sealed.header)
    assert first.ref.salt != second.ref.salt


def positions(stripe: Stored) -> list[int]:
    """Bits of every region: magic, sealed head, salt, each tag, body, AEAD tags, padding."""
    head, total = stripe.ref.head_len, stripe.ref.record_len
    chance = random.Random(3)
    edges = [0, 7, 8, 55, 56, 71, 72, 103, *range(104, head, 13), head - 1, head, head + 1,
             head + 4000, total - 1, total - 2, total - 17]
    return [8 * at + chance.randrange(8) for at in edges] + [
        chance.randrange(8 * total) for _ in range(60)]


def flipped(record: bytes, bit: int) -> bytes:
    changed = bytearray(record)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_flipped_bit_is_found_and_the_data_is_right() -> None:
    stripe = stored()
    for column in range(6):
        for bit in positions(stripe):
            records: list[bytes | TargetError] = list(stripe.records)
            records[column] = flipped(stripe.records[column], bit)
            assert list(stripe.examined(records)) == [column]
            for number, extent in enumerate(stripe.extents):
                read = stripe.read(number, records)
                assert read.data == extent
                assert {fault.column for fault in read.faults} <= {column}


def test_every_byte_of_a_small_record_matters() -> None:
    stripe = Stored(Geometry(2, 1), [b"tiny"])
    for at in range(stripe.ref.record_len):
        records: list[bytes | TargetError] = list(stripe.records)
        records[1] = flipped(stripe.records[1], 8 * at + at % 8)
        assert list(stripe.examined(records)) == [1], at


def test_header_of_another_column_is_never_needed() -> None:
    """With all headers but one spoilt, the bodies are still good."""
    stripe = stored()
    for survivor in range(6):
        records: list[bytes | TargetError] = [
            record if i == survivor else flipped(record, 8 * (8 + i))
            for i, record in enumerate(stripe.records)]
        assert sorted(stripe.examined(records)) == [i for i in range(6) if i != survivor]


SWAPS: dict[str, dict[str, Any]] = {
    "segment": {"segment": 6}, "epoch": {"epoch": 3}, "offset": {"offset": 8192},
    "kind": {"kind": KIND_METADATA}, "pool": {"pool_id": bytes(16)}, "salt": {"fresh": b"1" * 32},
}


@pytest.mark.parametrize("what", SWAPS)
def test_shards_of_another_stripe_are_refused(what: str) -> None:
    """The same plaintext, sealed for another place: every shard of it is a fault here."""
    stripe, other = stored(), stored(**SWAPS[what])
    records: list[bytes | TargetError] = [other.records[0], other.records[1],
                                          *stripe.records[2:]]
    assert sorted(stripe.examined(records)) == [0, 1]
    assert stripe.read(0, records).data == stripe.extents[0]
    with pytest.raises(Unreadable):
        stripe.read(0, list(other.records))


def test_exchanged_columns_are_refused() -> None:
    stripe = stored()
    records: list[bytes | TargetError] = list(stripe.records)
    records[0], records[1] = records[1], records[0]
    assert sorted(stripe.examined(records)) == [0, 1]
    for number, extent in enumerate(stripe.extents):
        assert stripe.read(number, records).data == extent


def test_an_older_version_with_good_tags_is_refused() -> None:
    """A stripe that was never committed at the same address, by the same writer."""
    stripe, twin = stored(), Stored(Geometry(4, 2), [b"twin" * 17_500, b"y", bytes(9_000)])
    assert twin.ref.body_len == stripe.ref.body_len
    with pytest.raises(Unreadable):
        stripe.read(0, list(twin.records))
    for column in range(6):
        records: list[bytes | TargetError] = list(stripe.records)
        records[column] = twin.records[column]
        assert list(stripe.examined(records)) == [column]


def test_a_reference_with_a_wrong_digest_or_salt_opens_nothing() -> None:
    stripe = stored()
    for change in ({"digest": bytes(32)}, {"salt": bytes(32)}):
        ref: StripeRef = replace(stripe.ref, **change)  # type: ignore[arg-type]
        opener = StripeOpener(ref, stripe.keys, POOL_ID)
        with pytest.raises(Damage):
            opener.checked_header(stripe.records[0])


def test_an_older_pools_stripes_are_told_from_those_that_are_hashed_first() -> None:
    """Bodies of the one have no good tags by the keys of the other, though all units open."""
    for own, other in ((MASTER, OLDER_MASTER), (OLDER_MASTER, MASTER)):
        stripe = stored(master=own)
        assert stripe.examined(list(stripe.records)) == {}
        for number, extent in enumerate(stripe.extents):
            assert stripe.read(number, list(stripe.records)).data == extent
        stripe.keys = other.segment(5, 2)
        with pytest.raises(StripeLost):
            stripe.examined(list(stripe.records))
    assert stored().ref.salt != stored(master=OLDER_MASTER).ref.salt


@pytest.mark.parametrize("master", [MASTER, OLDER_MASTER])
def test_a_flipped_bit_of_any_body_is_found_by_its_tag(master: MasterKey) -> None:
    stripe = stored(master=master)
    for column in range(6):
        for bit in (8 * stripe.ref.head_len, 8 * stripe.ref.head_len + 77_777,
                    8 * stripe.ref.record_len - 1):
            records: list[bytes | TargetError] = list(stripe.records)
            records[column] = flipped(stripe.records[column], bit)
            assert list(stripe.examined(records)) == [column]


def test_the_same_fresh_bytes_and_other_content_give_another_salt() -> None:
    """As when a machine is restored from a snapshot of its memory."""
    for master in (MASTER, OLDER_MASTER):
        salts = {Stored(FOUR_AND_TWO, extents, master=master).ref.salt for extents in (
            [b"one", b"two"], [b"two", b"one"], [b"onetwo"], [b"one", b"two", b""],
            [b"one", b"twp"], [b"one" + bytes(1), b"two"])}
        assert len(salts) == 6


def test_the_same_stripe_again_is_the_same_bytes_and_other_entropy_is_not() -> None:
    assert stored().records == stored().records
    other = stored(fresh=b"2" * 32)
    assert all(a != b for a, b in zip(other.records, stored().records, strict=True))
    assert other.ref.salt != stored().ref.salt


@pytest.mark.parametrize("geometry", list(CODES))
def test_what_a_buffer_held_before_is_in_no_stripe_and_in_no_answer(
        geometry: Geometry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers are not zeroed: all of each is written, gaps between units with zeros."""
    records, answers = [], []
    for filled in (b"\0", b"\xAA"):
        def buffer(length: int, filled: bytes = filled) -> bytearray:
            return bytearray(filled * length)

        for module in ("stripes.sealed", "stripes.reader", "erasure.code"):
            monkeypatch.setattr(f"ecfs.{module}.unwritten", buffer)
        stripe = stored(geometry)
        records.append(stripe.records)
        gone: list[bytes | TargetError] = [TargetError(Fault.IO, "gone")] * geometry.parity
        answers.append([bytes(stripe.read(number, gone + list(stripe.records[geometry.parity:]))
                              .data) for number in range(len(stripe.extents))])
    assert records[0] == records[1]
    assert answers[0] == answers[1] == stripe.extents


def test_nothing_of_the_plaintext_shows() -> None:
    text = b"a secret that repeats " * 3000
    stripe = Stored(Geometry(2, 1), [text])
    for record in stripe.records:
        assert b"secret" not in record and b"directory" not in record


STRIPE = stored()
GONE = TargetError(Fault.TIMEOUT, "late")
BAD = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 8 * STRIPE.ref.record_len - 1)),
    st.tuples(st.just("zeros"), st.just(0)), st.tuples(st.just("cut"), st.integers(0, 9000)),
    st.tuples(st.just("longer"), st.integers(1, 50)), st.tuples(st.just("error"), st.just(0)),
    st.tuples(st.just("other"), st.integers(0, 5)), st.tuples(st.just("empty"), st.just(0)))


def spoilt(reply: Reply, how: tuple[str, int], fetch: Fetch) -> Reply:
    what, number = how
    if isinstance(reply, TargetError) or what == "error":
        return GONE
    reply = bytes(reply)
    if what == "flip":
        return flipped(reply, number % (8 * len(reply)))
    if what == "other":
        begin = fetch.offset - STRIPE.ref.offset
        return STRIPE.records[number][begin : begin + fetch.length]
    return {"zeros": bytes(len(reply)), "cut": reply[: number % len(reply)],
            "longer": reply + bytes(number), "empty": b""}[what]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2), st.lists(st.tuples(st.integers(0, 20), BAD), max_size=12),
       st.sets(st.integers(0, 5), min_size=2))
def test_any_replies_give_right_bytes_or_unreadable(
        number: int, plan: list[tuple[int, tuple[str, int]]], usable: set[int]) -> None:
    """An arbitrary subset of replies is replaced, differently each time a column is asked."""
    chosen = dict(plan)
    asked = itertools.count()

    def meddle(fetch: Fetch, reply: Reply) -> Reply:
        how = chosen.get(next(asked))
        return reply if how is None else spoilt(reply, how, fetch)

    try:
        read = STRIPE.read(number, list(STRIPE.records), usable, meddle)
    except Unreadable:
        assert chosen or len(usable) < 4
        return
    assert read.data == STRIPE.extents[number]
    assert {fault.column for fault in read.faults} <= usable


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2), st.dictionaries(st.integers(0, 5), BAD, max_size=2),
       st.booleans())
def test_two_liars_and_nobody_else_never_stop_a_read(
        number: int, liars: dict[int, tuple[str, int]], sometimes: bool) -> None:
    """d + b <= m: whatever two columns answer, the bytes are right and nobody else is blamed."""
    turn = itertools.count()

    def meddle(fetch: Fetch, reply: Reply) -> Reply:
        how = liars.get(fetch.column)
        if how is None or (sometimes and next(turn) % 2):
            return reply
        return spoilt(reply, how, fetch)

    read = STRIPE.read(number, list(STRIPE.records), meddle=meddle)
    assert read.data == STRIPE.extents[number]
    assert {fault.column for fault in read.faults} <= set(liars)


def test_no_two_shards_share_a_tag_though_they_hold_the_same() -> None:
    """A tiny stripe: three bodies hold nothing but zeros. Their tags say whose they are, not what
    is in them."""
    stripe = Stored(FOUR_AND_TWO, [b"tiny"])
    bodies = {bytes(body) for body in stripe.sealed.bodies[:4]}
    _, _, tags = split_record_header(stripe.sealed.header, 6)
    assert len(bodies) < 4 and len(set(tags)) == 6


def test_a_record_that_is_cut_off_is_said_to_be() -> None:
    stripe = stored()
    for length in (0, stripe.ref.head_len, stripe.ref.record_len - 1):
        with pytest.raises(Damage, match="cut off"):
            stripe.opener.checked_body(0, stripe.records[0][:length], stripe.sealed.header)


@pytest.mark.parametrize("missing_len", [1, 100])
def test_a_column_that_ends_within_a_shard_lacks_it(missing_len: int) -> None:
    """It is absent and not wrong: whoever was away while it was written is excused for that."""
    stripe = stored()
    records: list[bytes | TargetError] = list(stripe.records)
    records[2] = stripe.records[2][:-missing_len]
    steps = examine_steps(stripe.ref, stripe.opener, frozenset(range(len(records))))
    fetches = next(steps).fetches
    with pytest.raises(StopIteration) as ended:
        steps.send({fetch: stripe.reply(fetch, records) for fetch in fetches})
    assert [(fault.column, fault.missing) for fault in ended.value.value.faults] == [(2, True)]


def test_header_len_is_the_same_in_all_columns() -> None:
    assert {record[: header_len(6)] for record in STRIPE.records} == {STRIPE.sealed.header}


@pytest.mark.parametrize("master", [MASTER, OLDER_MASTER])
def test_no_key_and_nonce_seal_two_heads(master: MasterKey) -> None:
    """A copy of this client, restored from a snapshot, has the same random bytes, content and
    address, and took an order in between."""
    heads: dict[bytes, bytes] = {}
    for order in (9, 10):
        header = Stored(FOUR_AND_TWO, [b"the same"], master=master, order=order).sealed.header
        sealed_head, salt, _ = split_record_header(header, 6)
        assert heads.setdefault(salt, sealed_head) == sealed_head
    assert len(heads) == 2


@pytest.mark.parametrize("master", [MASTER, OLDER_MASTER])
def test_stripes_in_whose_salt_the_head_took_no_part_open(
        master: MasterKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in pools of before."""
    def without_head(key: bytes, *, parts: list[bytes], **kept: Any) -> bytes:
        return stripe_salt(key, parts=parts[:-1], **kept)

    monkeypatch.setattr("ecfs.stripes.sealed.stripe_salt", without_head)
    stored = Stored(FOUR_AND_TWO, [b"as before"], master=master)
    assert stored.opener.head(stored.records[3]).order == 9
    assert bytes(stored.read(0, [*stored.records]).data) == b"as before"


def test_a_reader_that_is_given_nothing_though_it_waits_is_a_bug() -> None:
    stripe = stored()
    steps = examine_steps(stripe.ref, StripeOpener(stripe.ref, stripe.keys, POOL_ID),
                          frozenset(range(6)))
    assert next(steps).patient
    with pytest.raises(Bug, match="a patient wish"):
        steps.send({})
