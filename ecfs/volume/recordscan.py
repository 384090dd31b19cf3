"""What looks like a commit record in one member's files. All of it runs in the target's lane.

Nothing is opened here: what a header says is anybody's word. So a box does not hide what lies in
it: where another header stands at a block of it, the search goes on there. Ciphertext looks like a
header once in 2^64 blocks; what it mostly means is that the length of the outer one has rotted, and
leads past the records behind it.
"""

from dataclasses import dataclass, field

from ecfs.base.errors import Damage, Fault, TargetError
from ecfs.base.limits import LOG_READ_EPOCHS_MAX, LOG_READ_LEN_MAX
from ecfs.base.units import BLOCK_LEN, MIB
from ecfs.formats import COMMIT, COMMITS_PATTERN, commits_name, epochs_among, peek_box, record_hash
from ecfs.targets import Target
from ecfs.volume.recordfiles import next_block, read_past_errors

SCAN_CHUNK_LEN = 4 * MIB
SCAN_KEPT_LEN_MAX = 128 * MIB
UNREADABLE_BLOCKS_MAX = 256

_ZEROS = bytes(BLOCK_LEN)


@dataclass(frozen=True, slots=True)
class Box:
    """Something that looks like a record. `data` is kept for one member only, to bound memory."""

    epoch: int
    offset: int
    length: int
    hash: bytes
    data: bytes | None


@dataclass(slots=True)
class Scan:
    """Raw result of one member: what looks like records, and (epoch, offset) of what is bad.
    `is_cut`: there is more than is read; what was found is then not what the member holds."""

    boxes: list[Box] = field(default_factory=list)
    bad: list[tuple[int, int]] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    kept_len: int = 0
    is_cut: bool = False

    def take(self, epoch: int, offset: int, data: bytes, *, keep: bool) -> None:
        """Note what looks like a record; past SCAN_KEPT_LEN_MAX it is to be read again."""
        kept = data if keep and self.kept_len + len(data) <= SCAN_KEPT_LEN_MAX else None
        self.kept_len += 0 if kept is None else len(kept)
        self.boxes.append(Box(epoch, offset, len(data), record_hash(data), kept))


def scan_member(target: Target, epoch: int, offset: int, keep: bool) -> Scan:
    """From `offset` of `commits.<epoch>` on, and all later epochs. Bounded by `LOG_READ_LEN_MAX`
    over all files. `keep`: the boxes' bytes too."""
    scan = Scan()
    scan.epochs = epochs_among(target.list_names(), COMMITS_PATTERN)
    budget = LOG_READ_LEN_MAX
    wanted = sorted(found for found in scan.epochs if found >= epoch)
    scan.is_cut = len(wanted) > LOG_READ_EPOCHS_MAX
    for found in wanted[:LOG_READ_EPOCHS_MAX]:
        start = offset if found == epoch else 0
        try:
            budget -= _scan_file(target, found, start, budget, scan, keep)
        except TargetError as error:
            if error.fault is Fault.MISSING:
                # Deleted since the names were listed, as a writer does with what no label needs.
                continue
            if error.fault not in (Fault.UNSAFE, Fault.IO):
                raise
            scan.bad.append((found, start))
    return scan


def _scan_file(target: Target, epoch: int, start: int, budget: int, scan: Scan,
               keep: bool) -> int:
    """How much of the budget it took: what was passed, what lies in two boxes twice."""
    name = commits_name(epoch)
    target.forget(name)
    at, twice_len = start, 0
    window, window_at = b"", at
    end: int | None = None
    while True:
        if at - start + twice_len >= budget:
            scan.is_cut = True
            break
        if at - window_at + BLOCK_LEN > len(window):
            read = read_past_errors(target, name, at, SCAN_CHUNK_LEN)
            if read is None and len(scan.bad) < UNREADABLE_BLOCKS_MAX:
                scan.bad.append((epoch, at))
                at += BLOCK_LEN
                window, window_at = b"", at
                continue
            window, window_at = read or b"", at
            if not window:
                break
        inside = at - window_at
        block = window[inside : inside + BLOCK_LEN]
        if block == _ZEROS:
            at = next_block(window, window_at, inside)
            continue
        try:
            length = peek_box(COMMIT, block).length
        except Damage:
            scan.bad.append((epoch, at))
            at += BLOCK_LEN
            continue
        data = window[inside : inside + length]
        if len(data) < length and (end is None or at + length <= end):
            read = _read_box(target, name, at, length)
            # A file that ends here is not read to its end again for every block before it.
            end = at + len(read) if read is not None and len(read) < length else end
            data = read or b""
        if len(data) == length:
            scan.take(epoch, at, data, keep=keep)
            step = _header_inside(data)
            twice_len += length - step
            at += step
        else:
            scan.bad.append((epoch, at))
            at += BLOCK_LEN
    return at - start + twice_len


def _read_box(target: Target, name: str, at: int, length: int) -> bytes | None:
    """None where a sector of it is bad, which hides nothing that lies behind."""
    try:
        return target.read(name, at, length)
    except TargetError as error:
        if error.fault is not Fault.IO:
            raise
    return None


def _header_inside(data: bytes) -> int:
    """Where in a box the next block stands that looks like a header; else the box's length."""
    for at in range(BLOCK_LEN, len(data), BLOCK_LEN):
        if data.startswith(COMMIT.magic, at):
            return at
    return len(data)
