"""Places in record files: reading past bad sectors, what lies where a record is to go, and room
that is not needed. All of it runs in a target's lane."""

from ecfs.base.errors import Damage, Fault, TargetError
from ecfs.base.limits import COMMIT_RECORD_LEN_MAX
from ecfs.base.units import BLOCK_LEN, KIB
from ecfs.formats import (
    CLAIM_PATTERN,
    COMMIT,
    BoxKeys,
    claim_name,
    commits_name,
    decode_claim,
    decode_commit,
    epochs_among,
    peek_box,
)
from ecfs.observe import EventKind
from ecfs.targets import Target

CLAIMS_CLEANED_MAX = 64
_ZEROS = bytes(64 * KIB)


def read_past_errors(target: Target, name: str, at: int, length: int) -> bytes | None:
    """Up to `length` bytes of a record file, or just a block where one of the others cannot be
    read; None: the block at `at` itself cannot. TargetError for anything but a bad sector."""
    for wanted in (length, BLOCK_LEN):
        try:
            return target.read(name, at, wanted)
        except TargetError as error:
            if error.fault is not Fault.IO:
                raise
    return None


def bad_claim_kind(data: bytes) -> EventKind:
    """What it is called when a claim does not open: one that is cut off is what a crash leaves of a
    claim that was being made, and blames nobody."""
    return EventKind.RECORD_TORN if len(data) < BLOCK_LEN else EventKind.CLAIM_BAD


def junk_claims(target: Target, epoch: int, keys: BoxKeys) -> list[str]:
    """Files with names of claims before `epoch` that are no claims; of the newest ones only."""
    junk = []
    earlier = [one for one in epochs_among(target.list_names(), CLAIM_PATTERN) if one < epoch]
    for one in earlier[:CLAIMS_CLEANED_MAX]:
        try:
            decode_claim(target.read(claim_name(one), 0, BLOCK_LEN + 1), keys, one)
        except Damage:
            junk.append(claim_name(one))
        except TargetError:
            # It cannot be read, or is no file: left alone.
            continue
    return junk


def other_record(target: Target, epoch: int, offset: int, record: bytes, keys: BoxKeys) -> bool:
    """Whether an authentic record of this epoch lies where `record` is to go, and is another.

    Only a copy of this client can have written it: one that was restored from a snapshot of its
    memory has the same claim, so the claims do not tell. Junk there is no reason to stop.
    """
    name = commits_name(epoch)
    try:
        found = target.read(name, offset, BLOCK_LEN)
        if found == bytes(len(found)) or found == record[:BLOCK_LEN]:
            return False
        length = peek_box(COMMIT, found).length
        found += target.read(name, offset + BLOCK_LEN,
                             min(length, COMMIT_RECORD_LEN_MAX) - BLOCK_LEN)
        head, _ = decode_commit(found, keys)
    except (Damage, TargetError):
        return False
    return head.epoch == epoch


def trim(target: Target, name: str, end: int) -> None:
    """Give back what was preallocated behind `end`."""
    if target.size(name) > end:
        target.truncate(name, end)
        target.sync(name)


def punch(target: Target, name: str, length: int) -> None:
    """Give back the first bytes of a record file, which may be gone already."""
    try:
        target.punch(name, 0, length)
    except TargetError as error:
        if error.fault is not Fault.MISSING:
            raise


def next_block(window: bytes, window_at: int, inside: int) -> int:
    """The first block from `inside` on that is not all zeros, or the end of the window."""
    for length in (len(_ZEROS), BLOCK_LEN):
        # In large steps first: a preallocated file is zeros for megabytes.
        while window.startswith(_ZEROS[:length], inside):
            inside += length
    return window_at + inside
