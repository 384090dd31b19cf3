"""Rows of segments from the columns themselves: their headers say what the row would."""

from collections.abc import Iterator
from dataclasses import dataclass

from ecfs.base.errors import Damage, TargetError
from ecfs.base.limits import (
    COLUMN_HEADER_LEN,
    COLUMN_LEN_MAX,
    DATA_SHARDS_MAX,
    PARITY_SHARDS_MAX,
    TARGET_SYNC_DEADLINE_S,
)
from ecfs.base.units import BLOCK_LEN, round_down
from ecfs.formats import (
    COLUMN_PATTERN,
    ColumnHeader,
    SegmentEntry,
    column_folder,
    peek_column_header,
)
from ecfs.metadata import CheckQueries
from ecfs.metadata.database import Row
from ecfs.targets import Target
from ecfs.volume import Volume, on_online

ROWS_BATCH_COUNT = 1000
ID_LEN = 16


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file that is named as a column of the segment."""

    header: bytes
    length: int


def bad_segment_rows(queries: CheckQueries, known: set[bytes]) -> Iterator[tuple[int, str]]:
    """(segment, reason) of rows that no segment can have. `known`: ids of the pool's targets."""
    after = 0
    while rows := queries.segment_rows(after, ROWS_BATCH_COUNT):
        after = rows[-1][0]
        for row in rows:
            reason = _fault_of(row, known)
            if reason:
                yield row[0], reason


def _fault_of(row: Row, known: set[bytes]) -> str:
    _, epoch, data, parity, columns, length = row
    if not (1 <= data <= DATA_SHARDS_MAX and 0 <= parity <= PARITY_SHARDS_MAX):
        return f"it has the impossible geometry {data}+{parity}"
    ids = [columns[at : at + ID_LEN] for at in range(0, len(columns), ID_LEN)]
    if len(columns) != ID_LEN * (data + parity) or len(set(ids)) != len(ids):
        return "its row does not name one target for each column"
    if not set(ids) <= known:
        return "its row names a target that the pool does not have"
    if epoch < 0 or not COLUMN_HEADER_LEN <= length <= COLUMN_LEN_MAX or length % BLOCK_LEN:
        return f"it has the impossible length {length} or epoch {epoch}"
    return ""


async def rebuild_row(volume: Volume, queries: CheckQueries, segment: int) -> bool:
    """Put the row that the authentic headers of a segment's columns imply; False without any.

    A column that is found nowhere goes to a target that has none of this segment: there it is
    missing, and is mended like any other.
    """
    def look(target: Target) -> list[_Seen]:
        folder = column_folder(segment)
        seen = []
        for name in target.list_names(folder):
            match = COLUMN_PATTERN.fullmatch(name)
            if match is not None and int(match[2], 16) == segment:
                path = f"{folder}/{name}"
                seen.append(_Seen(target.read(path, 0, COLUMN_HEADER_LEN), target.size(path)))
        return seen

    by_epoch: dict[int, dict[int, bytes]] = {}
    headers: dict[int, ColumnHeader] = {}
    length = COLUMN_HEADER_LEN
    results = await on_online(volume.fleet, look, TARGET_SYNC_DEADLINE_S)
    for target_id, result in results.items():
        for seen in [] if isinstance(result, TargetError) else result:
            header = _authentic(volume, segment, seen.header)
            if header is not None:
                by_epoch.setdefault(header.epoch, {}).setdefault(header.column, target_id)
                headers[header.epoch] = header
                length = max(length, round_down(seen.length, BLOCK_LEN))
    if not by_epoch:
        return False
    epoch = max(by_epoch, key=lambda number: len(by_epoch[number]))
    header, found = headers[epoch], by_epoch[epoch]
    spare = [member.id for member in volume.fleet if member.id not in found.values()]
    count = header.data + header.parity
    if len(spare) < count - len(found):
        return False
    columns = tuple(found[column] if column in found else spare.pop(0) for column in range(count))
    with volume.database.change():
        queries.replace_segment(segment, epoch=epoch, data=header.data, parity=header.parity,
                                columns=columns, length=min(length, COLUMN_LEN_MAX))
    return True


def _authentic(volume: Volume, segment: int, data: bytes) -> ColumnHeader | None:
    try:
        header = peek_column_header(data)
    except Damage:
        return None
    draft = SegmentEntry(segment, header.epoch, header.data, header.parity, (), 0)
    return header if volume.store.column_header(draft, header.column) == data else None
