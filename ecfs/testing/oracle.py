"""What a tree may look like after a crash: a plain model, and what was acknowledged.

The promise that it holds a pool to. All metadata is one database whose commits are whole and in
order, so of the operations on names and sizes a crash leaves a prefix: all that were made before
the last acknowledgement, and of the later ones the first few. Bytes reach the database some time
after they were written, for each file in the order in which they were written: what is found of a
file is its acknowledged content and the first few of the writes after it, none of them newer than
the first operation that is missing. A rename over an existing name brings the file's bytes along.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ecfs.testing.trees import Kind, Names, Seen, Snapshot, partition

PAGE_LEN = 4096
DIFFERENCES_SHOWN_MAX = 8


class Wrong(AssertionError):
    """A tree was found that may not be."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One change of names: `what` is the word that `_carry_out` knows."""

    at: int
    what: str
    path: bytes
    other: bytes = b""
    node: int = 0

    def __str__(self) -> str:
        words = [self.what, *(repr(path)[1:] for path in (self.path, self.other) if path)]
        return f"#{self.at} {' '.join(words)}"


@dataclass(frozen=True, slots=True)
class _Change:
    """One change of a file's bytes: a write, or (`data` None) a new size `offset`."""

    at: int
    offset: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        """Carry it out."""
        if self.data is None:
            del content[self.offset:]
        content.extend(bytes(max(0, self.offset - len(content))))
        if self.data is not None:
            content[self.offset : self.offset + len(self.data)] = self.data


@dataclass(slots=True)
class _Node:
    """A file, directory or link. `base` is acknowledged, `changes` are what came after it;
    `carried`: at each of these times a rename brought along what had been written before."""

    kind: Kind
    base: bytes = b""
    changes: list[_Change] = field(default_factory=list)
    carried: list[int] = field(default_factory=list)

    def replayed(self, until: int, written_until: int) -> bytes:
        """Base with the sizes that were set before `until`, the writes before `written_until`."""
        content: bytearray | None = None
        for change in self.changes:
            if change.at < (until if change.data is None else written_until):
                if content is None:
                    content = bytearray(self.base)
                change.apply(content)
        return self.base if content is None else bytes(content)

    def acknowledge(self, until: int) -> None:
        """What came before a time is durable."""
        self.base = self.replayed(until, until)
        self.changes = [change for change in self.changes if change.at >= until]
        self.carried = [at for at in self.carried if at >= until]

    def versions(self, until: int) -> list[bytes]:
        """What may be found where the first operation that is missing was made at `until`; newest
        first. New sizes are such operations: those before are all there."""
        least = max((at for at in self.carried if at < until), default=0)
        times = [change.at + 1 for change in self.changes
                 if change.data is not None and least <= change.at < until]
        return [self.replayed(until, time) for time in [*reversed(times), least]]


class Oracle:
    """Is told of each operation when it begins and of each acknowledgement when it came.

    `withdraw` takes back the newest operation, when it was refused. Paths as in a Snapshot.
    """

    def __init__(self, base: Snapshot | None = None) -> None:
        self._clock = 0
        self._nodes: dict[int, _Node] = {}
        self._base = Names({})
        self._now = Names({})
        self._steps: list[_Step] = []
        self._undo: Names | None = None
        self.settle(base or {})

    # -- what is done ------------------------------------------------------------------------

    def create(self, path: bytes, kind: Kind = Kind.FILE, data: bytes = b"") -> None:
        """A new inode. `data`: where a symlink leads."""
        if path in self._now.nodes:
            raise ValueError(f"{path!r} is there already")
        node = self._add(_Node(kind, data))
        self._step("create", path, node=node)

    def mkdir(self, path: bytes) -> None:
        """A new directory."""
        self.create(path, Kind.DIRECTORY)

    def symlink(self, target: bytes, path: bytes) -> None:
        """A new symbolic link."""
        self.create(path, Kind.SYMLINK, target)

    def link(self, old: bytes, new: bytes) -> None:
        """Another name for a file."""
        self._step("link", new, old, node=self._now.nodes[old])

    def unlink(self, path: bytes) -> None:
        """A name goes."""
        self._step("unlink", path)

    def rmdir(self, path: bytes) -> None:
        """An empty directory goes."""
        self._step("rmdir", path)

    def rename(self, old: bytes, new: bytes) -> None:
        """A name moves; if one was there before, the bytes of the file come along."""
        node = self._now.nodes[old]
        if new in self._now.nodes and self._now.nodes[new] != node:
            self._nodes[node].carried.append(self._clock)
        self._step("rename", old, new)

    def exchange(self, one: bytes, other: bytes) -> None:
        """Two names swap what they lead to."""
        self._step("exchange", one, other)

    def write(self, path: bytes, offset: int, data: bytes) -> None:
        """Bytes of a file, all of one call."""
        if data:
            self._undo = None
            self._file(path).changes.append(_Change(self._tick(), offset, data))

    def truncate(self, path: bytes, size: int) -> None:
        """Another size, shorter or longer."""
        self._file(path).changes.append(_Change(self._clock, size, None))
        self._step("truncate", path)

    def withdraw(self) -> None:
        """The newest operation was refused: nothing of it was done."""
        self._clock -= 1
        for node in self._nodes.values():
            node.changes = [change for change in node.changes if change.at < self._clock]
            node.carried = [at for at in node.carried if at < self._clock]
        if self._steps and self._steps[-1].at == self._clock:
            if self._undo is None:
                raise ValueError("only one operation can be taken back")
            self._steps.pop()
            self._now, self._undo = self._undo, None

    # -- what was acknowledged ---------------------------------------------------------------

    def mark(self) -> int:
        """Now, for an acknowledgement that comes later: it covers what was done before its call."""
        return self._clock

    def fsync(self, path: bytes, since: int | None = None) -> None:
        """fsync(2) of a file returned; it was called at the mark `since`."""
        until = self._clock if since is None else since
        self.committed(until)
        self._nodes[self._now.nodes[path]].acknowledge(until)

    def fsync_dir(self, since: int | None = None) -> None:
        """fsync(2) of a directory returned."""
        self.committed(since)

    def sync(self, since: int | None = None) -> None:
        """sync(2) or an unmount returned: all is durable."""
        until = self._clock if since is None else since
        self.committed(until)
        for node in self._nodes.values():
            node.acknowledge(until)

    def committed(self, since: int | None = None) -> None:
        """A commit is known to be durable: all names and sizes, and the bytes that came along."""
        until = self._clock if since is None else since
        self._undo = None
        while self._steps and self._steps[0].at < until:
            _carry_out(self._steps.pop(0), self._base)
        for node in self._nodes.values():
            carried = max((at for at in node.carried if at < until), default=None)
            if carried is not None:
                node.acknowledge(carried)

    # -- what is found -----------------------------------------------------------------------

    def now(self) -> dict[bytes, Seen]:
        """The newest state: what a program sees while nothing crashes."""
        return {path: Seen(self._nodes[node].kind, node, self._content(node))
                for path, node in self._now.nodes.items()}

    def read(self, path: bytes) -> bytes:
        """The newest bytes of a path."""
        return self._content(self._now.nodes[path])

    def exists(self, path: bytes) -> bool:
        """Whether a path leads anywhere now."""
        return path in self._now.nodes

    def check_live(self, found: Snapshot) -> None:
        """A program sees the newest state, whole. Wrong."""
        differences = list(self._differences(
            found, self._now, self._clock, torn=False, newest=True))
        if differences:
            raise Wrong(_told("without any crash", differences))

    def check(self, found: Snapshot, *, torn: bool = False) -> None:
        """A tree after a crash and a recovery is one that may be. Wrong, with the difference from
        the likest of those.

        `torn`: a kernel hands pages down by itself, so that each page of a file may be as old or as
        new as the file may be, and the file may end at any page between.
        """
        for names, until, _ in self._prefixes():
            if next(self._differences(found, names, until, torn=torn), None) is None:
                return
        raise Wrong(_told(*min(
            ((last, list(self._differences(found, names, until, torn=torn)))
             for names, until, last in self._prefixes()), key=lambda item: len(item[1]))))

    def settle(self, found: Snapshot) -> None:
        """What was found is what counts from now on."""
        self._steps, self._undo, self._nodes = [], None, {}
        nodes: dict[int, int] = {}
        names = Names({})
        for path, seen in found.items():
            if seen.inode not in nodes:
                nodes[seen.inode] = self._add(_Node(seen.kind, seen.data))
            names.put(path, nodes[seen.inode])
        self._base, self._now = names, names.copy()

    # -- parts -------------------------------------------------------------------------------

    def _prefixes(self) -> Iterator[tuple[Names, int, str]]:
        """Each state that names and sizes may be in, newest last: the names, when the first
        operation that is missing was made, and the last that is there in words."""
        names = self._base.copy()
        last = "nothing but what was acknowledged"
        for step in [*self._steps, None]:
            yield names, self._clock if step is None else step.at, last
            if step is not None:
                _carry_out(step, names)
                last = f"all up to {step}"

    def _differences(self, found: Snapshot, names: Names, until: int, *, torn: bool,
                     newest: bool = False) -> Iterator[str]:
        for path in sorted(names.nodes.keys() - found.keys()):
            yield f"{path!r} is missing"
        for path in sorted(found.keys() - names.nodes.keys()):
            yield f"{path!r} should not be there"
        both = sorted(names.nodes.keys() & found.keys())
        if partition((path, names.nodes[path]) for path in both) != partition(
                (path, found[path].inode) for path in both):
            yield "the hard links are others"
        for path in both:
            node, seen = self._nodes[names.nodes[path]], found[path]
            if seen.kind is not node.kind:
                yield f"{path!r} is a {seen.kind}, expected a {node.kind}"
                continue
            allowed = node.versions(until)[: 1 if newest else None]
            if seen.data not in allowed and not (torn and _is_mixture(seen.data, allowed)):
                yield (f"{path!r} is {_short(seen.data)}, expected one of "
                       f"{', '.join(map(_short, allowed))}")

    def _content(self, node: int) -> bytes:
        return self._nodes[node].replayed(self._clock, self._clock)

    def _file(self, path: bytes) -> _Node:
        node = self._nodes[self._now.nodes[path]]
        if node.kind is not Kind.FILE:
            raise ValueError(f"{path!r} is a {node.kind}")
        return node

    def _add(self, node: _Node) -> int:
        number = len(self._nodes) + 1
        self._nodes[number] = node
        return number

    def _tick(self) -> int:
        self._clock += 1
        return self._clock - 1

    def _step(self, what: str, path: bytes, other: bytes = b"", node: int = 0) -> None:
        step = _Step(self._clock, what, path, other, node)
        self._undo = self._now.copy()
        _carry_out(step, self._now)
        self._steps.append(step)
        self._tick()


def _carry_out(step: _Step, names: Names) -> None:
    if step.what in ("create", "link"):
        names.put(step.path, step.node)
    elif step.what in ("unlink", "rmdir"):
        names.drop(step.path)
    elif step.what == "rename":
        names.move(step.path, step.other)
    elif step.what == "exchange":
        names.swap(step.path, step.other)


def _is_mixture(data: bytes, allowed: list[bytes]) -> bool:
    """Whether each page is that of an allowed version, and the end one that pages can have."""
    lengths = {len(version) for version in allowed}
    if not min(lengths) <= len(data) <= max(lengths) or (
            len(data) not in lengths and len(data) % PAGE_LEN):
        return False
    for at in range(0, len(data), PAGE_LEN):
        page = data[at : at + PAGE_LEN]
        if all(page != version[at : at + len(page)].ljust(len(page), b"\0")
               for version in allowed):
            return False
    return True


def _short(data: bytes) -> str:
    return f"{len(data)} bytes {data[:4].hex()}..{data[-2:].hex()}" if data else "empty"


def _told(last: str, differences: list[str]) -> str:
    left = len(differences) - DIFFERENCES_SHOWN_MAX
    lines = differences[:DIFFERENCES_SHOWN_MAX] + ([f"and {left} more"] if left > 0 else [])
    return "\n  ".join([f"not a state that may be; the likest has {last}, but:", *lines])
