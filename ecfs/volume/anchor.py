"""The anchor: the client's own memory of the newest commit that it acknowledged.

It lies outside of the pool, in the state directory, and is trusted. A pool whose history does not
contain it was rolled back or forked.
"""

import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from errno import EBUSY, EIO
from pathlib import Path

from ecfs.base.errors import AnchorNotWritten, AnchorUnusable
from ecfs.base.ids import ID_LEN
from ecfs.sealing import HASH_LEN
from ecfs.volume.statefile import StateFile

_log = logging.getLogger("ecfs.volume")
_ANCHOR_LEN_MAX = 64 << 10
_NOTE_TRIES_MAX = 8


@dataclass(frozen=True, slots=True)
class Anchor:
    """What this client has seen of a pool. `hash` is that of record `seq`, in hex."""

    pool_id: str
    epoch: int
    seq: int
    hash: str
    data: int
    parity: int
    commitment: str
    version: int


class AnchorFile:
    """The anchor of one pool: in the state directory, or in a folder of the user's choice (such as
    a medium that is taken away), which must be there already.

    Two mounts may have it in turns: one that was suspended and wakes up finds what the one that
    took over has acknowledged since, and leaves that.
    """

    def __init__(self, state_dir: Path, pool_id: bytes, *, chosen: Path | None = None) -> None:
        self._folder = state_dir / "anchors" if chosen is None else chosen
        self._is_chosen = chosen is not None
        self._pool_id = pool_id.hex()
        self._path = self._folder / f"{self._pool_id}.json"
        self._file = StateFile(self._path, self._folder / f"{self._pool_id}.lock")
        self._lock = threading.Lock()
        self._saved = (-1, -1)
        self._given_up: Anchor | None = None
        self._was_told = False
        self.advice: tuple[str, ...] = ()
        """What the user should know of it while it cannot be written."""

    def load(self) -> Anchor | None:
        """The anchor, None before the first commit. AnchorUnusable when it cannot be read or is of
        another pool: not having it would silently give up the protection against rollback."""
        try:
            content = self._file.read(_ANCHOR_LEN_MAX + 1)
        except OSError as error:
            raise AnchorUnusable(f"the anchor {self._path} cannot be read: {error.strerror}. Make "
                                 "it readable again") from error
        if content is None:
            if self._is_chosen and not self._folder.is_dir():
                raise AnchorUnusable(f"{self._folder}, where the anchor is to be, is not there. Is "
                                     "its medium mounted?")
            return None
        try:
            anchor = _parsed(content)
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged() from error
        if anchor.pool_id != self._pool_id:
            raise AnchorUnusable(f"the anchor {self._path} is of another pool, {anchor.pool_id}; "
                                 "put back the one of this pool")
        return anchor

    def _damaged(self) -> AnchorUnusable:
        return AnchorUnusable(
            f"the anchor {self._path} is damaged. Put it back from a backup. Without it nobody can "
            "tell whether the pool was rolled back; remove it only if you are sure that it was not")

    def give_up(self, anchor: Anchor) -> None:
        """The user accepted a history without this anchor, which was loaded: it, and no other that
        is newer, gives way to an older one."""
        self._given_up = anchor

    def save(self, anchor: Anchor, *, durable: bool) -> None:
        """Replace the anchor, unless a newer one was saved meanwhile, by this process or another;
        after a power cut it is this one or the one before, and this one if `durable`.
        AnchorNotWritten where that fails. From any thread."""
        try:
            with self._lock:
                if self._saved <= (anchor.epoch, anchor.seq):
                    self._save(anchor, durable=durable)
                    self._saved = (anchor.epoch, anchor.seq)
            self.advice = ()
        except OSError as error:
            self.advice = (
                f"The anchor {self._path} cannot be written: {error.strerror}. What is in the pool "
                "is safe, but an older state of it would pass for the newest. Make room there, or "
                "mend its permissions.",)
            # Of a descriptor, it names no file, and everybody would look at the targets.
            raise AnchorNotWritten(
                error.errno or EIO,
                f"the anchor {self._path} cannot be written: {error.strerror}. The pool itself is "
                "not touched by that. Make room there, or mend its permissions, then mount and "
                "unmount the pool") from error

    def _save(self, anchor: Anchor, *, durable: bool) -> None:
        if not self._is_chosen:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._file.alone():
            if not self._file.replace(json.dumps(asdict(anchor)).encode("ascii"),
                                      is_wanted=lambda: self._is_newest(anchor)):
                return
        if durable:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _is_newest(self, anchor: Anchor) -> bool:
        """Whether nothing that is newer is there."""
        try:
            there = self.load()
        except AnchorUnusable:
            # It was good when the pool was opened; ours is what it should be.
            return True
        if there is None or there == self._given_up or (
                (there.epoch, there.seq) <= (anchor.epoch, anchor.seq)):
            return True
        if not self._was_told:
            self._was_told = True
            _log.warning("the anchor %s is left: it is of commit %d in epoch %d, and this mount is "
                         "at %d in %d; another one has gone on", self._path, there.seq,
                         there.epoch, anchor.seq, anchor.epoch)
        return False


def _parsed(content: bytes) -> Anchor:
    """The anchor that was saved; ValueError or TypeError for anything else."""
    if len(content) > _ANCHOR_LEN_MAX:
        raise ValueError("too long for an anchor")
    anchor = Anchor(**json.loads(content.decode("ascii")))
    for part in fields(Anchor):
        if type(getattr(anchor, part.name)) is not part.type:
            raise TypeError(f"{part.name} is not of type {part.type}")
    if min(anchor.epoch, anchor.seq, anchor.data, anchor.parity, anchor.version) < 0:
        raise ValueError("not a number that an anchor has")
    for text, length in ((anchor.pool_id, ID_LEN), (anchor.hash, HASH_LEN),
                         (anchor.commitment, HASH_LEN)):
        if len(bytes.fromhex(text)) != length:
            raise ValueError("not an id or a hash")
    return anchor


class PathMemory:
    """Which pool was seen last at a target path: a substituted pool is noticed before use."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "targets.json"
        self._file = StateFile(self._path, state_dir / "targets.lock")

    def load(self) -> dict[str, str]:
        """Target path -> pool id in hex. AnchorUnusable where it is there and cannot be read: not
        having it would silently give up the protection against another pool in this one's place.
        """
        try:
            content = self._file.read(-1)
            value = {} if content is None else json.loads(content.decode("utf-8"))
            if not isinstance(value, dict) or not all(
                    isinstance(pool, str) for pool in value.values()):
                raise ValueError("not paths and pools")
        except OSError as error:
            raise AnchorUnusable(f"{self._path}, which says which pool is at which path, cannot be "
                                 f"read: {error.strerror}. Make it readable again") from error
        except (ValueError, RecursionError) as error:
            raise AnchorUnusable(
                f"{self._path}, which says which pool is at which path, is damaged. Put it back "
                "from a backup. Without it a pool in the place of another one is not noticed; "
                "remove it only if you are sure that these paths hold your pool") from error
        return value

    def note(self, paths: list[str], pool_id: bytes, *, needed: bool = True) -> None:
        """These paths hold this pool. AnchorNotWritten where that cannot be noted; with `needed`
        False (who only reads, from a read-only state directory perhaps) it is only logged."""
        self._change(lambda known: known | dict.fromkeys(paths, pool_id.hex()), needed=needed)

    def forget(self, pool_id: bytes) -> None:
        """Nothing holds this pool: it was never finished. Where that fails it is logged."""
        try:
            self._change(lambda known: {path: pool for path, pool in known.items()
                                        if pool != pool_id.hex()}, needed=False)
        except AnchorUnusable as error:
            _log.warning("%s", error)

    def _change(self, changed: Callable[[dict[str, str]], dict[str, str]], *,
                needed: bool) -> None:
        if changed(known := self.load()) == known:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._file.alone():
                for _ in range(_NOTE_TRIES_MAX):
                    if self._replace(self.load(), changed):
                        return
            raise OSError(EBUSY, "other processes change it again and again")
        except OSError as error:
            message = (f"which pool is at these paths cannot be noted in {self._path}: "
                       f"{error.strerror}. Make room there, or mend its permissions")
            if needed:
                raise AnchorNotWritten(error.errno or EIO, message) from error
            _log.warning("%s", message)

    def _replace(self, known: dict[str, str],
                 changed: Callable[[dict[str, str]], dict[str, str]]) -> bool:
        """Whether it was done: not where somebody without the lock was quicker."""
        return self._file.replace(json.dumps(changed(known)).encode(),
                                  is_wanted=lambda: self.load() == known)
