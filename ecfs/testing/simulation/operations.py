"""What programs do in a simulated world: operations on paths, drawn from a small set of names."""

import random
from dataclasses import dataclass

from ecfs.base.units import KIB

FOLDERS = (b"", b"a", b"b", b"a/c")
LEAVES = (b"one", b"two", b"three", b"four", b"five")


@dataclass(frozen=True, slots=True)
class Op:
    """One operation. `what` is one of the names in `WEIGHTS`; `length` is also the new size of a
    truncation and the milliseconds of a pause; `tag` makes the bytes of a write its own."""

    what: str
    path: bytes = b""
    other: bytes = b""
    offset: int = 0
    length: int = 0
    tag: int = 0

    def text(self) -> str:
        """The operation as one reads it."""
        parts = [self.what, self.path.decode()]
        if self.other:
            parts.append(self.other.decode())
        if self.what in ("write", "truncate", "pause"):
            parts.append(f"{self.offset}+{self.length}")
        return " ".join(parts)


WEIGHTS = {
    "write": 30, "append": 8, "read": 10, "fsync": 14, "fsync folder": 4, "sync": 2,
    "truncate": 5, "create": 4, "mkdir": 3, "rmdir": 2, "unlink": 6, "rename": 8, "link": 3,
    "symlink": 2, "close": 4, "forget": 2, "pause": 12, "checkpoint": 1, "attributes": 2,
}
MIXES: dict[str, dict[str, int]] = {
    "even": {},
    "writing": {"write": 80, "fsync": 4},
    "syncing": {"fsync": 60, "fsync folder": 10},
    "naming": {"rename": 40, "link": 20, "unlink": 20, "mkdir": 12, "rmdir": 10, "create": 20},
    "checkpointing": {"checkpoint": 20, "unlink": 15},
    "reading": {"read": 60},
}
"""Workload mixes: weights that differ from `WEIGHTS`."""

LENGTHS = (1, 100, 900, 4 * KIB, 5_000, 20_000, 33 * KIB, 70_000, 150_000)
BIG_LENGTHS = (*LENGTHS, 400_000, 1_200_000)


def draw_op(source: random.Random, mix: str, number: int, *, big: bool) -> Op:
    """The next operation of a task."""
    weights = WEIGHTS | MIXES[mix]
    what = source.choices(tuple(weights), tuple(weights.values()))[0]
    lengths = BIG_LENGTHS if big else LENGTHS
    path, other = draw_path(source), draw_path(source)
    length = source.choice(lengths)
    if what == "mkdir" or what == "rmdir":
        path = source.choice(FOLDERS[1:])
    elif what == "fsync folder":
        path = source.choice(FOLDERS)
    elif what == "pause":
        length = source.choice((1, 50, 1_000, 6_000))
    offset = source.choice((0, 0, 0, 100, 4 * KIB, 9_000, 60_000)) if what == "write" else 0
    return Op(what, path, other if what in ("rename", "link", "symlink") else b"", offset,
              length, number)


def first_ops() -> tuple[Op, ...]:
    """Folders to work in."""
    return tuple(Op("mkdir", folder) for folder in FOLDERS[1:])


def draw_path(source: random.Random) -> bytes:
    """A path of a file, which may be there or not."""
    folder = source.choice(FOLDERS[:1] * 3 + FOLDERS)
    return (folder + b"/" if folder else b"") + source.choice(LEAVES)


def bytes_of(op: Op, life: int) -> bytes:
    """What a write writes: bytes that tell where they come from."""
    return random.Random(f"{life}/{op.tag}/{op.length}").randbytes(op.length)
