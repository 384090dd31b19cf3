"""The rows of the table: what is done on each store, what is measured, what is to be reached."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.bench_stores import Ecfs, Store

MIB = 1 << 20
REQUEST_LEN = MIB


@dataclass(frozen=True)
class Size:
    """How much work a run does; lengths in bytes."""

    rounds: int
    stream_len: int
    tree_count: int
    tree_len: int
    rewrite_len: int
    rewrite_count: int
    files_count: int


FULL = Size(3, 512 * MIB, 9_000, 270_000_000, 2048 * MIB, 10, 100_000)
QUICK = Size(1, 128 * MIB, 1_500, 45_000_000, 256 * MIB, 4, 5_000)


@dataclass(frozen=True)
class Bench:
    """What a row works with. `archive` is the tar of the tree; `note_memory` hears of peaks."""

    size: Size
    archive: Path
    note_memory: Callable[[Store], None]


Measure = Callable[[Store, Bench], float]


@dataclass(frozen=True)
class Goal:
    """What ecfs has to reach: a bound on its own figure, or on its ratio to another store."""

    bound: float
    than: str | None
    at_least: bool

    def is_met(self, figures: dict[str, float]) -> bool | None:
        """None where the figure to compare with is missing."""
        value = figures.get("ecfs")
        other = 1.0 if self.than is None else figures.get(self.than)
        if value is None or not other:
            return None
        ratio = value / other
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def __str__(self) -> str:
        than = f" x {self.than}" if self.than else ""
        return f"{'>=' if self.at_least else '<='} {self.bound:g}{than}"


@dataclass(frozen=True)
class Row:
    """One line of the table. `stores` are those it is measured on; all of them without it."""

    name: str
    title: str
    unit: str
    measure: Measure
    goal: Goal | None = None
    stores: tuple[str, ...] | None = None
    once: bool = False


def drop_caches() -> None:
    """Writes back and empties the kernel's page, name and inode caches."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def write_stream(path: Path, length: int, *, flags: int = os.O_TRUNC) -> float:
    """Writes `length` bytes that do not compress and syncs them; returns the seconds."""
    block = os.urandom(REQUEST_LEN)
    started = time.perf_counter()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    try:
        for _ in range(length // REQUEST_LEN):
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


def remount(store: Store) -> None:
    """A store with cold caches, its own and the kernel's."""
    store.unmount()
    drop_caches()
    store.mount()


def sequential_write(store: Store, bench: Bench) -> float:
    """MB/s."""
    path = store.root / "stream"
    path.unlink(missing_ok=True)
    remount(store)
    seconds = write_stream(path, bench.size.stream_len)
    bench.note_memory(store)
    return bench.size.stream_len / 1e6 / seconds


def sequential_read(store: Store, bench: Bench) -> float:
    """MB/s, cold."""
    path = store.root / "stream"
    if not path.exists():
        write_stream(path, bench.size.stream_len)
    remount(store)
    seconds = read_stream(path)
    bench.note_memory(store)
    return bench.size.stream_len / 1e6 / seconds


def untar(store: Store, bench: Bench) -> float:
    """Seconds."""
    place = store.root / "untar"
    subprocess.run(["rm", "-rf", str(place)], check=True)
    place.mkdir()
    remount(store)
    started = time.perf_counter()
    subprocess.run(["tar", "-xf", str(bench.archive), "-C", str(place)], check=True)
    seconds = time.perf_counter() - started
    bench.note_memory(store)
    return seconds


def _space(store: Store, fill: Callable[[], int]) -> float:
    """Stored bytes for each byte of content that `fill` writes into the new store."""
    store.unmount()
    store.make()
    empty_len = store.stored_len()
    store.mount()
    content_len = fill()
    store.unmount()
    ratio = (store.stored_len() - empty_len) / content_len
    store.mount()
    return ratio


def space_of_large_file(store: Store, bench: Bench) -> float:
    """Stored bytes for each byte."""

    def fill() -> int:
        write_stream(store.root / "large", bench.size.stream_len)
        return bench.size.stream_len

    return _space(store, fill)


def space_of_tree(store: Store, bench: Bench) -> float:
    """Stored bytes for each byte, metadata included."""

    def fill() -> int:
        subprocess.run(["tar", "-xf", str(bench.archive), "-C", str(store.root)], check=True)
        return bench.size.tree_len

    return _space(store, fill)


def rewriting(store: Store, bench: Bench) -> float:
    """Stored bytes after the last rewriting of a file, for each byte stored after the first."""
    path = store.root / "rewritten"
    store.unmount()
    store.make()
    store.mount()
    write_stream(path, bench.size.rewrite_len)
    remount(store)
    first_len = store.stored_len()
    for _ in range(bench.size.rewrite_count):
        write_stream(path, bench.size.rewrite_len, flags=0)
        bench.note_memory(store)
    store.unmount()
    last_len = store.stored_len()
    store.mount()
    return last_len / first_len


def mounting(store: Store, bench: Bench) -> float:
    """Seconds without those of the key derivation."""
    if not isinstance(store, Ecfs):
        raise TypeError("only ecfs tells how long a mount took")
    top = store.root / "many"
    if not top.exists():
        for folder in range(bench.size.files_count // 1000):
            (top / f"{folder:03d}").mkdir(parents=True)
            for name in range(1000):
                (top / f"{folder:03d}" / f"{name:03d}").write_bytes(b"a small file\n")
    remount(store)
    whole, derivation = store.mount_times_s()
    bench.note_memory(store)
    return whole - derivation


OTHER = "gocryptfs"
ONLY_ECFS = ("ecfs",)
ROWS = (
    Row("write", "sequential write, fsync at the end", "MB/s", sequential_write,
        Goal(0.7, OTHER, at_least=True)),
    Row("read", "sequential read, cold", "MB/s", sequential_read,
        Goal(0.7, OTHER, at_least=True)),
    Row("untar", "untar of the tree", "s", untar, Goal(1.5, OTHER, at_least=False)),
    Row("space-file", "stored bytes a byte, large file", "x", space_of_large_file,
        Goal(1.53, None, at_least=False), once=True),
    Row("space-tree", "stored bytes a byte, tree", "x", space_of_tree,
        Goal(2.0, None, at_least=False), once=True),
    Row("rewrite", "stored bytes after rewriting", "x first", rewriting,
        Goal(1.2, None, at_least=False), ONLY_ECFS, once=True),
    Row("mount", "mount of many files, without the KDF", "s", mounting,
        Goal(2.0, None, at_least=False), ONLY_ECFS),
)  # fmt: skip
MEMORY_GOAL = Goal(400, None, at_least=False)
