"""Salvage while the metadata can be read: a copy of the tree that goes on past what cannot be."""

import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ecfs.base.errors import Damage, EcfsError, FsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.base.units import MIB
from ecfs.metadata import MapPiece
from ecfs.namespace import ACCESS, DEFAULT, Attributes, mode_without
from ecfs.repair.salvage_out import PERMISSIONS, OutFile, free_path, is_of_one
from ecfs.volume import Volume

CHUNK_LEN = MIB
PIECES_AT_ONCE = 256
_log = logging.getLogger("ecfs.repair")


@dataclass(slots=True)
class Salvaged:
    """What was saved so far. `incomplete` holds paths below the output directory."""

    files_count: int = 0
    bytes_count: int = 0
    incomplete: list[str] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    folders: dict[int, Path] = field(default_factory=dict)


class TreeCopy:
    """Copies everything below the root. `metadata_damaged` when parts of it could not be read."""

    def __init__(self, volume: Volume, out_dir: Path, salvaged: Salvaged,
                 say: Callable[[int], None]) -> None:
        self._volume = volume
        self._out_dir = out_dir
        self._salvaged = salvaged
        self._say = say
        self._linked: dict[int, Path] = {}
        self._times: list[tuple[Path, Attributes]] = []
        self._spare: Path | None = None
        self.metadata_damaged = False

    async def run(self) -> None:
        """The whole tree; parents before children, times of directories last."""
        waiting = [(ROOT_INODE, self._out_dir)]
        self._salvaged.folders[ROOT_INODE] = self._out_dir
        while waiting:
            inode, folder = waiting.pop()
            for name, child in self._names_in(inode, folder):
                below = await self._copy(name, child, folder)
                if below is not None:
                    waiting.append((child, below))
        for path, attributes in reversed(self._times):
            # Last, for a default ACL would be that of whatever is made there.
            try:
                mode = self._copy_xattrs(path, attributes)
            except EcfsError:
                self._note_lost_metadata(path)
                mode = attributes.mode & ~0o077
            _restore(path, attributes, mode)

    def _names_in(self, inode: InodeId, folder: Path) -> list[tuple[bytes, InodeId]]:
        try:
            return [(name, child) for name, child, _ in self._volume.tree.list_directory(inode)]
        except EcfsError:
            self._note_lost_metadata(folder)
            return []

    def _note_lost_metadata(self, path: Path) -> None:
        self.metadata_damaged = True
        self._incomplete(path)

    def _incomplete(self, path: Path) -> None:
        self._salvaged.incomplete.append(str(path.relative_to(self._out_dir)))

    async def _copy(self, name: bytes, inode: InodeId, folder: Path) -> Path | None:
        """Copy one entry; the new folder if it is a directory that was not copied yet.

        What cannot be under its name here goes to `lost+found` below the output directory, under
        its number, and is told: one odd name must not cost what comes after it."""
        path = free_path(folder, name, f"inode-{inode}")
        try:
            return await self._copy_to(path, inode)
        except OSError as error:
            if not is_of_one(error):
                raise
            _log.warning("%s: %s", path, error.strerror)
        try:
            spare = free_path(self._spare_folder(), b"inode-%d" % inode, "again")
            below = await self._copy_to(spare, inode)
            path = spare
        except OSError as error:
            if not is_of_one(error):
                raise
            below = None
        self._incomplete(path)
        return below

    def _spare_folder(self) -> Path:
        """Where things go that cannot be under their own names."""
        if self._spare is None:
            self._spare = free_path(self._out_dir, b"lost+found", "names")
            self._spare.mkdir(mode=0o700)
        return self._spare

    async def _copy_to(self, path: Path, inode: InodeId) -> Path | None:
        """As `_copy`, to a path. OSError where it cannot be there."""
        try:
            attributes = self._volume.tree.attributes(inode)
            if attributes.is_directory:
                return self._make_folder(path, attributes)
            if inode in self._linked and self._link(path, inode):
                return None
            if attributes.is_regular:
                if not await self._copy_file(path, attributes):
                    return None
            else:
                self._make_special(path, attributes)
            if attributes.nlink > 1 and os.path.lexists(path):
                self._linked[inode] = path
            self._salvaged.done.add(inode)
        except EcfsError:
            self._note_lost_metadata(path)
        return None

    def _link(self, path: Path, inode: InodeId) -> bool:
        """Whether a file got one more name; where it cannot, it is copied once more."""
        try:
            os.link(self._linked[inode], path, follow_symlinks=False)
        except OSError as error:
            if not is_of_one(error):
                raise
            return False
        return True

    def _make_folder(self, path: Path, attributes: Attributes) -> Path | None:
        if attributes.inode in self._salvaged.folders:
            return None
        path.mkdir(mode=0o700)
        self._salvaged.folders[attributes.inode] = path
        self._times.append((path, attributes))
        return path

    def _make_special(self, path: Path, attributes: Attributes) -> None:
        kind = stat.S_IFMT(attributes.mode)
        if kind == stat.S_IFLNK:
            target = self._volume.tree.readlink(attributes.inode)
            os.symlink(target, os.fsencode(path))
        elif kind == stat.S_IFIFO:
            os.mkfifo(path, attributes.mode & PERMISSIONS)
        else:
            # Devices and sockets have no content to save.
            self._incomplete(path)

    # -- content -----------------------------------------------------------------------------

    async def _copy_file(self, path: Path, attributes: Attributes) -> bool:
        """Whether the metadata told everything about the file, readable or not."""
        inode = attributes.inode
        out = OutFile(path)
        whole = known = inode not in self._volume.files.flusher.rows.stuck
        size = attributes.size
        try:
            # With what commit records carry.
            pending = self._volume.files.pending(inode)
            if pending is not None:
                size, mtime_ns, ctime_ns = pending
                attributes = attributes.with_content(size, mtime_ns or attributes.mtime_ns,
                                                     ctime_ns)
            out.cut(size)
            at = 0
            while pieces := self._volume.files.tables.pieces(inode, at, size, PIECES_AT_ONCE):
                for piece in pieces:
                    low = max(at, piece.offset)
                    at = min(piece.offset + piece.length, size)
                    whole = await self._copy_piece(out, inode, piece, low, at) and whole
            for low, high in self._volume.files.spans(inode):
                out.write(low, bytes(await self._volume.files.read(inode, low, high - low)))
        except EcfsError:
            self.metadata_damaged = True
            whole = known = False
        mode = self._copy_xattrs(path, attributes)
        out.finish(mode=mode, atime_ns=attributes.atime_ns,
                   mtime_ns=attributes.mtime_ns)
        self._salvaged.files_count += 1
        self._salvaged.bytes_count += size
        if not whole or out.is_short:
            self._incomplete(path)
        return known

    async def _copy_piece(self, out: OutFile, inode: InodeId, piece: MapPiece, low: int,
                          high: int) -> bool:
        """Bytes [low, high) of a file, which one extent holds; whether all could be read."""
        whole = True
        for at in range(low, high, CHUNK_LEN):
            end = min(high, at + CHUNK_LEN)
            try:
                out.write(at, bytes(await self._volume.files.read(inode, at, end - at)))
            except (Damage, FsError):
                await self._copy_units(out, piece, at, end)
                whole = False
            self._say(end - at)
        return whole

    async def _copy_units(self, out: OutFile, piece: MapPiece, low: int, high: int) -> None:
        """As `_copy_piece`, unit by unit: what one shard holds may be well where others are not."""
        shift = piece.offset - piece.extent_offset
        if piece.stripe is None:
            return
        try:
            ref = self._volume.files.index.ref(piece.stripe)
            runs = self._volume.store.layout(ref).units_of(piece.start, piece.extent_len)
        except Damage:
            return
        at = shift
        for unit in (unit for run in runs for unit in run.units()):
            begin, end = max(at, low), min(at + unit.length, high)
            if begin < end:
                try:
                    data = (await self._volume.store.read(ref, [unit])).data
                except Damage:
                    data = b""
                out.write(begin, bytes(data[begin - at : end - at]))
            at += unit.length

    def _copy_xattrs(self, path: Path, attributes: Attributes) -> int:
        """Attributes of users and ACLs, as far as this file system takes them; the mode to set."""
        mode = attributes.mode
        for name in self._volume.tree.list_xattrs(attributes.inode):
            if not name.startswith(b"user.") and name not in (ACCESS, DEFAULT):
                continue
            value = self._volume.tree.get_xattr(attributes.inode, name)
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except OSError:
                mode = mode_without(value, mode) if name == ACCESS else mode
        return mode


def _restore(path: Path, attributes: Attributes, mode: int) -> None:
    try:
        os.utime(path, ns=(max(attributes.atime_ns, 0), max(attributes.mtime_ns, 0)))
        path.chmod(mode & PERMISSIONS or 0o700)
    except (OSError, OverflowError):
        pass
