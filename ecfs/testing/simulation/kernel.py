"""A light stand-in for the kernel: programs' operations become requests, as FUSE sends them.

Walks paths by lookups and forgets them later, keeps files open, holds a file's lock over what
changes its bytes and one lock over changes of names, as the kernel does. Every operation is told to
the history before and after.
"""

import errno
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVarTuple

import trio

from ecfs.base.errors import Bug, Damage, EcfsError, FsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.base.units import KIB
from ecfs.driver import Requests, sweep_orphans
from ecfs.driver.attributes import Change
from ecfs.testing.simulation.finding import Failure
from ecfs.testing.simulation.history import History, Item, Kind, Lost
from ecfs.testing.simulation.operations import Op, bytes_of
from ecfs.testing.simulation.trace import Trace
from ecfs.volume import Volume

Args = TypeVarTuple("Args")

OP_DEADLINE_S = 600.0
"""Several targets may use up their deadlines one after the other; longer is a hang."""

_REQUEST_LEN = 128 * KIB
_FILE_LEN_MAX = 2_000_000


@dataclass(slots=True)
class _Open:
    """An open file: its inode, and what the history calls it."""

    inode: InodeId
    node: int


@dataclass(slots=True)
class _Task:
    """What one program has open, by path as it was opened."""

    files: dict[bytes, _Open] = field(default_factory=dict)
    lookups: list[InodeId] = field(default_factory=list)


class Kernel:
    """The kernel over one mounted volume. `strict`: no program may meet damage."""

    def __init__(self, volume: Volume, history: History, trace: Trace, life: int, *,
                 strict: bool) -> None:
        self._strict = strict
        self._volume = volume
        self._requests = Requests(volume, lambda inode: None)
        for promises in volume.promises:
            # Kept by nobody but who needs it, which is later than by a real kernel's transport.
            promises.postpones = True
        self._history = history
        self._trace = trace
        self._life = life
        self._names_lock = trio.Lock()
        self._locks: dict[InodeId, trio.Lock] = {}

    async def begin(self) -> None:
        """As a mount begins."""
        if not self._volume.read_only:
            await sweep_orphans(self._volume)

    async def run(self, ops: list[Op]) -> None:
        """One program: its operations one after another."""
        task = _Task()
        for op in ops:
            try:
                with trio.move_on_after(OP_DEADLINE_S) as scope:
                    await self._do(task, op)
                for promises in self._volume.promises:
                    promises.answered = True
                if scope.cancelled_caught:
                    raise Failure(f"{op.text()}: no answer within {OP_DEADLINE_S:g} s")
                self._trace.say("op", f"{op.text()}: done")
            except EcfsError as error:
                await _if_alive()
                if self._strict and isinstance(error, (Damage, Bug)):
                    raise Failure(f"{op.text()}: {type(error).__name__}: {error}") from error
                name = errno.errorcode.get(error.errno, str(error.errno))
                self._trace.say("op", f"{op.text()}: {name}")
                self._trace.counts[f"errno {name}"] += 1
                if error.errno == errno.EIO:
                    self._trace.say("eio", str(error))
        for path in list(task.files):
            await self._close(task, path)
        await self._forget(task)

    async def finish(self) -> None:
        """As a mount ends."""
        await self._requests.finish()

    # -- one operation -----------------------------------------------------------------------

    async def _do(self, task: _Task, op: Op) -> None:
        self._trace.counts[f"op {op.what}"] += 1
        match op.what:
            case "write" | "append":
                await self._write(task, op)
            case "read":
                await self._read(task, op)
            case "fsync":
                await self._fsync(task, op)
            case "fsync folder":
                await self._fsync_folder(task, op)
            case "sync":
                mark = self._history.mark_all()
                await self._volume.fsync(None)
                self._history.acknowledged(mark)
            case "truncate":
                await self._truncate(task, op)
            case "create" | "mkdir" | "symlink":
                async with self._names_lock:
                    await self._make(task, op)
            case "unlink" | "rmdir":
                await self._remove(task, op)
            case "rename":
                await self._rename(task, op)
            case "link":
                await self._link(task, op)
            case "close":
                await self._close(task, next(iter(task.files), b""))
            case "forget":
                await self._forget(task)
            case "pause":
                await trio.sleep(op.length / 1000)
            case "checkpoint":
                if not self._volume.read_only:
                    await self._volume.checkpoint()
            case "attributes":
                inode = self._walk(task, op.path)
                await self._requests.change(inode, Change(mode=0o640, mtime_now=True))

    async def _write(self, task: _Task, op: Op) -> None:
        opened = await self._opened(task, op.path, make=True)
        data = bytes_of(op, self._life)
        async with self._lock(opened.inode):
            start = len(self._history.content(opened.node)) if op.what == "append" else op.offset
            if start + len(data) > _FILE_LEN_MAX:
                raise FsError(errno.EFBIG)
            for at in range(0, len(data), _REQUEST_LEN):
                piece = data[at : at + _REQUEST_LEN]
                self._history.write(opened.node, start + at, piece)
                try:
                    await self._requests.write(opened.inode, start + at, piece,
                                               kill_privileges=False)
                except EcfsError:
                    await _if_alive()
                    self._history.unwritten(opened.node)
                    raise

    async def _read(self, task: _Task, op: Op) -> None:
        opened = await self._opened(task, op.path)
        async with self._lock(opened.inode):
            expected = self._history.content(opened.node)
            pieces = [bytes(await self._requests.read(opened.inode, at, _REQUEST_LEN))
                      for at in range(0, len(expected) + 1, _REQUEST_LEN)]
            self._history.check_read(op.path, opened.node, b"".join(pieces))

    async def _fsync(self, task: _Task, op: Op) -> None:
        opened = await self._opened(task, op.path)
        async with self._lock(opened.inode):
            mark = self._history.mark(opened.node)
            await self._requests.fsync(opened.inode)
            self._history.acknowledged(mark)
            self._trace.counts["acknowledged"] += 1

    async def _fsync_folder(self, task: _Task, op: Op) -> None:
        fh = self._requests.directories.open(self._walk(task, op.path))
        try:
            mark = self._history.mark(None)
            await self._requests.directories.fsync(fh)
            self._history.acknowledged(mark)
            self._trace.counts["acknowledged"] += 1
        finally:
            self._requests.directories.close(fh)

    async def _truncate(self, task: _Task, op: Op) -> None:
        # The size is metadata: it changes in the same order as names do.
        async with self._names_lock:
            inode, item = self._walk(task, op.path), self._item(op.path)
            if item.kind is not Kind.FILE:
                raise FsError(errno.EISDIR)
            async with self._lock(inode):
                self._history.names_change({}, sizes={item.node: op.length})
                await self._settled(self._requests.change, inode, Change(size=op.length))

    async def _make(self, task: _Task, op: Op) -> None:
        parent, name = self._parent(task, op.path)
        node = self._history.new_node()
        if op.what == "create":
            item, mode, target = Item(Kind.FILE, node), stat.S_IFREG | 0o644, None
        elif op.what == "mkdir":
            item, mode, target = Item(Kind.FOLDER, node), stat.S_IFDIR | 0o755, None
        else:
            item, mode, target = Item(Kind.LINK, node, op.other), stat.S_IFLNK | 0o777, op.other

        async def make() -> None:
            made = await self._requests.create(parent, name, mode=mode, uid=0, gid=0,
                                               symlink=target)
            task.lookups.append(made.attributes.inode)

        self._history.names_change({op.path: item})
        await self._settled(make)

    async def _remove(self, task: _Task, op: Op) -> None:
        async with self._names_lock:
            parent, name = self._parent(task, op.path)
            remove = self._requests.unlink if op.what == "unlink" else self._requests.rmdir
            self._history.names_change({op.path: None})
            await self._settled(remove, parent, name)

    async def _rename(self, task: _Task, op: Op) -> None:
        async with self._names_lock:
            old_parent, old_name = self._parent(task, op.path)
            new_parent, new_name = self._parent(task, op.other)
            inode, item = self._walk(task, op.path), self._item(op.path)
            names = self._history.names
            replaced = names.get(op.other)
            moves: dict[bytes, Item | None] = {op.path: None, op.other: item}
            if replaced is not None and replaced.node == item.node:
                moves = {}
            for path, below in names.items():
                if path.startswith(op.path + b"/"):
                    moves[path] = None
                    moves[op.other + path[len(op.path):]] = below
            async with self._lock(inode):
                # A file that replaces another comes with its bytes.
                carried = [item.node] if (
                    replaced is not None and moves and item.kind is Kind.FILE) else []
                self._history.names_change(moves, carried=carried)
                await self._settled(self._requests.rename, old_parent, old_name, new_parent,
                                    new_name, 0)

    async def _link(self, task: _Task, op: Op) -> None:
        async with self._names_lock:
            inode, item = self._walk(task, op.path), self._item(op.path)
            parent, name = self._parent(task, op.other)

            async def link() -> None:
                await self._requests.link(inode, parent, name)
                task.lookups.append(inode)

            self._history.names_change({op.other: item})
            await self._settled(link)

    # -- parts -------------------------------------------------------------------------------

    async def _settled(self, function: Callable[[*Args], Awaitable[object]],
                       *args: *Args) -> None:
        """Do what the history was told of. Needs the lock of names."""
        try:
            await function(*args)
        except EcfsError:
            await _if_alive()
            self._history.names_unchanged()
            raise
        self._history.names_changed()

    def _item(self, path: bytes) -> Item:
        item = self._history.names.get(path)
        if item is None:
            raise Lost(f"{path!r} is there and should not be")
        return item

    def _walk(self, task: _Task, path: bytes) -> InodeId:
        inode = ROOT_INODE
        for part in path.split(b"/") if path else ():
            found = self._requests.lookup(inode, part)
            if found is None:
                if path in self._history.names and not self._names_lock.locked():
                    raise Lost(f"{path!r} is not there any more")
                raise FsError(errno.ENOENT)
            inode = found.attributes.inode
            task.lookups.append(inode)
        return inode

    def _parent(self, task: _Task, path: bytes) -> tuple[InodeId, bytes]:
        folder, _, name = path.rpartition(b"/")
        return self._walk(task, folder), name

    async def _opened(self, task: _Task, path: bytes, *, make: bool = False) -> _Open:
        opened = task.files.get(path)
        if opened is not None:
            return opened
        async with self._names_lock:
            if make and path not in self._history.names:
                await self._make(task, Op("create", path))
            inode, item = self._walk(task, path), self._item(path)
            if item.kind is Kind.FOLDER:
                raise FsError(errno.EISDIR)
            if item.kind is Kind.LINK:
                raise FsError(errno.ELOOP)
            opened = _Open(inode, item.node)
            # The kernel does not forget what is open: its lookup goes when it is closed.
            task.lookups.pop()
        task.files[path] = opened
        return opened

    async def _close(self, task: _Task, path: bytes) -> None:
        opened = task.files.pop(path, None)
        if opened is not None:
            self._requests.forget(opened.inode, 1)
            await self._requests.tidy()

    async def _forget(self, task: _Task) -> None:
        lookups, task.lookups = task.lookups, []
        for inode in lookups:
            self._requests.forget(inode, 1)
        await self._requests.tidy()

    def _lock(self, inode: InodeId) -> trio.Lock:
        return self._locks.setdefault(inode, trio.Lock())


async def _if_alive() -> None:
    """End here when the machine has died: what failed then failed for nobody, and may have been
    done."""
    await trio.lowlevel.checkpoint_if_cancelled()
