"""Bytes on targets <-> frozen dataclasses, and nothing else.

Owns every format: byte tables in the docstrings, golden files in tests/golden, a worked example in
docs/format.md. May not read or write a target, nor decide what to do with what it decoded.
"""

from ecfs.formats.box import BoxHead, BoxKeys, BoxKind, peek_box
from ecfs.formats.claim import (
    CLAIM,
    HEARTBEAT,
    Claim,
    decode_claim,
    decode_heartbeat,
    encode_claim,
    encode_heartbeat,
)
from ecfs.formats.column import (
    HEAD_INDEX,
    KIND_CONTENT,
    KIND_METADATA,
    SEALED_HEAD_LEN,
    SHARD_MAGIC,
    ColumnHeader,
    StripeHead,
    encode_column_header,
    fitting_body_len,
    header_len,
    join_record_header,
    pack_head,
    peek_column_header,
    record_len,
    split_record_header,
    stripe_binding,
    unpack_head,
)
from ecfs.formats.commit import (
    COMMIT,
    NO_PARENT,
    ChunkPlace,
    Commit,
    MetadataStripe,
    PageDelta,
    Root,
    SegmentEntry,
    decode_commit,
    encode_commit,
    record_hash,
)
from ecfs.formats.directory import ExtentNote, decode_directory, encode_directory
from ecfs.formats.label import (
    FORMAT_VERSION,
    CheckpointPointer,
    Label,
    SignedLabel,
    TargetEntry,
    check_known,
    check_label,
    decode_label,
    encode_label,
)
from ecfs.formats.names import (
    CLAIM_PATTERN,
    COLUMN_PATTERN,
    COMMITS_PATTERN,
    HEARTBEAT_PATTERN,
    LABEL_PATTERN,
    SEGMENTS_FOLDER,
    claim_name,
    column_folder,
    column_name,
    commits_name,
    epochs_among,
    heartbeat_name,
    label_name,
    labels_among,
)
from ecfs.formats.slots import SLOT_SALT_LEN, KdfParameters, KeySlot, SlotKind

__all__ = [
    "CLAIM", "CLAIM_PATTERN", "COLUMN_PATTERN", "COMMIT", "COMMITS_PATTERN", "FORMAT_VERSION",
    "HEAD_INDEX", "HEARTBEAT", "HEARTBEAT_PATTERN", "KIND_CONTENT", "KIND_METADATA",
    "LABEL_PATTERN", "NO_PARENT", "SEALED_HEAD_LEN", "SEGMENTS_FOLDER", "SHARD_MAGIC",
    "SLOT_SALT_LEN",
    "BoxHead", "BoxKeys", "BoxKind", "CheckpointPointer", "ChunkPlace", "Claim", "ColumnHeader",
    "Commit", "ExtentNote", "KdfParameters", "KeySlot", "Label", "MetadataStripe", "PageDelta",
    "Root", "SegmentEntry", "SignedLabel", "SlotKind", "StripeHead", "TargetEntry",
    "check_known", "check_label", "claim_name",
    "column_folder", "column_name", "commits_name", "decode_claim", "decode_commit",
    "decode_directory", "decode_heartbeat", "decode_label", "encode_claim",
    "encode_column_header", "encode_commit", "encode_directory", "encode_heartbeat",
    "encode_label", "epochs_among", "fitting_body_len", "header_len", "heartbeat_name",
    "join_record_header", "label_name", "labels_among", "pack_head", "peek_box",
    "peek_column_header", "record_hash", "record_len", "split_record_header", "stripe_binding",
    "unpack_head",
]
