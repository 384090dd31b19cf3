"""What a tree may look like after a crash, while several tasks work on it at once.

Names and sizes change one after the other, so the tree on the pool is one of a row of versions; of
the writes to a file the first few are seen. What was acknowledged says how few of neither may be.
An operation is entered before it is done and settled after it, since a crash in between may show
either; several tasks may be in between at once, which is why `ecfs.testing.oracle`, made for one
operation after the other, does not do here.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from blake3 import blake3

from ecfs.base.units import BLOCK_LEN


class Kind(StrEnum):
    """What has a name."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Item:
    """What a name stands for. `node`: names with one node are links to one file; `data`: content
    of a file, target of a symbolic link; None: it could not be read."""

    kind: Kind
    node: int
    data: bytes | None = b""


Tree = Mapping[bytes, Item]
"""By path, parts joined by `/`."""

Mark = tuple[int, Mapping[int, int]]
"""A version of the names, and how many writes of each node there were."""


@dataclass(frozen=True, slots=True)
class _Version:
    """Names at one time. `carried`: by node, how many of its writes came along with a change of
    names so far."""

    names: Mapping[bytes, Item]
    carried: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Write:
    """Bytes of a file; nobody sees them before the version `after`, which was settled by then."""

    offset: int
    data: bytes
    after: int


@dataclass(frozen=True, slots=True)
class _Resize:
    """A new size, which is metadata: seen in `version` and all later ones."""

    size: int
    version: int


@dataclass(slots=True)
class _File:
    """What was done to the bytes of a file, in order. The first `floor` writes are acknowledged."""

    base: bytes = b""
    changes: list[_Write | _Resize] = field(default_factory=list)
    floor: int = 0
    now: bytes = b""

    @property
    def writes_count(self) -> int:
        """All writes."""
        return sum(1 for change in self.changes if isinstance(change, _Write))

    def add(self, change: _Write | _Resize) -> None:
        """One more."""
        self.changes.append(change)
        self.now = _changed(self.now, change)

    def replayed(self, writes_count: int, version: int) -> bytes:
        """With the first writes only, as it is seen in a version."""
        content = self.base
        for change in self.changes:
            if isinstance(change, _Resize):
                if change.version <= version:
                    content = _changed(content, change)
            elif writes_count:
                writes_count -= 1
                content = _changed(content, change)
        return content

    def candidates(self, floor: int, version: int) -> Iterator[bytes]:
        """What may be seen in a version, newest first."""
        writes = [change for change in self.changes if isinstance(change, _Write)]
        for count in range(len(writes), floor - 1, -1):
            if count <= self.floor or writes[count - 1].after <= version:
                yield self.replayed(count, version)


def _changed(content: bytes, change: _Write | _Resize) -> bytes:
    if isinstance(change, _Resize):
        return content[: change.size].ljust(change.size, b"\0")
    end = change.offset + len(change.data)
    return content[: change.offset].ljust(change.offset, b"\0") + change.data + content[end:]


class Lost(AssertionError):
    """Something acknowledged is not there, or something is there that never was."""


class History:
    """The versions of a tree since the last recovery."""

    def __init__(self) -> None:
        self._versions = [_Version({})]
        self._files: dict[int, _File] = {}
        self._floor = 0
        self._settled = 0
        self._next_node = 1
        self._blocks: set[tuple[int, bytes]] = set()
        self._unread: set[int] = set()

    # -- what is now -------------------------------------------------------------------------

    @property
    def names(self) -> Mapping[bytes, Item]:
        """Names now. The items hold no content of files: `content` does."""
        return self._versions[-1].names

    def content(self, node: int) -> bytes:
        """Of a file now, whether it still has a name or not."""
        return self._files[node].now

    def mark(self, node: int | None) -> Mark:
        """What a sync that begins now will cover: hand it to `acknowledged`."""
        return self._settled, {} if node is None else {node: self._files[node].writes_count}

    def mark_all(self) -> Mark:
        """What a sync of everything covers that begins now."""
        return self._settled, {node: file.writes_count for node, file in self._files.items()}

    # -- changes -----------------------------------------------------------------------------

    def new_node(self) -> int:
        """A number for something that is being made."""
        self._next_node += 1
        return self._next_node - 1

    def names_change(self, changes: Mapping[bytes, Item | None], *,
                     sizes: Mapping[int, int] | None = None,
                     carried: Collection[int] = ()) -> None:
        """Names are about to change to these items, or to nothing, and sizes of nodes; the bytes of
        the `carried` come along. Until `names_changed` or `names_unchanged` no other change of
        names begins."""
        names = dict(self.names)
        for path, item in changes.items():
            if item is None:
                names.pop(path, None)
            else:
                names[path] = item
                if item.kind is Kind.FILE:
                    self._files.setdefault(item.node, _File())
        brought = {node: self._files[node].writes_count for node in carried}
        self._versions.append(_Version(names, {**self._versions[-1].carried, **brought}))
        for node, size in (sizes or {}).items():
            file = self._files[node]
            file.add(_Resize(size, len(self._versions) - 1))
            # What is left of the last block is a block that may be found, too.
            self._remember(file.now, max(0, size - 1), 1)

    def names_changed(self) -> None:
        """It has been done."""
        self._settled = len(self._versions) - 1

    def names_unchanged(self) -> None:
        """It was refused."""
        self._versions.pop()
        version = len(self._versions)
        for file in self._files.values():
            if any(isinstance(change, _Resize) and change.version == version
                   for change in file.changes):
                file.changes = [change for change in file.changes
                                if isinstance(change, _Write) or change.version != version]
                file.now = file.replayed(len(file.changes), version)

    def write(self, node: int, offset: int, data: bytes) -> None:
        """A file is about to be written to. Until it is done nobody else changes its bytes."""
        file = self._files[node]
        file.add(_Write(offset, data, self._settled))
        self._remember(file.now, offset, len(data))

    def unwritten(self, node: int) -> None:
        """The write that began last was refused."""
        file = self._files[node]
        file.changes.pop()
        file.now = file.replayed(len(file.changes), len(self._versions))

    def acknowledged(self, mark: Mark) -> None:
        """A sync that began at `mark` has been acknowledged."""
        version, counts = mark
        self._floor = max(self._floor, version)
        for node, count in counts.items():
            self._files[node].floor = max(self._files[node].floor, count)

    # -- judging -----------------------------------------------------------------------------

    def check(self, found: Tree, *, partial: bool = False) -> None:
        """Raise Lost unless a crash now may leave this tree. `partial`: contents may be unreadable
        (None); what can be read must be right all the same."""
        reasons = []
        for index in range(len(self._versions) - 1, self._floor - 1, -1):
            reason = self._differs(index, found, partial=partial)
            if reason is None:
                return
            reasons.append(f"version {index}: {reason}")
        raise Lost(f"the tree is none of versions {self._floor} to {len(self._versions) - 1}: "
                   + "; ".join(reasons[:4]))

    def check_exact(self, found: Tree) -> None:
        """Raise Lost unless this is the tree now, to the last byte."""
        now = {path: replace(item, data=self.content(item.node))
               if item.kind is Kind.FILE else item for path, item in self.names.items()}
        if (reason := _difference(now, found)) is not None:
            raise Lost(f"the tree differs: {reason}")
        for path, item in now.items():
            if item.data != found[path].data:
                raise Lost(f"{path!r} holds {_short(found[path].data)}, not {_short(item.data)}")

    def check_plausible(self, found: Tree) -> None:
        """Raise Lost if a block of a file was never written there in any file: what is asked of a
        pool past its budget."""
        for path, item in found.items():
            for at in range(0, len(item.data or b"") if item.kind is Kind.FILE else 0, BLOCK_LEN):
                block = (item.data or b"")[at : at + BLOCK_LEN].rstrip(b"\0")
                if block and (at, blake3(block).digest(8)) not in self._blocks:
                    raise Lost(f"{path!r} holds bytes at {at:x} that nobody wrote")

    def settle(self, found: Tree) -> None:
        """What was found after a recovery is what counts from now on, and is durable."""
        self._versions = [_Version({path: replace(item, data=b"") if item.kind is Kind.FILE
                                    else item for path, item in found.items()})]
        self._files = {item.node: _File(item.data or b"", now=item.data or b"")
                       for item in found.values() if item.kind is Kind.FILE}
        self._unread = {item.node for item in found.values()
                        if item.kind is Kind.FILE and item.data is None}
        self._floor = self._settled = 0
        self._next_node = 1 + max((item.node for item in found.values()), default=0)

    def check_read(self, path: bytes, node: int, found: bytes) -> None:
        """Raise Lost unless a file holds this. What the recovery could not read, past the budget, a
        fickle disk may still show: it is plausible, then, until it is written to."""
        file = self._files[node]
        if found == file.now:
            return
        if node not in self._unread:
            raise Lost(f"{path!r} read back wrong: {len(found)} bytes {found[:8].hex()}, "
                       f"not {len(file.now)} bytes {file.now[:8].hex()}")
        if not file.changes:
            self.check_plausible({path: Item(Kind.FILE, node, found)})

    def _differs(self, index: int, found: Tree, *, partial: bool) -> str | None:
        version = self._versions[index]
        reason = _difference(version.names, found)
        if reason is not None:
            return reason
        for path, item in version.names.items():
            if item.kind is not Kind.FILE:
                continue
            file, data = self._files[item.node], found[path].data
            floor = max(file.floor, version.carried.get(item.node, 0))
            if data is None and partial:
                continue
            if all(data != candidate for candidate in file.candidates(floor, index)):
                return (f"{path!r} holds {_short(data)}, expected one of "
                        f"{list(map(_short, file.candidates(floor, index)))[:6]}")
        return None

    def _remember(self, content: bytes, offset: int, length: int) -> None:
        for at in range(offset // BLOCK_LEN * BLOCK_LEN, offset + length, BLOCK_LEN):
            block = content[at : at + BLOCK_LEN].rstrip(b"\0")
            if block:
                self._blocks.add((at, blake3(block).digest(8)))


def _difference(names: Mapping[bytes, Item], found: Tree) -> str | None:
    """How the names differ; which node is which number does not matter."""
    lacking, more = names.keys() - found.keys(), found.keys() - names.keys()
    if lacking or more:
        return f"lacks {sorted(lacking)[:4]}, has {sorted(more)[:4]}"
    there: dict[int, int] = {}
    back: dict[int, int] = {}
    for path, item in names.items():
        other = found[path]
        if item.kind is not other.kind:
            return f"{path!r} is a {other.kind}, not a {item.kind}"
        if item.kind is Kind.LINK and other.data is not None and item.data != other.data:
            return f"{path!r} leads to {other.data!r}, not to {item.data!r}"
        if (there.setdefault(item.node, other.node), back.setdefault(other.node, item.node)) != (
                other.node, item.node):
            return f"{path!r} is linked to other names than it should be"
    return None


def _short(data: bytes | None) -> str:
    return "nothing readable" if data is None else f"{len(data)} bytes {data[:4].hex()}"
