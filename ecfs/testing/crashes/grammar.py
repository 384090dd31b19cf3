"""The workloads: sequences of operations from a small grammar, and what each tells the oracle."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ecfs.testing.crashes.pool import some_bytes
from ecfs.testing.crashes.recording import Recorder
from ecfs.testing.oracle import Oracle
from ecfs.testing.pools import Opening
from ecfs.testing.trees import Kind, Seen

SMALL_LEN = 3_000
LARGE_LEN = 40_000
"""A small write is carried by a commit record when it is fsynced, a large one needs stripes."""

OPERATIONS = (
    "create n", "mkdir e", "link a n", "link b d/n", "unlink a", "unlink b", "rename a n",
    "rename a b", "rename b d/b", "rename n a", "rename n b", "rmdir d",
    "write n small", "write n large", "write a small", "write a large", "write b small",
    "write b large", "write d/n small", "truncate a 100", "truncate a 5000", "truncate b 20001",
    "truncate b 0",
    "fsync a", "fsync b", "fsync n", "fsync_dir", "sync",
)
SYNCS = ("fsync a", "fsync b", "fsync n", "fsync_dir", "sync")


@dataclass(frozen=True, slots=True)
class Told:
    """One call of an Oracle, to be made again."""

    method: str
    arguments: tuple[object, ...]

    def tell(self, oracle: Oracle) -> None:
        """Make it."""
        getattr(oracle, self.method)(*self.arguments)

    def __str__(self) -> str:
        words = [f"{len(one)} bytes" if isinstance(one, bytes) and len(one) > 20 else str(one)
                 for one in self.arguments if not isinstance(one, dict)]
        return " ".join([self.method, *words])


def workloads(length: int) -> Iterator[tuple[str, ...]]:
    """Every workload of one or two operations that can be carried out, in a fixed order."""
    for words in itertools.product(OPERATIONS, repeat=length):
        if is_possible(words):
            yield words


def sampled_workloads(length: int, seed: str) -> Iterator[tuple[str, ...]]:
    """Random ones that can be carried out, without end; half of them end with a sync."""
    source = random.Random(seed)
    while True:
        words = [source.choice(OPERATIONS) for _ in range(length)]
        if source.random() < 0.5:
            words[-1] = source.choice(SYNCS)
        if is_possible(words):
            yield tuple(words)


def is_possible(words: Sequence[str]) -> bool:
    """Whether every operation finds what it needs, and none is a sync after nothing."""
    names = {"a", "b", "c", "d"}
    if words[0] in SYNCS:
        return False
    for word in words:
        verb, *paths = word.split()
        if verb in ("fsync_dir", "sync"):
            continue
        path = paths[0]
        if verb == "create" or verb == "mkdir":
            if path in names:
                return False
            names.add(path)
        elif verb == "write":
            names.add(path)
        elif path not in names:
            return False
        elif verb == "link":
            if paths[1] in names:
                return False
            names.add(paths[1])
        elif verb == "rename":
            names.discard(path)
            names.add(paths[1])
        elif verb == "rmdir":
            if any(name.startswith("d/") for name in names):
                return False
            names.discard(path)
        elif verb == "unlink":
            names.discard(path)
        if "d" not in names and any(name.startswith("d/") for name in names):
            return False
    return True


class Actor:
    """Carries out operations on an open pool that is recorded, and notes what the oracle is to
    be told and when. `oracle` is told at once too."""

    def __init__(self, opening: Opening, recorder: Recorder, base: dict[bytes, Seen]) -> None:
        self._opening = opening
        self._recorder = recorder
        self.oracle = Oracle(base)
        self._turn = 0

    def tell(self, method: str, *arguments: object) -> None:
        """The oracle is to know this from the next batch on."""
        told = Told(method, arguments)
        told.tell(self.oracle)
        self._recorder.note(told)

    async def act(self, words: str) -> None:
        """One operation."""
        self._turn += 1
        verb, *rest = words.split()
        paths = [word.encode() for word in rest]
        shell, volume = self._opening.shell, self._opening.volume
        if verb == "create":
            self.tell("create", paths[0], Kind.FILE)
            shell.make(paths[0])
        elif verb == "mkdir":
            self.tell("mkdir", paths[0])
            shell.make_folder(paths[0])
        elif verb == "link":
            self.tell("link", *paths)
            shell.link(*paths)
        elif verb == "unlink":
            self.tell("unlink", paths[0])
            shell.unlink(paths[0])
        elif verb == "rmdir":
            self.tell("rmdir", paths[0])
            shell.remove_folder(paths[0])
        elif verb == "rename":
            self.tell("rename", *paths)
            await shell.rename(*paths)
        elif verb == "truncate":
            self.tell("truncate", paths[0], int(rest[1]))
            await shell.truncate(paths[0], int(rest[1]))
        elif verb == "write":
            await self._write(paths[0], LARGE_LEN if rest[1] == "large" else SMALL_LEN)
        elif verb == "fsync":
            await shell.fsync(paths[0])
            self.tell("fsync", paths[0])
        elif verb == "fsync_dir":
            await volume.fsync(shell.find(b"d" if shell.exists(b"d") else b"").inode)
            self.tell("fsync_dir")
        elif verb == "sync":
            await volume.fsync(None)
            self.tell("sync")
        else:
            raise ValueError(words)

    async def _write(self, path: bytes, length: int) -> None:
        if not self.oracle.exists(path):
            self.tell("create", path, Kind.FILE)
            self._opening.shell.make(path)
        offset = min(100, len(self.oracle.read(path)))
        data = some_bytes((path, length, self._turn), length)
        self.tell("write", path, offset, data)
        await self._opening.shell.write(path, data, offset)
