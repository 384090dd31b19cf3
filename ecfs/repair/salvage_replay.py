"""Salvage without metadata: extents of all stripes, and what commit records carry, applied to files
in the order of writing.

First all directories and records are read, to know the order; then each stripe is opened once more,
and its extents are written into `inode-<number>` files, which get their names at the end. What the
log does not tell: names of directories, deletions, truncations between two writes, holes.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ecfs.base.errors import Damage
from ecfs.base.limits import FILE_LEN_MAX
from ecfs.erasure import Code, Geometry
from ecfs.formats import KIND_CONTENT, ExtentNote
from ecfs.keys import MasterKey
from ecfs.repair.salvage_log import Column, FoundStripe, OpenedStripe, SegmentScan
from ecfs.repair.salvage_out import OutFile, free_path, is_of_one
from ecfs.repair.salvage_records import RecordedWrites, WriteTurn
from ecfs.repair.salvage_tree import Salvaged

OPENED_KEPT_MAX = 4
WHOLE = -1


@dataclass(slots=True)
class _File:
    """What the newest extent of an inode said of it."""

    size: int = 0
    parent: int = 0
    name: bytes = b""
    mode: int = 0
    mtime_ns: int = 0
    turn: int = 0
    damaged: bool = False


@dataclass(frozen=True, slots=True, order=True)
class _Turn:
    """When extents of a stripe were written: all that are as old as the stripe (`index` is WHOLE),
    or one that was moved into it."""

    order: int
    epoch: int
    segment: int
    offset: int
    index: int


class LogReplay:
    """Brings back files that are not in `salvaged.done`, into `folder`."""

    def __init__(self, segments: dict[tuple[int, int], list[Column]], records: RecordedWrites,
                 master: MasterKey, pool_id: bytes, usual: Geometry, folder: Path,
                 salvaged: Salvaged, say: Callable[[int], None]) -> None:
        self._scans = {key: SegmentScan.of(key, files, master, pool_id, usual)
                       for key, files in sorted(segments.items())}
        self._records = records
        self._folder = folder
        self._salvaged = salvaged
        self._say = say
        self._codes: dict[Geometry, Code] = {}
        self._kept: OrderedDict[tuple[int, int, int], tuple[OpenedStripe, list[ExtentNote]]] = (
            OrderedDict())
        self._files: dict[int, _File] = {}
        self.lost_stripes_count = 0

    @property
    def total_len(self) -> int:
        """Bytes of one column of each segment: what `run` goes through twice."""
        return 2 * sum(scan.entry.length for scan in self._scans.values())

    def run(self) -> None:
        """Everything; blocks."""
        turns: list[_Turn | WriteTurn] = [*sorted(self._turns()), *self._records.turns()]
        # What a record carried, and a stripe has with the same order, are the same bytes.
        turns.sort(key=lambda turn: turn.order)
        for number, turn in enumerate(turns, 1):
            if isinstance(turn, WriteTurn):
                self._apply_write(turn, number)
            else:
                self._apply(turn, number)
        self._name_files()

    # -- order -------------------------------------------------------------------------------

    def _turns(self) -> list[_Turn]:
        turns = []
        for (segment, epoch), scan in self._scans.items():
            done_len = 0
            for found in scan.stripes():
                self._say(found.ref.offset + found.ref.record_len - done_len)
                done_len = found.ref.offset + found.ref.record_len
                if found.ref.kind != KIND_CONTENT:
                    continue
                notes = scan.notes(found, self._code(scan))
                if notes is None:
                    self.lost_stripes_count += 1
                    continue
                where = (segment, found.ref.offset)
                if any(not note.order for note in notes):
                    turns.append(_Turn(found.head.order, epoch, *where, WHOLE))
                turns += [_Turn(note.order, epoch, *where, index)
                          for index, note in enumerate(notes) if note.order]
            self._say(max(0, scan.entry.length - done_len))
        return turns

    def _code(self, scan: SegmentScan) -> Code:
        geometry = Geometry(scan.entry.data, scan.entry.parity)
        if geometry not in self._codes:
            self._codes[geometry] = Code(geometry)
        return self._codes[geometry]

    # -- content -----------------------------------------------------------------------------

    def _apply(self, turn: _Turn, number: int) -> None:
        stripe = self._opened(turn)
        if stripe is None:
            self.lost_stripes_count += 1
            return
        opened, notes = stripe
        chosen = [note for note in notes if not note.order] if turn.index == WHOLE else (
            notes[turn.index : turn.index + 1])
        for note in chosen:
            if self._is_wanted(note.inode) and (
                    0 <= note.offset <= FILE_LEN_MAX - max(note.length, 0)):
                self._apply_note(opened, note, number)
        if turn.index == WHOLE:
            self._say(opened.found.ref.record_len)

    def _opened(self, turn: _Turn) -> tuple[OpenedStripe, list[ExtentNote]] | None:
        key = (turn.segment, turn.epoch, turn.offset)
        known = self._kept.get(key)
        if known is not None:
            self._kept.move_to_end(key)
            return known
        scan = self._scans[turn.segment, turn.epoch]
        code = self._code(scan)
        found: FoundStripe | None = scan.stripe_at(turn.offset, Column.read)
        notes = None if found is None else scan.notes(found, code)
        if found is None or notes is None:
            return None
        self._kept[key] = (scan.opened(found, code), notes)
        if len(self._kept) > OPENED_KEPT_MAX:
            self._kept.popitem(last=False)
        return self._kept[key]

    def _apply_note(self, opened: OpenedStripe, note: ExtentNote, number: int) -> None:
        file, out = self._opened_file(note.inode)
        try:
            # Size 0 is that of a note that did not know it.
            if 0 < note.size < file.size:
                out.cut(note.size)
            for at, data in opened.extent(note.start, note.length):
                if data is None:
                    file.damaged = True
                else:
                    out.write(note.offset + at, data)
        except Damage:
            file.damaged = True
        finally:
            file.damaged = file.damaged or out.is_short
            out.close()
        end = note.offset + note.length
        file.size = max(note.size, 0) or max(file.size, end)
        file.turn = number
        if note.name:
            file.parent, file.name = note.parent, note.name
        file.mode = note.mode or file.mode
        file.mtime_ns = note.mtime_ns

    def _apply_write(self, turn: WriteTurn, number: int) -> None:
        if not self._is_wanted(turn.inode):
            return
        write = self._records.write(turn)
        file, out = self._opened_file(turn.inode)
        try:
            if write is None:
                file.damaged = True
                return
            out.write(write.offset, write.data)
            file.damaged = file.damaged or out.is_short
            file.size = max(file.size, write.offset + len(write.data))
            file.turn = number
            if write.mtime_ns is not None:
                file.mtime_ns = write.mtime_ns
        finally:
            out.close()

    def _is_wanted(self, inode: int) -> bool:
        return inode > 0 and inode not in self._salvaged.done

    def _opened_file(self, inode: int) -> tuple[_File, OutFile]:
        file = self._files.get(inode)
        out = OutFile(self._path(inode), new=file is None)
        if file is None:
            file = self._files[inode] = _File()
        return file, out

    def _path(self, inode: int) -> Path:
        return self._folder / f"inode-{inode}"

    # -- names -------------------------------------------------------------------------------

    def _name_files(self) -> None:
        """The file that was written last gets a name that several had."""
        for inode, file in sorted(self._files.items(), key=lambda item: -item[1].turn):
            path = self._path(inode)
            out = OutFile(path, new=False)
            out.cut(file.size)
            lacking = file.damaged or out.is_short or out.has_hole(file.size)
            out.finish(mode=file.mode, atime_ns=file.mtime_ns, mtime_ns=file.mtime_ns)
            if file.name:
                path = self._named(path, inode, file)
            self._salvaged.files_count += 1
            self._salvaged.bytes_count += file.size
            if lacking:
                self._salvaged.incomplete.append(str(path))

    def _named(self, path: Path, inode: int, file: _File) -> Path:
        """Where a file is once it has its name; where that cannot be, it keeps its number."""
        try:
            return path.rename(free_path(self._parent(file.parent), file.name, f"inode-{inode}"))
        except OSError as error:
            if not is_of_one(error):
                raise
            return path

    def _parent(self, parent: int) -> Path:
        known = self._salvaged.folders.get(parent)
        if known is not None:
            return known
        path = self._folder / str(parent)
        path.mkdir(mode=0o700, exist_ok=True)
        return path
