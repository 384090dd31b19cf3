"""Rows of room: what a file, a tree and rewriting take on the disk; and how long a mount takes."""

import subprocess
from collections.abc import Callable

from scripts.bench_goals import at_most, both
from scripts.bench_row import Bench, Figures, Group, Row, write_stream
from scripts.bench_rows_programs import KEEPING
from scripts.bench_stores import Ecfs, Store


def _space(store: Store, fill: Callable[[], int]) -> float:
    """Stored bytes for each byte of content that `fill` writes into the new store."""
    store.unmount()
    store.make()
    store.mount()
    store.unmount()
    empty_len = store.stored_len()
    store.mount()
    content_len = fill()
    store.unmount()
    ratio = (store.stored_len() - empty_len) / content_len
    store.make()
    store.mount()
    return ratio


def space_of_large_file(store: Store, bench: Bench) -> Figures:
    """Stored bytes for each byte of one large file in a new store."""

    def fill() -> int:
        write_stream(store.root / "large", bench.size.stream_len)
        return bench.size.stream_len

    yield "space-file", _space(store, fill)


def space_of_tree(store: Store, bench: Bench) -> Figures:
    """Stored bytes for each byte of the tree in a new store, metadata included."""
    archive = str(bench.archive())

    def fill() -> int:
        subprocess.run(["tar", "-xf", archive, "-C", str(store.root)], check=True)
        return bench.size.tree_len

    yield "space-tree", _space(store, fill)


def rewriting(store: Store, bench: Bench) -> Figures:
    """Stored bytes after the last rewriting of a file, for each byte stored after the first."""
    path = store.root / "rewritten"
    store.unmount()
    store.make()
    store.mount()
    write_stream(path, bench.size.rewrite_len)
    store.turn_cold()
    first_len = store.stored_len()
    for _ in range(bench.size.rewrite_count):
        write_stream(path, bench.size.rewrite_len, flags=0)
        bench.note_memory(store)
    store.unmount()
    last_len = store.stored_len()
    store.make()
    store.mount()
    yield "rewrite", last_len / first_len


def mounting(store: Store, bench: Bench) -> Figures:
    """Seconds of a mount with many small files, 1000 in a directory, without the key derivation."""
    if not isinstance(store, Ecfs):
        raise TypeError("only ecfs tells how long a mount took")
    top = store.root / "many"
    # They stay for the next round.
    if not top.exists():
        for folder in range(bench.size.files_count // 1000):
            (top / f"{folder:03d}").mkdir(parents=True)
            for name in range(1000):
                (top / f"{folder:03d}" / f"{name:03d}").write_bytes(b"a small file\n")
    store.turn_cold()
    whole, derivation = store.mount_times_s()
    bench.note_memory(store)
    yield "mount", whole - derivation


ONLY_ECFS = ("ecfs",)
GROUPS = (
    Group(space_of_large_file, (
        Row("space-file", "stored bytes a byte, large file", "x", both(at_most(1.53))),
    ), stores=KEEPING, once=True, quick=False),
    Group(space_of_tree, (
        Row("space-tree", "stored bytes a byte, tree", "x", both(at_most(2))),
    ), stores=KEEPING, once=True, quick=False),
    Group(rewriting, (
        Row("rewrite", "stored bytes after rewriting", "x first", both(at_most(1.2))),
    ), stores=ONLY_ECFS, once=True, quick=False),
    Group(mounting, (
        Row("mount", "mount of many files, without the KDF", "s", both(at_most(2))),
    ), stores=ONLY_ECFS),
)  # fmt: skip
