"""Rows of programs: a tree of files that is unpacked, listed, searched, copied, cloned, removed."""

import os
import subprocess
import time
from pathlib import Path

from scripts.bench_goals import BEST_PEER, at_most, both
from scripts.bench_row import Bench, Figures, Group, Row
from scripts.bench_stores import Store

# No program looks at settings or languages of whoever runs the benchmark.
ENVIRON = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "LC_ALL": "C",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}
GIT_CLOCK_S = 1.1
ABSENT = "this does not occur anywhere in the tree"


def timed(*command: str, statuses: tuple[int, ...] = (0,)) -> tuple[float, bytes]:
    """Seconds and output of a command; RuntimeError unless it exits with one of `statuses`."""
    started = time.perf_counter()
    done = subprocess.run(
        command, env=ENVIRON, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode not in statuses:
        words = done.stderr.decode(errors="replace").strip()[-300:]
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {words}")
    return seconds, done.stdout


def _remove(path: Path) -> float:
    return timed("rm", "-rf", str(path))[0]


def tree(store: Store, bench: Bench) -> Figures:
    """A tree of files, seconds.

    untar: into a new directory. ls: `ls -lR` of it, cold. grep: `grep -r` for what is not there,
    cold. cp: `cp -a` of it beside itself, cold. rm: `rm -rf` of the first, cold.
    """
    place, copy = store.root / "untar", store.root / "copy"
    archive = str(bench.archive())
    try:
        place.mkdir()
        seconds, _ = timed("tar", "-xf", archive, "-C", str(place))
        bench.note_memory(store)
        yield "untar", seconds
        if "ls" in bench.wanted:
            store.turn_cold()
            yield "ls", timed("ls", "-lR", str(place))[0]
        if "grep" in bench.wanted:
            store.turn_cold()
            yield "grep", timed("grep", "-rF", ABSENT, str(place), statuses=(1,))[0]
        if "cp" in bench.wanted:
            store.turn_cold()
            yield "cp", timed("cp", "-a", str(place), str(copy))[0]
            bench.note_memory(store)
            _remove(copy)
        store.turn_cold()
        yield "rm", _remove(place)
    finally:
        _remove(place)
        _remove(copy)


def git(store: Store, bench: Bench) -> Figures:
    """A git repository with one commit, seconds.

    clone: of a bare repository beside the stores, with its files. status: of the clone, cold, after
    one that was not timed: the first has to look into files that are as young as git's index. By
    git's count a file is so within the same second, so that one waits for the next: else the files
    of a quick clone would be looked into once more, but not those of a slow one.
    """
    clone = store.root / "clone"
    source = str(bench.repository())
    status = ("git", "-C", str(clone), "status", "--porcelain")
    try:
        seconds, _ = timed("git", "clone", "-q", "--no-hardlinks", source, str(clone))
        bench.note_memory(store)
        yield "clone", seconds
        time.sleep(GIT_CLOCK_S)
        timed(*status)
        store.turn_cold()
        seconds, changes = timed(*status)
        if changes:
            raise RuntimeError(f"git status tells of changes in a fresh clone: {changes[:100]!r}")
        yield "status", seconds
    finally:
        _remove(clone)


MUCH_FASTER = both(at_most(0.7, BEST_PEER))
NO_SLOWER = both(at_most(1, BEST_PEER))
# CryFS is left out: it takes minutes.
KEEPING = ("ecfs", "ecfs-pyfuse3", "gocryptfs", "securefs", "plain")
GROUPS = (
    Group(tree, (
        Row("untar", "untar of the tree", "s", MUCH_FASTER),
        Row("ls", "ls -lR, cold", "s", NO_SLOWER),
        Row("grep", "grep -r, cold", "s", MUCH_FASTER),
        Row("cp", "cp -a of the tree, cold", "s", MUCH_FASTER),
        Row("rm", "rm -rf, cold", "s", NO_SLOWER),
    ), stores=(*KEEPING, "null-pyfuse3", "null-raw")),
    Group(git, (
        Row("clone", "git clone", "s", MUCH_FASTER),
        Row("status", "git status, cold", "s", MUCH_FASTER),
    ), stores=KEEPING),
)  # fmt: skip
