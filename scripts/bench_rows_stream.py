"""Rows of bytes: in sequence, at random places, synced."""

import os
import random
import time
from functools import partial
from pathlib import Path

from scripts.bench_goals import BEST_PEER, Goals, at_least, both
from scripts.bench_row import (
    BLOCK_LEN,
    KIB,
    MIB,
    Bench,
    Figures,
    Group,
    Row,
    read_stream,
    scaled,
    scaled_len,
    together,
    write_stream,
)
from scripts.bench_stores import Store

WRITERS_COUNT = 8
SYNCED_LEN = 4 * MIB
WRITERS_S = 2.0


def streams(store: Store, bench: Bench) -> Figures:
    """Large files, MB/s.

    write: a new file in requests of 1 MiB, synced at the end. read: the same file, cold.
    write-4k: a new file in requests of 4 KiB, synced at the end. mixed: two processes read a file
    each, cold, and two write a new one each and sync it; the sum of the bytes over the time until
    the last of them ends.
    """
    path = store.root / "stream"
    paths = [store.root / f"mixed{index}" for index in range(4)]
    try:
        length = scaled_len(bench.size.stream_len, store)
        seconds = write_stream(path, length)
        bench.note_memory(store)
        yield "write", length / 1e6 / seconds
        if "read" in bench.wanted:
            store.turn_cold()
            seconds = read_stream(path)
            bench.note_memory(store)
            yield "read", length / 1e6 / seconds
        path.unlink()
        if "write-4k" in bench.wanted:
            length = scaled_len(bench.size.small_requests_len, store)
            seconds = write_stream(path, length, request_len=4 * KIB)
            bench.note_memory(store)
            yield "write-4k", length / 1e6 / seconds
            path.unlink()
        length = scaled_len(bench.size.mixed_len, store)
        for read_path in paths[:2]:
            write_stream(read_path, length)
        store.turn_cold()
        readers = [partial(read_stream, read_path) for read_path in paths[:2]]
        writers = [partial(write_stream, write_path, length) for write_path in paths[2:]]
        seconds = together([*readers, *writers])
        bench.note_memory(store)
        yield "mixed", 4 * length / 1e6 / seconds
    finally:
        for made in (path, *paths):
            made.unlink(missing_ok=True)


def _offsets(length: int, count: int, seed: int) -> list[int]:
    """`count` offsets of blocks, none of them twice."""
    blocks = range(length // BLOCK_LEN)
    return [block * BLOCK_LEN for block in random.Random(seed).sample(blocks, count)]


def random_blocks(store: Store, bench: Bench) -> Figures:
    """Blocks of 4 KiB at random places of a file that was written in sequence, each once; per s.

    rand-read: cold. rand-write: the file is cold at first, one fsync at the end counts in.
    """
    path = store.root / "random"
    length = scaled_len(bench.size.random_len, store)
    count = scaled(bench.size.random_count, store)
    try:
        write_stream(path, length)
        store.turn_cold()
        descriptor = os.open(path, os.O_RDONLY)
        try:
            offsets = _offsets(length, count, 1)
            started = time.perf_counter()
            for offset in offsets:
                os.pread(descriptor, BLOCK_LEN, offset)
            yield "rand-read", count / (time.perf_counter() - started)
        finally:
            os.close(descriptor)
        store.turn_cold()
        yield "rand-write", count / _write_blocks(path, _offsets(length, count, 2), each=False)
        bench.note_memory(store)
    finally:
        path.unlink(missing_ok=True)


def _write_blocks(path: Path, offsets: list[int], *, each: bool) -> float:
    """Writes blocks; fsync after each or at the end. Returns the seconds."""
    contents = [os.urandom(BLOCK_LEN) for _ in range(16)]
    descriptor = os.open(path, os.O_WRONLY)
    try:
        started = time.perf_counter()
        for index, offset in enumerate(offsets):
            os.pwrite(descriptor, contents[index % len(contents)], offset)
            if each:
                os.fsync(descriptor)
        if not each:
            os.fsync(descriptor)
        return time.perf_counter() - started
    finally:
        os.close(descriptor)


def synced_blocks(store: Store, bench: Bench) -> Figures:
    """Blocks of 4 KiB at random places of a file of 4 MiB, with an fsync after each; per s.

    fsync-1: one process. fsync-8: eight, each with a file of its own. fsync-gain: the one over the
    other. How many blocks the eight write follows from the single rate, so that it takes seconds.
    """
    paths = [store.root / f"synced{index}" for index in range(WRITERS_COUNT)]
    try:
        for path in paths:
            write_stream(path, SYNCED_LEN)
        store.turn_cold()
        count = scaled(bench.size.sync_count, store)
        chance = random.Random(3)
        places = [block * BLOCK_LEN for block in chance.choices(range(SYNCED_LEN // BLOCK_LEN),
                                                                k=count)]  # fmt: skip
        single = count / _write_blocks(paths[0], places, each=True)
        yield "fsync-1", single
        count = max(10, min(count // 2, int(single * WRITERS_S / WRITERS_COUNT)))
        seconds = together(
            [partial(_write_blocks, path, places[:count], each=True) for path in paths]
        )
        several = WRITERS_COUNT * count / seconds
        yield "fsync-8", several
        yield "fsync-gain", several / single
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


OTHER = "gocryptfs"
# Six disks take half as many bytes again as one.
PLAIN_SHARE = 0.85 / 1.5
GROUPS = (
    Group(streams, (
        Row("write", "sequential write, 1 MiB requests, fsync at the end", "MB/s",
            Goals((at_least(1.5, OTHER),), (at_least(PLAIN_SHARE, "plain"),))),
        Row("read", "sequential read, cold", "MB/s",
            Goals((at_least(1.5, OTHER),), (at_least(1.2, OTHER),))),
        Row("write-4k", "sequential write, 4 KiB requests, fsync at the end", "MB/s",
            Goals((at_least(1.5, OTHER),))),
        Row("mixed", "two readers and two writers, total", "MB/s",
            Goals((at_least(1.5, OTHER),))),
    )),
    Group(random_blocks, (
        Row("rand-read", "random read 4 KiB, cold", "/s", both(at_least(1, BEST_PEER))),
        Row("rand-write", "random write 4 KiB, fsync at the end", "/s",
            Goals((at_least(1, BEST_PEER),), (at_least(2, BEST_PEER),))),
    )),
    Group(synced_blocks, (
        Row("fsync-1", "random write 4 KiB, fsync each", "/s",
            Goals(disk=(at_least(0.5, OTHER),))),
        Row("fsync-8", "the same, eight writers", "/s"),
        Row("fsync-gain", "eight writers over one", "x", Goals(disk=(at_least(2),))),
    )),
)  # fmt: skip
