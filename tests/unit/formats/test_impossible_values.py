"""What is authentic and still cannot be: refused as Damage. Only our own bug could have sealed it.
"""

from dataclasses import replace

import msgpack
import pytest

from ecfs.base.errors import Damage
from ecfs.base.limits import (
    COLUMN_LEN_MAX,
    COMMIT_PADDING_LENS,
    EXTENTS_PER_STRIPE_MAX,
    LABEL_LEN_MAX,
    SHARDS_MAX,
)
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import (
    COMMIT,
    Commit,
    Label,
    PageDelta,
    StripeHead,
    TargetEntry,
    decode_commit,
    decode_directory,
    decode_label,
    encode_commit,
    encode_label,
    folders_among,
    unpack_head,
)
from ecfs.formats.box import FORMAT_VERSION, HEADER, TAG_LEN, _sealer, open_box, seal_box
from ecfs.formats.column import pack_head
from ecfs.formats.envelope import unwrap_corrected, unwrap_fast, wrap
from ecfs.formats.packing import Fields, pack, unpack
from tests.unit.formats.values import KEYS, mac

ROOT = {
    "base_seq": 1, "base_hash": bytes(32), "page_count": 1, "chunks": [], "stripes": [],
    "segments": [], "next_segment": 1, "next_stripe": 1, "next_order": 1, "version": 1,
    "incompatible": 0, "read_only_compatible": 0, "data": 1, "parity": 1, "liars": 0,
    "members": [], "targets": [], "slots_generation": 1}
COMMITTED = {
    "parent": bytes(32), "writer": bytes(16), "time_ns": 1, "generation": 1, "page_count": 1,
    "pages": [], "missed": [], "more": False, "clean": False, "checkpoint": None,
    "host": "here", "audit": None}
ID = b"sixteen byte id."
STRIPE = [1, 2, 4096, 3000, bytes(32), bytes(32)]
SEGMENT = [1, 2, 1, 1, [ID, ID[::-1]], 8192]


def box_around(plain: bytes) -> bytes:
    """An authentic box whose inside is exactly this."""
    length = HEADER.size + len(plain) + TAG_LEN
    assert length % BLOCK_LEN == 0
    head = HEADER.pack(COMMIT.magic, FORMAT_VERSION, 0, length, 1, 1, bytes(32))
    return head + _sealer(COMMIT, KEYS, bytes(32)).seal(0, KEYS.pool_id + head, plain)

WRITE = [5, 4096, 1, None, b"data"]


def record(**changes: object) -> bytes:
    return seal_box(COMMIT, KEYS, epoch=1, seq=1, payload=msgpack.packb(COMMITTED | changes),
                    fresh=bytes(32))


@pytest.mark.parametrize("length", [4013, 1 << 31, (1 << 32) - 1])
def test_a_payload_longer_than_its_box(length: int) -> None:
    plain = length.to_bytes(4, "big") + b"p" * 4012
    with pytest.raises(Damage, match="impossible lengths"):
        open_box(COMMIT, KEYS, box_around(plain))


def test_padding_is_zeros() -> None:
    """Else two different boxes would mean the same record."""
    good = (7).to_bytes(4, "big") + b"payload".ljust(4012, b"\0")
    assert open_box(COMMIT, KEYS, box_around(good))[1] == b"payload"
    with pytest.raises(Damage, match="impossible lengths"):
        open_box(COMMIT, KEYS, box_around(good[:-1] + b"\1"))


def test_a_record_tells_only_which_of_a_few_lengths_it_has() -> None:
    """What a target sees of a commit is its padded size (invariant I1)."""
    for length in (0, 3000, 4096, 10_000, 40_000, 200_000, 300_000):
        pages = (PageDelta(1, False, bytes(length)),)
        data = encode_commit(Commit(1, 1, bytes(32), bytes(16), 1, 1, 1, pages), KEYS, bytes(32))
        assert len(data) in COMMIT_PADDING_LENS


@pytest.mark.parametrize("row", [
    None, [], STRIPE[:5], [*STRIPE, 1], [*STRIPE[:4], bytes(31), bytes(32)],
    [*STRIPE[:5], bytes(33)], [*STRIPE[:4], 5, bytes(32)], [-1, *STRIPE[1:]],
    [True, *STRIPE[1:]], ["1", *STRIPE[1:]], [1, 2, 4096, 0, *STRIPE[4:]],
    [1, 2, COLUMN_LEN_MAX, 1, *STRIPE[4:]],
])
def test_malformed_stripes_of_a_checkpoint(row: object) -> None:
    assert decode_commit(record(checkpoint=ROOT | {"stripes": [STRIPE]}), KEYS)[1].root is not None
    with pytest.raises(Damage):
        decode_commit(record(checkpoint=ROOT | {"stripes": [STRIPE, row]}), KEYS)


@pytest.mark.parametrize("changes", [
    {"writes": {}}, {"writes": [None]}, {"writes": [[]]}, {"writes": [WRITE[:4]]},
    {"writes": [[*WRITE, 1]]}, {"writes": [[0, *WRITE[1:]]]}, {"writes": [[True, *WRITE[1:]]]},
    {"writes": [[5, -1, *WRITE[2:]]]}, {"writes": [[5, 0, "", *WRITE[3:]]]},
    {"writes": [[5, 0, False, *WRITE[3:]]]}, {"writes": [[5, 0, 1, -1, b"data"]]},
    {"writes": [[*WRITE[:4], b""]]}, {"writes": [[*WRITE[:4], "data"]]},
    {"writes": [[5, (1 << 63) - 4, *WRITE[2:]]]}, {"writes": [WRITE] * 257}, {"entered": 1},
    {"writes": [WRITE], "orders": []}, {"writes": [WRITE], "orders": [1, 2]},
    {"writes": [WRITE], "orders": [-1]}, {"writes": [WRITE], "orders": [True]},
    {"writes": [WRITE], "orders": {}}, {"writes": [WRITE], "orders": ["1"]},
])
def test_malformed_writes_of_a_commit(changes: dict[str, object]) -> None:
    fitting = [WRITE, [5, (1 << 63) - 5, None, None, b"data"]] + [WRITE] * 254
    commit = decode_commit(record(writes=fitting, entered=True), KEYS)[1]
    assert len(commit.writes) == 256 and commit.entered
    assert decode_commit(record(writes=None, entered=False), KEYS)[1].writes == ()
    with pytest.raises(Damage):
        decode_commit(record(**changes), KEYS)


@pytest.mark.parametrize("row", [
    None, [], SEGMENT[:5], [*SEGMENT, 1], [*SEGMENT[:4], ID, 8192], [*SEGMENT[:5], -1],
    [1, 2, 0, 2, [ID, ID[::-1]], 8192], [1, 2, 2, 1, [ID, ID[::-1]], 8192],
    [1, 2, 1, 0, [ID, ID[::-1]], 8192], [1, 2, 1, 1, [ID, ID[:15]], 8192],
    [1, 2, SHARDS_MAX, 1, [ID] * (SHARDS_MAX + 1), 8192],
])
def test_malformed_segments_of_a_checkpoint(row: object) -> None:
    assert decode_commit(record(checkpoint=ROOT | {"segments": [SEGMENT]}), KEYS)[1].root
    with pytest.raises(Damage):
        decode_commit(record(checkpoint=ROOT | {"segments": [row]}), KEYS)


@pytest.mark.parametrize("row", [
    None, [], [1, True], [0, True, b""], [-1, True, b""], [True, True, b""], [1, 1, b""],
    [1, True, "text"], [1, True, b"", 1],
])
def test_malformed_pages(row: object) -> None:
    assert decode_commit(record(pages=[[1, True, b""]]), KEYS)[1].pages
    with pytest.raises(Damage):
        decode_commit(record(pages=[row]), KEYS)


def test_numbers_are_no_flags_and_flags_no_numbers() -> None:
    assert decode_commit(record(), KEYS)[1].generation == 1
    for changes in ({"more": 1}, {"generation": True}, {"page_count": -1}, {"clean": None}):
        with pytest.raises(Damage):
            decode_commit(record(**changes), KEYS)


@pytest.mark.parametrize("head", [
    [], [bytes(16), 1], [bytes(16), 1, bytes(32), 1], [bytes(15), 1, bytes(32)],
    [bytes(16), 0, bytes(32)], [bytes(16), 1 << 63, bytes(32)],
    [bytes(16), 1, bytes(31)], [bytes(16), -1, bytes(32)], [bytes(16), True, bytes(32)],
    ["log", 1, bytes(32)], [bytes(16), "1", bytes(32)], [bytes(16), 1, None],
])
def test_malformed_heads_of_an_audit_log(head: object) -> None:
    good = decode_commit(record(audit=[bytes(16), 7, bytes(32)]), KEYS)[1].audit
    assert good is not None and good.count == 7
    with pytest.raises(Damage):
        decode_commit(record(audit=head), KEYS)


@pytest.mark.parametrize("head", [
    StripeHead(1, COLUMN_LEN_MAX + 1, 0, 1, 0, 0),
    StripeHead(1, 4096, 0, EXTENTS_PER_STRIPE_MAX + 1, 0, 0),
])
def test_stripe_heads_past_the_limits(head: StripeHead) -> None:
    with pytest.raises(Damage, match="impossible"):
        unpack_head(pack_head(head))


def test_a_stripe_head_of_another_version() -> None:
    good = pack_head(StripeHead(1, 4096, 0, 1, 0, 0))
    assert unpack_head(good).body_len == 4096
    with pytest.raises(Damage, match="impossible"):
        unpack_head(good[:1] + b"\2" + good[2:])


@pytest.mark.parametrize("row", [
    1, [], [1] * 9, [1] * 11, [1, 1, 1, 1, 1, 1, "name", 1, 1, 1],
    [1, 1, 1, 1, 1, 1, b"", 1, 1, b""],
])
def test_malformed_notes_of_a_directory(row: object) -> None:
    good = [1, 1, 1, 1, 1, 1, b"name", 1, 1, 1]
    assert len(decode_directory(pack([good]))) == 1
    with pytest.raises(Damage, match="malformed entry"):
        decode_directory(pack([good, row]))


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5, 7, 9])
def test_impossible_numbers_of_a_directory(at: int) -> None:
    good = [1, 1, 1, 1, 1, 1, b"name", 1, -1, 1]
    assert decode_directory(pack([good]))[0].mtime_ns == -1
    for number in (-1, 1 << 63):
        with pytest.raises(Damage, match="impossible number"):
            decode_directory(pack([[*good[:at], number, *good[at + 1 :]]]))


def test_a_directory_is_a_list() -> None:
    with pytest.raises(Damage, match="not a list"):
        decode_directory(pack({"a": 1}))


def test_members_of_a_label_are_targets_each_once() -> None:
    one, two = TargetEntry(ID, "t0", "/t0"), TargetEntry(ID[::-1], "t1", "/t1")
    label = Label(
        pool_id=ID, target_id=ID, epoch=1, generation=1, data=1, parity=1, liars=0,
        members=(ID, ID[::-1]), targets=(one, two), slots=(), slots_generation=1,
        commitment=bytes(32), checkpoint=None)
    assert decode_label(encode_label(label, mac)).label == label
    for changes in ({"members": (ID, b"somebody else 16")}, {"members": (ID, ID)},
                    {"targets": (one, two, one)}):
        with pytest.raises(Damage, match="members that are no targets, or one twice"):
            decode_label(encode_label(replace(label, **changes), mac))


def test_a_label_file_past_the_limit_is_not_decoded() -> None:
    good = wrap(b"payload")
    assert unwrap_fast(good).startswith(b"payload")
    for length in (0, len(good) - 4096, len(good) + 1, LABEL_LEN_MAX + 4096, 1 << 22):
        for unwrap in (unwrap_fast, unwrap_corrected):
            with pytest.raises(Damage, match="cannot be"):
                unwrap(good.ljust(length, b"\0")[:length])


def test_lists_are_counted_before_they_are_made() -> None:
    assert unpack(pack([0] * 256), items_max=256) == [0] * 256
    for value in ([0] * 257, [[0] * 257], {"a": [0] * 257}):
        with pytest.raises(Damage, match="not a well-formed record"):
            unpack(pack(value), items_max=256)


def test_text_is_text() -> None:
    assert Fields({"host": "here"}, "claim").text("host") == "here"
    for value in (b"bytes", 5, None, ["here"]):
        with pytest.raises(Damage, match="host is not text"):
            Fields({"host": value}, "claim").text("host")


def test_only_folders_of_columns_are_looked_into() -> None:
    odd = ["0", "000", "0g", "AA", ".a", "a ", "label", "..", "\uff41\uff41"]
    assert folders_among(["00", *odd, "ff", "3c"]) == ["00", "ff", "3c"]
