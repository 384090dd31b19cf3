"""Target: a directory that somebody else filled, read as a target of a pool."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import trio

from ecfs.base.errors import TargetError
from ecfs.base.units import BLOCK_LEN
from ecfs.base.world import SystemClock
from ecfs.formats import COLUMN_PATTERN, SEGMENTS_FOLDER, claim_name, commits_name, label_name
from ecfs.observe import Journal
from ecfs.stripes import Fleet, Member, MemberState
from ecfs.targets import DirectoryTarget, InlineLane, Target
from ecfs.testing.fuzzing.material import EPOCH, FixedEntropy, box_keys, golden
from ecfs.testing.fuzzing.target import FuzzTarget, expect
from ecfs.volume import Environment, Host
from ecfs.volume.claiming import Claimer
from ecfs.volume.looking import look_at
from ecfs.volume.records import read_log

SHM = Path("/dev/shm")
ENTRIES_MAX = 40
COLUMN = "segments/05/0000000000000003-0000000000000005.col"
NAMES = (label_name(3, 17), label_name(3, 18), claim_name(3), claim_name((1 << 64) - 1),
         commits_name(3), commits_name(4), "heartbeat.0000000000000003", SEGMENTS_FOLDER,
         "segments/05", COLUMN)
CONTENTS = ("label", "claim", "commit-delta", "heartbeat", "column-header")
HOST = Host("fuzz", "boot", 1)


def directory_target(data: bytes) -> None:
    """Entries of two bytes, kind and name, then looked at as label, claims, log and columns."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as base:
        root = Path(base) / "target"
        root.mkdir()
        (Path(base) / "outside").write_bytes(golden("label"))
        for at in range(0, min(len(data) - 1, 2 * ENTRIES_MAX), 2):
            _plant(root, data[at], data[at + 1], data[2 * ENTRIES_MAX:])
        _look(root)
        expect((Path(base) / "outside").read_bytes() == golden("label"), "a file outside changed")


def _plant(root: Path, kind: int, name: int, rest: bytes) -> None:
    if name & 0x80:
        junk = rest[name & 0x7F:][:12].replace(b"/", b"_").replace(b"\0", b"_")
        path = os.fsencode(root) + b"/" + (junk.strip(b".") or b"junk")
    else:
        path = os.fsencode(root / NAMES[name % len(NAMES)])
    content = golden(CONTENTS[kind >> 4]) if kind >> 4 < len(CONTENTS) else rest[:BLOCK_LEN]
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        match kind & 7:
            case 0 | 1 | 2:
                with open(path, "xb") as file:
                    file.write(content)
            case 3:
                os.mkdir(path)
            case 4:
                os.symlink(b"../outside", path)
            case 5:
                os.mkfifo(path)
            case 6:
                os.link(os.fsencode(root / "../outside"), path)
            case _:
                with open(path, "xb") as file:
                    file.truncate(1 << 40)
    except OSError:
        # Two of one name, or one below a file: the first counts.
        pass


def _look(root: Path) -> None:
    environment = Environment(SystemClock(), FixedEntropy(), root, root, DirectoryTarget,
                              InlineLane, HOST)
    sighting = look_at(str(root), environment)
    expect(bool(sighting.labels) or bool(sighting.reason) or sighting.unknown_format is not None,
           "no label and no reason")
    target = sighting.target
    if target is None:
        return
    member = Member(bytes(16), "t", str(root), target, InlineLane(), MemberState.ONLINE)
    try:
        trio.run(_read_all, Fleet([member], Journal(SystemClock())))
        for folder in ("", SEGMENTS_FOLDER, f"{SEGMENTS_FOLDER}/05"):
            _read_folder(target, folder)
    except TargetError:
        # It is not a target any more; nothing else may come out.
        pass
    finally:
        target.close()


def _read_folder(target: Target, folder: str) -> None:
    for name in target.list_names(folder):
        path = f"{folder}/{name}" if folder else name
        if not (COLUMN_PATTERN.fullmatch(name) or path in NAMES):
            continue
        try:
            expect(len(target.read(path, 0, BLOCK_LEN)) <= min(BLOCK_LEN, target.size(path)),
                   "more bytes than there are")
        except TargetError:
            continue
    target.stored_len()


async def _read_all(fleet: Fleet) -> None:
    claimer = Claimer(fleet, box_keys("claim"), box_keys("heartbeat"), FixedEntropy(),
                      Journal(SystemClock()), HOST, (bytes(16),), 1)
    await claimer.look()
    await read_log(fleet, [bytes(16)], box_keys("commit"), epoch=EPOCH, offset=0)


def _seeds() -> Iterator[bytes]:
    for kind in range(8):
        yield bytes(part for name in range(len(NAMES)) for part in (kind, name))
    yield bytes([0x00, 0, 0x10, 2, 0x20, 4, 0x30, 6, 0x40, 9, 0, 0x81, 3, 0x83]).ljust(
        2 * ENTRIES_MAX, b"\x03") + b"junk\xff\xfe.tmp-\n\\x\1"


TARGETS = (FuzzTarget("directory-target", directory_target, _seeds, refusals=()),)
