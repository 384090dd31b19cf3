"""What a row of the table is, how much work it does, and the work that several kinds share."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.bench_goals import Goals
from scripts.bench_stores import Store
from scripts.bench_tree import make_repository, write_tree

MIB = 1 << 20
KIB = 1 << 10
REQUEST_LEN = MIB
BLOCK_LEN = 4 * KIB


def tell(text: str) -> None:
    """One line of progress, on standard error."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Size:
    """How much work a run does; lengths in bytes."""

    rounds: int
    stream_len: int
    small_requests_len: int
    mixed_len: int
    random_len: int
    random_count: int
    sync_count: int
    names_count: int
    tree_count: int
    tree_len: int
    repository_count: int
    rewrite_len: int
    rewrite_count: int
    files_count: int
    slow_len: int = 20 * 1024 * MIB
    growing_counts: tuple[int, ...] = (10_000, 100_000, 1_000_000)


FULL = Size(rounds=3, stream_len=1024 * MIB, small_requests_len=512 * MIB, mixed_len=512 * MIB,
            random_len=512 * MIB, random_count=8_000, sync_count=2_000, names_count=6_000,
            tree_count=9_000, tree_len=270_000_000, repository_count=5_000,
            rewrite_len=2048 * MIB, rewrite_count=10, files_count=100_000)  # fmt: skip
QUICK = Size(rounds=1, stream_len=128 * MIB, small_requests_len=64 * MIB, mixed_len=64 * MIB,
             random_len=128 * MIB, random_count=2_000, sync_count=300, names_count=1_000,
             tree_count=1_500, tree_len=45_000_000, repository_count=1_000,
             rewrite_len=128 * MIB, rewrite_count=4, files_count=3_000)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What a group of rows works with.

    `place` is a directory beside the stores, `wanted` the names of the rows that are asked for;
    `note_memory` hears of peaks.
    """

    size: Size
    place: Path
    wanted: frozenset[str]
    note_memory: Callable[[Store], None]

    def archive(self) -> Path:
        """The tar of the tree, made when it is first asked for."""
        path = self.place / "tree.tar"
        if not path.exists():
            tell("making the tree")
            write_tree(path, count=self.size.tree_count, total_len=self.size.tree_len)
        return path

    def repository(self) -> Path:
        """A bare git repository, made when it is first asked for."""
        path = self.place / "repository.git"
        if not path.exists():
            tell("making the repository")
            make_repository(path, count=self.size.repository_count)
        return path


NO_GOALS = Goals()
Figures = Iterator[tuple[str, float]]
Measure = Callable[[Store, Bench], Figures]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    title: str
    unit: str
    goals: Goals = NO_GOALS


@dataclass(frozen=True)
class Group:
    """Rows that are measured one after the other on the same files.

    `measure` gets a mounted store with cold caches, yields names of rows with their figures, and
    takes its files away; it is closed after the last row that is wanted. `stores` are those that it
    is for; all of them without it. `once`: a single round will do. `large`: only when asked for;
    `quick`: also in quick runs.
    """

    measure: Measure
    rows: tuple[Row, ...]
    stores: tuple[str, ...] | None = None
    once: bool = False
    large: bool = False
    quick: bool = True


def scaled(count: int, store: Store) -> int:
    """The part of the work of a rate that is done on this store."""
    return max(1, count // store.share)


def scaled_len(length: int, store: Store) -> int:
    """The same for lengths: whole MiB."""
    return max(MIB, length // store.share // MIB * MIB)


def write_stream(path: Path, length: int, *, request_len: int = REQUEST_LEN,
                 flags: int = os.O_TRUNC) -> float:
    """Writes `length` bytes that do not compress and syncs them; returns the seconds."""
    block = os.urandom(request_len)
    started = time.perf_counter()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    try:
        for _ in range(length // request_len):
            os.write(descriptor, block)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return time.perf_counter() - started


def read_stream(path: Path) -> float:
    """Reads a file from its beginning to its end; returns the seconds."""
    started = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(REQUEST_LEN)
        while file.readinto(buffer):
            pass
    return time.perf_counter() - started


def together(works: Sequence[Callable[[], object]]) -> float:
    """Runs each in a process of its own, all released at once; seconds until the last one ended.

    Raises RuntimeError if one of them fails.
    """
    gate, release = os.pipe()
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(release)
                os.read(gate, 1)
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(status)
        children.append(child)
    os.close(gate)
    started = time.perf_counter()
    os.close(release)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    seconds = time.perf_counter() - started
    if any(statuses):
        raise RuntimeError("one of the processes failed")
    return seconds


def calls_per_second(call: Callable[[str], object], paths: list[str]) -> float:
    """Calls a second, one after the other."""
    started = time.perf_counter()
    for path in paths:
        call(path)
    return len(paths) / (time.perf_counter() - started)


def create_file(path: str) -> None:
    """A new file, closed at once."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def read_block(path: str) -> None:
    """Opens a file, reads its first 4 KiB, closes it."""
    descriptor = os.open(path, os.O_RDONLY)
    os.read(descriptor, BLOCK_LEN)
    os.close(descriptor)
