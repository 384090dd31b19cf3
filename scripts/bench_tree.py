"""A tree of files as a tar archive and as a git repository, the same bytes for the same seed.

Sizes follow a log-normal distribution, as those of source trees do: half of the files have less
than 8 KiB, and a few have megabytes.
"""

import io
import math
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

FILES_COUNT = 9_000
CONTENT_LEN = 270_000_000
FILES_PER_DIRECTORY = 15
SIGMA = 1.6
MEAN_LEN = 8_000
FIXED_MTIME = 1_700_000_000


def file_lengths(count: int, total_len: int, chance: random.Random) -> list[int]:
    """`count` lengths in bytes that add up to `total_len`."""
    weights = [math.exp(chance.gauss(0.0, SIGMA)) for _ in range(count)]
    scale = total_len / sum(weights)
    lengths = [int(weight * scale) for weight in weights]
    lengths[-1] += total_len - sum(lengths)
    return lengths


def directories(count: int, chance: random.Random) -> list[str]:
    """Names of `count` directories, each in one that stands before it."""
    names = ["tree"]
    while len(names) < count:
        parent = chance.choice(names)
        if parent.count("/") < 8:
            names.append(f"{parent}/dir{len(names):04d}")
    return names


def members(count: int, total_len: int, seed: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """The members of the archive in order: all directories, then all files."""
    chance = random.Random(seed)
    folders = directories(max(1, count // FILES_PER_DIRECTORY), chance)
    for name in folders:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, FIXED_MTIME
        yield info, b""
    for index, length in enumerate(file_lengths(count, total_len, chance)):
        info = tarfile.TarInfo(f"{chance.choice(folders)}/file{index:05d}.txt")
        info.size, info.mode, info.mtime = length, 0o644, FIXED_MTIME + index
        yield info, chance.randbytes(length)


def write_tree(path: Path, *, count: int, total_len: int, seed: int = 1) -> None:
    """Writes the archive."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members(count, total_len, seed):
            archive.addfile(info, io.BytesIO(content))


def make_repository(path: Path, *, count: int, seed: int = 2) -> None:
    """Makes a bare git repository with one commit of `count` files, packed."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    with subprocess.Popen(
        ["git", "-C", str(path), "fast-import", "--quiet"], stdin=subprocess.PIPE
    ) as process:
        if process.stdin is None:
            raise RuntimeError("git has no standard input")
        write = process.stdin.write
        write(b"commit refs/heads/main\n")
        write(b"committer Bench <bench@example.org> %d +0000\n" % FIXED_MTIME)
        write(b"data 4\ntree\n")
        for info, content in members(count, count * MEAN_LEN, seed):
            if info.isfile():
                write(b"M 100644 inline %s\ndata %d\n" % (info.name.encode(), len(content)))
                write(content + b"\n")
    if process.returncode != 0:
        raise RuntimeError(f"git fast-import failed with {process.returncode}")
