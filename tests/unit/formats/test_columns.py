"""Column headers, shard records, stripe heads, directories, names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecfs.base.errors import Damage
from ecfs.base.limits import COLUMN_HEADER_LEN, EXTENTS_PER_STRIPE_MAX, SHARDS_MAX
from ecfs.base.units import BLOCK_LEN, MIB
from ecfs.formats import (
    CLAIM_PATTERN,
    COLUMN_PATTERN,
    COMMITS_PATTERN,
    HEARTBEAT_PATTERN,
    POSITION_MAX,
    SEALED_HEAD_LEN,
    ColumnHeader,
    ExtentNote,
    StripeHead,
    claim_name,
    column_folder,
    column_name,
    commits_name,
    decode_directory,
    directory_len_max,
    encode_column_header,
    encode_directory,
    epochs_among,
    header_len,
    heartbeat_name,
    join_record_header,
    label_name,
    labels_among,
    pack_head,
    peek_column_header,
    record_len,
    split_record_header,
    stripe_binding,
    unpack_head,
)
from ecfs.targets import check_name
from tests.unit.formats.values import HASH, HEADERS, HEADS, NOTES, U64


@given(HEADERS)
def test_column_headers(header: ColumnHeader) -> None:
    data = encode_column_header(header, lambda fields: b"m" * 32)
    assert len(data) == COLUMN_HEADER_LEN and data[64:96] == b"m" * 32
    assert not any(data[96:])
    assert peek_column_header(data) == header


@given(st.binary(max_size=200))
def test_no_column_header(data: bytes) -> None:
    with pytest.raises(Damage):
        peek_column_header(data)
    with pytest.raises(Damage):
        peek_column_header(b"ECFSCOL1\0\2" + data.ljust(80, b"\0"))


@given(HEADS)
def test_heads(head: StripeHead) -> None:
    plain = pack_head(head)
    assert len(plain) == 48 and unpack_head(plain) == head


@given(st.binary(max_size=60))
def test_garbage_heads(plain: bytes) -> None:
    try:
        head = unpack_head(plain)
    except Damage:
        return
    assert len(plain) == 48 and head.extents_count <= EXTENTS_PER_STRIPE_MAX


@given(st.binary(min_size=SEALED_HEAD_LEN, max_size=SEALED_HEAD_LEN), HASH,
       st.lists(HASH, min_size=1, max_size=SHARDS_MAX), st.binary(max_size=20))
def test_record_headers(sealed: bytes, salt: bytes, tags: list[bytes], body: bytes) -> None:
    header = join_record_header(sealed, salt, tags)
    assert len(header) == header_len(len(tags)) == record_len(0, len(tags))
    assert split_record_header(header + body, len(tags)) == (sealed, salt, tags)
    with pytest.raises(Damage):
        split_record_header(header[:-1], len(tags))
    with pytest.raises(Damage):
        split_record_header(b"\0" + header[1:], len(tags))


@given(st.lists(NOTES, max_size=8))
def test_directories(notes: list[ExtentNote]) -> None:
    assert decode_directory(encode_directory(notes)) == notes


PLACES = st.tuples(st.integers(0, POSITION_MAX), st.integers(0, 2 * MIB), st.integers(0, 1 << 50))


@given(NOTES, st.lists(PLACES, min_size=1, max_size=30))
def test_what_a_directory_takes_is_known_before_its_positions_are(
        note: ExtentNote, places: list[tuple[int, int, int]]) -> None:
    notes = [note.of_place(*place) for place in places]
    assert notes == [note._replace(start=start, length=length, offset=offset)
                     for start, length, offset in places]
    longest, farthest = max(place[1] for place in places), max(place[2] for place in places)
    most = note.of_place(POSITION_MAX, longest, farthest).packed_len
    length = len(encode_directory(notes))
    assert length <= directory_len_max(most for _ in places)
    assert directory_len_max(one.packed_len for one in notes) - length <= 4


def test_a_directory_of_the_largest_stripe() -> None:
    notes = [ExtentNote(i, i, i, i, i, i, bytes(100), i, i) for i in range(EXTENTS_PER_STRIPE_MAX)]
    assert decode_directory(encode_directory(notes)) == notes
    with pytest.raises(Damage):
        decode_directory(encode_directory([*notes, notes[0]]))


@given(st.binary(max_size=120))
def test_garbage_directories(data: bytes) -> None:
    try:
        notes = decode_directory(data)
    except Damage:
        return
    assert all(isinstance(note, ExtentNote) for note in notes)


BINDINGS = st.tuples(st.binary(min_size=16, max_size=16), U64, U64, U64, *[
    st.integers(0, 255)] * 3)


@given(BINDINGS, BINDINGS)
def test_bindings_are_injective(one: tuple[bytes, ...], other: tuple[bytes, ...]) -> None:
    def bound(parts: tuple[bytes, ...]) -> bytes:
        names = ("pool_id", "epoch", "segment", "offset", "data", "parity", "kind")
        return stripe_binding(**dict(zip(names, parts, strict=True)))  # type: ignore[arg-type]

    assert (bound(one) == bound(other)) == (one == other)


@given(U64, U64)
def test_names_of_files(epoch: int, number: int) -> None:
    assert COLUMN_PATTERN.fullmatch(column_name(epoch, number).rpartition("/")[2])
    assert column_name(epoch, number).startswith(column_folder(number) + "/")
    for name in (label_name(epoch, number), claim_name(epoch), heartbeat_name(epoch),
                 commits_name(epoch), column_name(epoch, number)):
        assert check_name(name) == name
    names = [label_name(epoch, number), claim_name(epoch), commits_name(epoch), "junk",
             label_name(epoch, number) + ".tmp", "label.1.2", heartbeat_name(epoch)]
    assert labels_among(names) == [(epoch, number, names[0])]
    for pattern in (CLAIM_PATTERN, COMMITS_PATTERN, HEARTBEAT_PATTERN):
        assert epochs_among(names, pattern) == [epoch]


@given(st.lists(st.tuples(U64, U64), max_size=6, unique=True))
def test_the_newest_label_comes_first(pairs: list[tuple[int, int]]) -> None:
    found = labels_among(label_name(*pair) for pair in pairs)
    assert [pair[:2] for pair in found] == sorted(pairs, reverse=True)


def test_upper_case_and_other_digits_are_not_ours() -> None:
    for name in ("claim.000000000000000A", "claim." + "\u0660" * 16, "claim.0000000000000001\n",
                 "claim.00000000000000001", "CLAIM.0000000000000001"):
        assert epochs_among([name], CLAIM_PATTERN) == []


def test_lengths_are_whole_blocks() -> None:
    assert COLUMN_HEADER_LEN == BLOCK_LEN
