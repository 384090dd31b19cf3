"""Rows of names: one kind of call after the other on many small files."""

import os
import shutil

from scripts.bench_goals import BEST_PEER, at_least, both
from scripts.bench_row import (
    BLOCK_LEN,
    Bench,
    Figures,
    Group,
    Row,
    calls_per_second,
    create_file,
    read_block,
    scaled,
)
from scripts.bench_stores import Store

FILES_PER_DIRECTORY = 500
CONTENT = os.urandom(BLOCK_LEN)


def _create_4k(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(descriptor, CONTENT)
    os.close(descriptor)


def _open(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


def names(store: Store, bench: Bench) -> Figures:
    """Calls on many files, 500 in a directory, by one process; per second.

    mkdir, create (and close), create-4k (create, write 4 KiB, close): new names. stat: files of
    4 KiB, cold. open (and close): right after, so the names are known to the kernel. open-read
    (open, read 4 KiB, close): cold. rename: within the directory, and unlink: all of them right
    after, so names are known.
    """
    count = scaled(bench.size.names_count, store)
    top = store.root / "names"
    folders = [top / f"d{index:04d}" for index in range(-(-count // FILES_PER_DIRECTORY))]

    def paths(word: str) -> list[str]:
        return [f"{folders[index // FILES_PER_DIRECTORY]}/{word}{index:06d}"
                for index in range(count)]  # fmt: skip

    try:
        for folder in folders:
            folder.mkdir(parents=True)
        if "mkdir" in bench.wanted:
            yield "mkdir", calls_per_second(os.mkdir, paths("directory"))
        if "create" in bench.wanted:
            yield "create", calls_per_second(create_file, paths("empty"))
        files = paths("file")
        yield "create-4k", calls_per_second(_create_4k, files)
        store.turn_cold()
        yield "stat", calls_per_second(os.stat, files)
        if "open" in bench.wanted:
            yield "open", calls_per_second(_open, files)
        if "open-read" in bench.wanted:
            store.turn_cold()
            yield "open-read", calls_per_second(read_block, files)
        renamed = dict(zip(files, paths("renamed"), strict=True))
        yield "rename", calls_per_second(lambda path: os.rename(path, renamed[path]), files)
        yield "unlink", calls_per_second(os.unlink, list(renamed.values()))
        bench.note_memory(store)
    finally:
        shutil.rmtree(top)


# pyfuse3's own share of a request leaves no more.
GOALS = both(at_least(1.2, BEST_PEER), at_least(0.8, "null-pyfuse3", "ecfs-pyfuse3"))
GROUPS = (
    Group(names, (
        Row("mkdir", "mkdir", "/s", GOALS),
        Row("create", "create, close", "/s", GOALS),
        Row("create-4k", "create, write 4 KiB, close", "/s", GOALS),
        Row("stat", "stat, cold", "/s", GOALS),
        Row("open", "open, close", "/s", GOALS),
        Row("open-read", "open, read 4 KiB, close, cold", "/s", GOALS),
        Row("rename", "rename", "/s", GOALS),
        Row("unlink", "unlink", "/s", GOALS),
    )),
)  # fmt: skip
