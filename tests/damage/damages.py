"""What may happen to a target, and in which file and place. All of it repeatable."""

import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ecfs.base.errors import Fault, TargetError
from ecfs.base.units import BLOCK_LEN, KIB
from ecfs.formats import (
    CLAIM_PATTERN,
    COMMITS_PATTERN,
    HEARTBEAT_PATTERN,
    KIND_CONTENT,
    KIND_METADATA,
    labels_among,
)
from ecfs.targets import Outcome
from ecfs.testing.pools import copy_tree
from tests.damage.lab import Lab, Place


@dataclass(frozen=True, slots=True)
class Damaging:
    """A kind of damage. `apply(lab, target, other)`: `other` is where a swap's second column is.

    `there`: the target's label and records can still be read, so that it takes part and is healed.
    `counted`: reading everything must count an error against the target; for other kinds only a
    scrub, or nobody, has to notice.
    """

    id: str
    apply: Callable[[Lab, int, int], None]
    there: bool = True
    counted: bool = False


def _column(lab: Lab, target: int, kind: int = KIND_CONTENT, number: int = -1) -> Path:
    """The column file that has the last stripe (or another) of a kind."""
    return lab.path(target) / lab.places[kind][number].column


def _delete(lab: Lab, target: int, _: int) -> None:
    shutil.rmtree(lab.path(target))


def _blank(lab: Lab, target: int, _: int) -> None:
    _delete(lab, target, _)
    lab.path(target).mkdir()


def _older(lab: Lab, target: int, _: int) -> None:
    copy_tree(lab.older / lab.path(target).name, lab.path(target))


def randomise(kind: int) -> Callable[[Lab, int, int], None]:
    """All columns of a kind on a target become random bytes."""
    def apply(lab: Lab, target: int, _: int) -> None:
        for place in lab.places[kind]:
            path = lab.path(target) / place.column
            path.write_bytes(random.Random(target).randbytes(path.stat().st_size))

    return apply


def _cut(lab: Lab, target: int, _: int) -> None:
    for place in lab.places[KIND_CONTENT]:
        os.truncate(lab.path(target) / place.column, place.offset + place.record_len // 2)


def _empty(lab: Lab, target: int, _: int) -> None:
    for place in lab.places[KIND_CONTENT] + lab.places[KIND_METADATA]:
        os.truncate(lab.path(target) / place.column, 0)


def _extend(lab: Lab, target: int, _: int) -> None:
    for path in {_column(lab, target), _column(lab, target, KIND_METADATA)}:
        with path.open("ab") as file:
            file.write(random.Random(target).randbytes(3 * BLOCK_LEN + 17))


def _swap(lab: Lab, target: int, other: int) -> None:
    for place in {place.column: place for place in lab.places[KIND_CONTENT]}.values():
        one, two = lab.path(target) / place.column, lab.path(other) / place.column
        if one.exists() and two.exists():
            spare = one.with_suffix(".spare")
            one.rename(spare)
            two.rename(one)
            spare.rename(two)


def _swap_stripes(lab: Lab, target: int, _: int) -> None:
    """Two segments of one target change places."""
    one, two = _column(lab, target, number=0), _column(lab, target, number=-1)
    assert one != two
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)


def _planted(plant: Callable[[Path, Path], None]) -> Callable[[Lab, int, int], None]:
    """The real column moves out of the target, and something else lies in its place."""
    def apply(lab: Lab, target: int, _: int) -> None:
        path = _column(lab, target)
        moved = lab.base / "pool" / f"moved{target}"
        path.rename(moved)
        plant(path, moved)

    return apply


def _unreadable(lab: Lab, target: int, _: int) -> None:
    """Every read of every file fails."""
    lab.plan_for(target, lambda number, method, name, offset:
                 Fault.IO if method == "read" else None)


def _unreadable_columns(lab: Lab, target: int, _: int) -> None:
    """Sectors of columns that cannot be read until they are written again."""
    written: set[tuple[str, int]] = set()

    def plan(number: int, method: str, name: str, offset: int) -> Outcome:
        if method == "write":
            written.add((name, offset))
        return None

    def corrupt(name: str, offset: int, data: bytes) -> bytes:
        for place in lab.places[KIND_CONTENT] + lab.places[KIND_METADATA]:
            if place.column == name and (name, place.offset) not in written and (
                    offset < place.offset + place.record_len
                    and place.offset < offset + len(data)):
                raise TargetError(Fault.IO, f"{name}: bad sector")
        return data

    lab.plan_for(target, plan, corrupt)


def _flip_bit(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << at % 8]))


def _flip_in_column(kind: int, spot: Callable[[Place], int]) -> Callable[[Lab, int, int], None]:
    def apply(lab: Lab, target: int, _: int) -> None:
        for place in lab.places[kind]:
            _flip_bit(lab.path(target) / place.column, spot(place))

    return apply


def _flip_in_named(names_of: Callable[[list[str]], list[str]],
                   spot: Callable[[bytes], int]) -> Callable[[Lab, int, int], None]:
    """In the first (newest) of the names that fit."""
    def apply(lab: Lab, target: int, _: int) -> None:
        folder = lab.path(target)
        path = folder / names_of(os.listdir(folder))[0]
        _flip_bit(path, spot(path.read_bytes()))

    return apply


def _named(pattern: re.Pattern[str]) -> Callable[[list[str]], list[str]]:
    return lambda names: sorted(filter(pattern.fullmatch, names), reverse=True)


def _labels(names: list[str]) -> list[str]:
    return [name for _, _, name in labels_among(names)]


def _last_byte(data: bytes) -> int:
    """The last byte that is not zero: the end of the newest record."""
    return len(data.rstrip(b"\0")) - 1


def _wreck_label(lab: Lab, target: int, _: int) -> None:
    """Rotten past correction, but the one before it is there."""
    folder = lab.path(target)
    name = _labels(os.listdir(folder))[0]
    (folder / name).write_bytes(random.Random(1).randbytes(8 * KIB))


def _wreck_records(lab: Lab, target: int, _: int) -> None:
    folder = lab.path(target)
    for name in _named(COMMITS_PATTERN)(os.listdir(folder)):
        path = folder / name
        path.write_bytes(random.Random(2).randbytes(path.stat().st_size))


def _link_records(lab: Lab, target: int, _: int) -> None:
    """A symbolic link, to what the file was, in the place of every record file."""
    folder = lab.path(target)
    for name in _named(COMMITS_PATTERN)(os.listdir(folder)):
        moved = lab.base / "pool" / f"moved-{target}-{name}"
        (folder / name).rename(moved)
        (folder / name).symlink_to(moved)


def _link_segments(lab: Lab, target: int, _: int) -> None:
    moved = lab.base / "pool" / f"moved-segments{target}"
    (lab.path(target) / "segments").rename(moved)
    (lab.path(target) / "segments").symlink_to(moved)


def _file_as_segments(lab: Lab, target: int, _: int) -> None:
    shutil.rmtree(lab.path(target) / "segments")
    (lab.path(target) / "segments").write_bytes(b"not a folder")


def _plant_full_folder(path: Path, moved: Path) -> None:
    (path / "below").mkdir(parents=True)
    (path / "below" / "precious").write_bytes(b"somebody's")


def _remove_all_but_columns(lab: Lab, target: int, _: int) -> None:
    folder = lab.path(target)
    for name in os.listdir(folder):
        if name != "segments" and not name.startswith("label"):
            os.remove(folder / name)


_SPOTS: dict[str, Callable[[Place], int]] = {
    "magic": lambda place: place.offset + 3,
    "head": lambda place: place.offset + 8 + 20,
    "salt": lambda place: place.offset + 72 + 5,
    "tags": lambda place: place.offset + 104 + 32 * 3 + 9,
    "body-begin": lambda place: place.offset + place.head_len,
    "body": lambda place: place.offset + place.head_len + (place.record_len - place.head_len) // 3,
    "padding": lambda place: place.offset + place.record_len - 1,
}

TABLE = [
    Damaging("deleted", _delete, there=False),
    Damaging("blank", _blank, there=False),
    Damaging("older", _older, counted=True),
    Damaging("random", randomise(KIND_CONTENT), counted=True),
    Damaging("cut", _cut, counted=True),
    Damaging("extended", _extend),
    Damaging("swapped", _swap, counted=True),
    Damaging("eio", _unreadable, there=False),
    Damaging("eio-columns", _unreadable_columns, counted=True),
    Damaging("flip-body", _flip_in_column(KIND_CONTENT, _SPOTS["body"])),
    Damaging("flip-record", _flip_in_named(_named(COMMITS_PATTERN), lambda data: 200),
             counted=True),
    Damaging("symlink", _planted(lambda path, moved: path.symlink_to(moved))),
]
"""What is tried alone and in pairs."""

MORE = [
    Damaging("random-metadata", randomise(KIND_METADATA)),
    Damaging("empty", _empty, counted=True),
    Damaging("swapped-segments", _swap_stripes, counted=True),
    Damaging("fifo", _planted(lambda path, moved: os.mkfifo(path))),
    Damaging("folder", _planted(lambda path, moved: path.mkdir())),
    Damaging("full-folder", _planted(_plant_full_folder)),
    Damaging("segments-linked", _link_segments),
    Damaging("segments-file", _file_as_segments),
    Damaging("hard-link", _planted(lambda path, moved: os.link(moved, path))),
    Damaging("no-column", _planted(lambda path, moved: None)),
    Damaging("label-wrecked", _wreck_label, counted=True),
    Damaging("records-random", _wreck_records, counted=True),
    Damaging("records-linked", _link_records, counted=True),
    Damaging("no-records", _remove_all_but_columns),
    Damaging("flip-label", _flip_in_named(_labels, lambda data: 600), counted=True),
    Damaging("flip-label-padding", _flip_in_named(_labels, lambda data: len(data) - 1)),
    Damaging("flip-claim", _flip_in_named(_named(CLAIM_PATTERN), lambda data: 40)),
    Damaging("flip-heartbeat", _flip_in_named(_named(HEARTBEAT_PATTERN), lambda data: 40)),
    # Of the newest record, and of what lies behind it, nobody can tell whether a crash tore it.
    Damaging("flip-record-end", _flip_in_named(_named(COMMITS_PATTERN), _last_byte)),
    Damaging("flip-records-room", _flip_in_named(_named(COMMITS_PATTERN),
                                                 lambda data: len(data) - 100)),
    Damaging("flip-header", _flip_in_column(KIND_CONTENT, lambda place: 20)),
    Damaging("flip-header-padding", _flip_in_column(KIND_METADATA, lambda place: 4000)),
    *[Damaging(f"flip-{name}-{word}", _flip_in_column(kind, spot)) for name, spot in _SPOTS.items()
      for kind, word in ((KIND_CONTENT, "content"), (KIND_METADATA, "metadata"))],
]
"""What is tried alone."""


BY_ID = {damaging.id: damaging for damaging in [*TABLE, *MORE]}
