"""Targets: page map chunks, page deltas, and the log of commits as a member shows it."""

from collections.abc import Iterator
from functools import cache

import trio

from ecfs.base.units import BLOCK_LEN
from ecfs.base.world import SystemClock
from ecfs.formats import PageDelta, commits_name
from ecfs.metadata import CHUNK_LEN, PageMap, decode_delta, encode_delta
from ecfs.observe import Journal
from ecfs.stripes import Fleet, Member, MemberState
from ecfs.targets import InlineLane, MemoryTarget
from ecfs.testing.fuzzing.material import EPOCH, box_keys, golden
from ecfs.testing.fuzzing.target import FuzzTarget, expect
from ecfs.volume.records import read_log
from ecfs.volume.recovery import adopt

CHUNK_PLACES_MAX = CHUNK_LEN // 8
BEFORE = bytes(range(256)) * 16


def page_map(data: bytes) -> None:
    """Chunks of the page map: four bytes of how many pages there should be, then the chunks."""
    count = int.from_bytes(data[:4], "big")
    rest = data[4:]
    chunks = [rest[at:at + CHUNK_LEN] for at in range(0, len(rest), CHUNK_LEN)]
    pages = PageMap.from_chunks(chunks, count)
    expect(len(pages) == count, "a page map of another length")
    pages.live_pages()
    for page in {1, max(1, count), count + 1}:
        expect(0 <= pages.place(page) < 1 << 64, "an impossible place")


def page_delta(data: bytes) -> None:
    """A delta against a page, or on its own: zstandard of any kind, bombs among it."""
    based = bool(data and data[0] & 1)
    after = decode_delta(PageDelta(1, based, data[1:]), BEFORE if based else None)
    expect(len(after) == BLOCK_LEN, "a page of another length")


def commit_log(data: bytes) -> None:
    """`commits.<epoch>` of two members: the second misses what the first byte says."""
    fleet = Fleet([_member(0, data[1:]), _member(1, data[1 + (data[0] if data else 0):])],
                  Journal(SystemClock()))
    trio.run(_read, fleet)


def _member(number: int, content: bytes) -> Member:
    target = MemoryTarget(f"memory{number}")
    target.create(commits_name(EPOCH), content)
    identity = bytes([number]) * 16
    return Member(identity, f"t{number}", target.path, target, InlineLane(), MemberState.ONLINE)


async def _read(fleet: Fleet) -> None:
    view = await read_log(fleet, [member.id for member in fleet], box_keys("commit"), epoch=EPOCH,
                          offset=0)
    expect(all(key[0] == EPOCH for key in view.records), "a record of another epoch")
    adopt(view, drop_tail=False)
    adopt(view, drop_tail=True)


@cache
def _bomb() -> bytes:
    return encode_delta(1, None, bytes(BLOCK_LEN)).data


def _deltas() -> Iterator[bytes]:
    yield b"\0" + _bomb()
    yield b"\1" + encode_delta(1, BEFORE, BEFORE[::-1]).data
    # Frames that promise 4 KiB or nothing and hold megabytes of one byte.
    block = b"\xff\xff\x0f"[:3]
    yield b"\0\x28\xb5\x2f\xfd\x60\x00\x0f" + block + b"x"
    yield b"\0\x28\xb5\x2f\xfd\x00\x58" + (b"\x02\x00\x10" + b"x") * 500
    yield b"\0\x28\xb5\x2f\xfd\x40\xf8\x00\x0f" + (b"\x02\x00\x10" + b"x") * 500


def _logs() -> Iterator[bytes]:
    delta, checkpoint = golden("commit-delta"), golden("commit-checkpoint")
    yield b"\0" + delta + checkpoint
    yield b"\1" + bytes(BLOCK_LEN) + delta + delta
    forged = delta[:12] + (4 << 20).to_bytes(4, "big") + delta[16:]
    yield b"\0" + forged * 4 + checkpoint


TARGETS = (
    FuzzTarget("page-map", page_map,
               lambda: [b"\0\0\0\4" + golden("page-map-chunk"), b"\xff\xff\xff\xff" + bytes(64)]),
    FuzzTarget("page-delta", page_delta, _deltas),
    FuzzTarget("commit-log", commit_log, _logs),
)
