"""Rows of ecfs alone that show bounds: lost targets, slow targets, a million files."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from scripts.bench_goals import Goals, at_least, at_most
from scripts.bench_row import (
    BLOCK_LEN,
    MIB,
    Bench,
    Figures,
    Group,
    Row,
    calls_per_second,
    create_file,
    read_block,
    read_stream,
    tell,
    write_stream,
)
from scripts.bench_stores import Ecfs, Store, memory_of

FILES_PER_DIRECTORY = 1000
# One file in so many has 4 KiB; the others have a few bytes, so that a million fit on a tmpfs.
BLOCK_EVERY = 4
# Where calls are made: as many directories as the smallest pool has.
DIRECTORIES_COUNT = 10
LOOKUPS_PER_DIRECTORY = 500
READS_PER_DIRECTORY = 200
CREATES_PER_DIRECTORY = 200
LOST_COUNT = 2
# MB/s of each target; one is slower than the others, so that what waits for it piles up.
SLOW_RATES = (60, 60, 60, 60, 60, 30)
SLOW_FILE_LEN = 1024 * MIB
SLOW_FILES_KEPT = 3


def _ecfs(store: Store) -> Ecfs:
    if not isinstance(store, Ecfs):
        raise TypeError("this row is for ecfs only")
    return store


def _known(value: int | None) -> int:
    if value is None:
        raise RuntimeError("the process that serves the mount is not found")
    return value


def degraded(store: Store, bench: Bench) -> Figures:
    """Sequential read of a large file, cold, MB/s: with all targets, then with two of them away."""
    pool = _ecfs(store)
    path = store.root / "stream"
    away = [(target, target.with_name(f"away-{target.name}")) for target in pool.targets]
    write_stream(path, bench.size.stream_len)
    store.turn_cold()
    healthy = bench.size.stream_len / 1e6 / read_stream(path)
    store.unmount()
    try:
        for target, elsewhere in away[:LOST_COUNT]:
            target.rename(elsewhere)
        store.turn_cold()
        found = bench.size.stream_len / 1e6 / read_stream(path)
        store.unmount()
    finally:
        for target, elsewhere in away[:LOST_COUNT]:
            if elsewhere.exists():
                elsewhere.rename(target)
    yield "healthy", healthy
    yield "degraded", found
    yield "degraded-ratio", found / healthy
    store.mount()
    path.unlink()


def slow_targets(store: Store, bench: Bench) -> Figures:
    """Most memory of ecfs, MB, while 20 GB are written faster than its targets take them.

    Files of 1 GiB, the last few of which are kept; one fsync, at the end. RuntimeError if the
    writing was faster than the targets allow, since they were not slow then.
    """
    pool = _ecfs(store)
    paths = [store.root / f"slow{index:02d}"
             for index in range(bench.size.slow_len // SLOW_FILE_LEN)]  # fmt: skip
    block = os.urandom(MIB)
    store.unmount()
    pool.rates = SLOW_RATES
    try:
        store.mount()
        started = time.perf_counter()
        for index, path in enumerate(paths):
            with path.open("wb", buffering=0) as file:
                for _ in range(SLOW_FILE_LEN // MIB):
                    file.write(block)
                if path is paths[-1]:
                    os.fsync(file.fileno())
            if index >= SLOW_FILES_KEPT:
                paths[index - SLOW_FILES_KEPT].unlink()
        seconds = time.perf_counter() - started
        peak = _known(store.peak_memory_len())
        rate = bench.size.slow_len / 1e6 / seconds
        # Each of the four shards that hold content goes to another target.
        if rate > 4 * max(SLOW_RATES):
            raise RuntimeError(f"the targets were not slow: {rate:.0f} MB/s")
        for path in paths:
            path.unlink(missing_ok=True)
    finally:
        store.unmount()
        pool.rates = ()
    store.mount()
    yield "slow-write", rate
    yield "slow-memory", peak / 1e6


def _path(top: Path, number: int) -> str:
    return f"{top}/{number // FILES_PER_DIRECTORY:04d}/{number % FILES_PER_DIRECTORY:03d}"


def _fill(top: Path, numbers: range) -> None:
    """Makes the files of these numbers."""
    block, few = os.urandom(BLOCK_LEN), b"a small file\n"
    for number in numbers:
        if number % FILES_PER_DIRECTORY == 0:
            os.makedirs(f"{top}/{number // FILES_PER_DIRECTORY:04d}")
        descriptor = os.open(_path(top, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(descriptor, block if number % BLOCK_EVERY == 0 else few)
        os.close(descriptor)


def _cold_rate(store: Store, call: Callable[[str], object], paths: list[str]) -> float:
    """Calls a second, cold but for the directories: their number must not count."""
    store.turn_cold()
    for folder in {os.path.dirname(path) for path in paths}:
        os.stat(folder)
    return calls_per_second(call, paths)


def _rates(store: Store, top: Path, count: int) -> dict[str, float]:
    """Create, lookup and read per second among `count` files, in some of the directories.

    In the same number of them at every size: calls that are spread over all would find each piece
    of metadata and each stripe already read for others in a small pool, and not in a large one.
    """
    chance = random.Random(count)
    folders = chance.sample(range(count // FILES_PER_DIRECTORY), DIRECTORIES_COUNT)

    def paths(files: range, per_directory: int, suffix: str = "") -> list[str]:
        chosen = [_path(top, folder * FILES_PER_DIRECTORY + number) + suffix
                  for folder in folders for number in chance.sample(files, per_directory)]
        chance.shuffle(chosen)
        return chosen

    every = range(FILES_PER_DIRECTORY)
    found = paths(every, LOOKUPS_PER_DIRECTORY)
    read = paths(every[::BLOCK_EVERY], READS_PER_DIRECTORY)
    made = paths(every, CREATES_PER_DIRECTORY, ".new")
    rates = {
        "lookup": _cold_rate(store, os.stat, found),
        "read": _cold_rate(store, read_block, read),
        "create": _cold_rate(store, create_file, made),
    }
    for path in made:
        os.unlink(path)
    return rates


def growing(store: Store, bench: Bench) -> Figures:
    """One pool that grows from ten thousand to a million files, 1000 in a directory.

    At each size, per second, in ten directories, cold but for them: create (and close), lookup
    (stat), read (open, read 4 KiB, close). The growth rows tell the cost at the last size
    over that at the first. million-mount: seconds of a mount at the last size, without the key
    derivation, as ecfs's log tells; million-memory: what its process holds right after.
    """
    pool = _ecfs(store)
    top = store.root / "growing"
    top.mkdir()
    counts = bench.size.growing_counts
    rates = []
    filled_count = 0
    for index, count in enumerate(counts):
        tell(f"making files number {filled_count + 1:,} to {count:,}")
        _fill(top, range(filled_count, count))
        filled_count = count
        rates.append(_rates(store, top, count))
        for word, rate in rates[-1].items():
            yield f"{word}-{STEPS[index]}", rate
    for word, rate in rates[0].items():
        yield f"{word}-growth", rate / rates[-1][word]
    store.turn_cold()
    whole, derivation = pool.mount_times_s()
    yield "million-mount", whole - derivation
    yield "million-memory", _known(memory_of(_known(pool.serving_pid()), "VmRSS")) / 1e6
    # Quicker than removing a million files.
    store.unmount()
    store.make()
    store.mount()


STEPS = ("10k", "100k", "1m")
ONLY_ECFS = ("ecfs",)
FLAT = Goals((at_most(1.5),))
GROUPS = (
    Group(degraded, (
        Row("healthy", "sequential read, cold, all targets", "MB/s"),
        Row("degraded", "the same, two targets gone", "MB/s"),
        Row("degraded-ratio", "two targets gone over all", "x", Goals((at_least(0.6),))),
    ), stores=ONLY_ECFS, quick=False),
    Group(slow_targets, (
        Row("slow-write", "20 GB onto slow targets", "MB/s"),
        Row("slow-memory", "most memory meanwhile", "MB", Goals((at_most(400),), (at_most(400),))),
    ), stores=ONLY_ECFS, once=True, large=True),
    Group(growing, (
        *(Row(f"{word}-{step}", f"{title}, {files} files", "/s")
          for step, files in zip(STEPS, ("10,000", "100,000", "1,000,000"), strict=True)
          for word, title in (("create", "create"), ("lookup", "lookup"),
                              ("read", "4 KiB read"))),
        Row("create-growth", "cost of create, most files over fewest", "x", FLAT),
        Row("lookup-growth", "cost of lookup, most files over fewest", "x", FLAT),
        Row("read-growth", "cost of 4 KiB read, most files over fewest", "x", FLAT),
        Row("million-mount", "mount of 1,000,000 files, without the KDF", "s",
            Goals((at_most(3),))),
        Row("million-memory", "memory after it", "MB", Goals((at_most(500),))),
    ), stores=ONLY_ECFS, once=True, large=True),
)  # fmt: skip
