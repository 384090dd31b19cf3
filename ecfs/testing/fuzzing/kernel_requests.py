"""Target: the kernel's FUSE requests, as bytes, to the request loop of the raw transport.

Every request with a whole header is answered once, by a reply or an errno that was foreseen: what
nobody foresaw is logged with a traceback, and that is a finding here. The loop goes on to the end.
"""

import logging
import struct
from collections.abc import Callable, Iterator
from functools import partial

import trio

from ecfs.base.limits import REQUEST_LEN_MAX
from ecfs.base.patience import Patience
from ecfs.base.promises import keep_all
from ecfs.base.world import SystemClock
from ecfs.driver.fuse_loop import Handler, RequestLoop
from ecfs.driver.fuse_protocol import (
    COPY_FILE_RANGE_IN,
    CREATE_IN,
    FALLOCATE_IN,
    IN_HEADER,
    INIT_IN,
    LSEEK_IN,
    MKNOD_IN,
    READ_IN,
    RENAME2_IN,
    SETATTR_IN,
    SETXATTR_IN,
    WRITE_IN,
    Opcode,
)
from ecfs.driver.idle_cores import IdleCores
from ecfs.driver.kernel_transport import KernelTransport
from ecfs.testing.fuzzing.target import FuzzTarget, expect
from ecfs.testing.memory_volume import MemoryVolume

REQUESTS_MAX = 64
REPLY_LEN_MAX = REQUEST_LEN_MAX + 4096
ERRNO_MAX = 4095
UNANSWERED = {Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.DESTROY}
_FRAME = struct.Struct(">BBBBH")
_FILE, _DIRECTORY = 2, 3


class _FedLoop(RequestLoop):
    """A loop whose device is a list of packets, and which keeps what it sends."""

    def __init__(self, handlers: dict[int, Handler], answered: Callable[[], None],
                 packets: list[bytes]) -> None:
        clock = SystemClock()
        super().__init__(-1, handlers, Patience(clock, cores_count=1, window_ns_max=1),
                         IdleCores(clock, None), answered, tasks_count=2)
        self._packets = packets
        self.sent: list[tuple[int, int, bytes]] = []

    def _read(self) -> memoryview | None:
        return memoryview(self._packets.pop(0) if self._packets else b"")

    def _send(self, unique: int, error: int, body: bytes | bytearray | memoryview = b"") -> None:
        self.sent.append((unique, error, bytes(body)))


class _Unforeseen(logging.Handler):
    """Keeps the exceptions that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take the exception of a line that has one."""
        if record.exc_info and record.exc_info[1] is not None:
            self.found.append(record.exc_info[1])


def kernel_requests(data: bytes) -> None:
    """Frames of opcode, inode, flags, handle and length of the body; see `_packets`."""
    packets = list(_packets(data))
    whole = [IN_HEADER.unpack_from(packet) for packet in packets
             if len(packet) >= IN_HEADER.size]
    log, handler = logging.getLogger("ecfs.driver"), _Unforeseen()
    propagated, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        sent = trio.run(_serve, packets)
    finally:
        log.removeHandler(handler)
        log.propagate = propagated
    for error in handler.found:
        raise error
    for unique, code, body in sent:
        expect(unique == 0 or -ERRNO_MAX <= code <= 0, f"errno {code}")
        expect(len(body) <= REPLY_LEN_MAX, "a reply longer than the kernel takes")
    answered = [unique for unique, _, _ in sent if unique]
    wanted = [header[2] for header in whole if header[1] not in UNANSWERED and header[2]]
    expect(sorted(answered) == sorted(wanted), f"{len(answered)} answers to {len(wanted)}")


async def _serve(packets: list[bytes]) -> list[tuple[int, int, bytes]]:
    volume = MemoryVolume(SystemClock())
    try:
        transport = KernelTransport(
            volume, writeback=False, entry_timeout_s=1.0, attribute_timeout_s=1.0,
            read_ahead_len=0, checks_modes=False, notify=lambda code, body: loop.notify(code, body))
        handlers = transport.handlers()
        for promises in volume.promises:
            promises.postpones = True
        loop = _FedLoop(handlers, partial(keep_all, volume.promises, answered=True), packets)
        await loop.run()
        await transport.requests.finish()
    finally:
        volume.database.close()
    return loop.sent


def _packets(data: bytes) -> Iterator[bytes]:
    """Requests to make a file and to open it and the root, then those in `data`.

    A frame: opcode, inode, flags (1: the header tells a wrong length, 2: the packet is cut to half,
    4: the inode is huge), which handle replaces the first eight bytes (0: none), length, body.
    """
    yield _packet(1, Opcode.INIT, 1, INIT_IN.pack(7, 38, 0, 0xFFFFFFFF))
    yield _packet(2, Opcode.CREATE, 1, CREATE_IN.pack(2, 0o100644, 0, 0) + b"file\0")
    yield _packet(3, Opcode.OPENDIR, 1, bytes(8))
    at = 0
    for number in range(REQUESTS_MAX):
        if at + _FRAME.size > len(data):
            return
        opcode, inode, flags, handle, length = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        body = data[at:at + length]
        at += length
        if handle:
            body = struct.pack("=Q", handle) + body[8:]
        place = inode << 56 if flags & 4 else inode
        packet = _packet(number + 4, opcode, place, body, wrong=bool(flags & 1))
        yield packet[:len(packet) // 2] if flags & 2 else packet


def _packet(unique: int, opcode: int, inode: int, body: bytes, *, wrong: bool = False) -> bytes:
    length = IN_HEADER.size + len(body) + wrong
    return IN_HEADER.pack(length, opcode, unique, inode, 1000, 1000, 1, 0, 0) + body


def _frame(opcode: int, body: bytes = b"", *, inode: int = 1, handle: int = 0,
           flags: int = 0) -> bytes:
    return _FRAME.pack(opcode, inode, flags, handle, len(body)) + body


def _seeds() -> Iterator[bytes]:
    huge = (1 << 64) - 1
    bodies = {
        Opcode.ACCESS: bytes(8), Opcode.LOOKUP: b"file\0",
        Opcode.MKDIR: bytes(8) + b"d\0", Opcode.SYMLINK: b"l\0to\0",
        Opcode.MKNOD: MKNOD_IN.pack(0o100600, 0, 0, 0) + b"n\0", Opcode.UNLINK: b"file\0",
        Opcode.RENAME2: RENAME2_IN.pack(1, 0, 0) + b"file\0other\0",
        Opcode.SETATTR: SETATTR_IN.pack(0x1FF, 0, 1 << 62, -1, 1 << 62, 5, 7, 7, 7, 0o7777, 1, 1),
        Opcode.SETXATTR: SETXATTR_IN.pack(5, 0, 0, 0) + b"user.a\0value",
        Opcode.GETXATTR: bytes(8) + b"user.a\0", Opcode.LISTXATTR: bytes(8),
        Opcode.READ: READ_IN.pack(1, 0, 0xFFFFFFFF, 0, 0, 0, 0),
        Opcode.WRITE: WRITE_IN.pack(1, huge, 5, 0, 0, 0, 0) + b"hello",
        Opcode.FALLOCATE: FALLOCATE_IN.pack(1, huge, huge, 0, 0),
        Opcode.READDIR: READ_IN.pack(2, huge, 4096, 0, 0, 0, 0),
        Opcode.READDIRPLUS: READ_IN.pack(2, 0, 4096, 0, 0, 0, 0),
        Opcode.FORGET: bytes(8), Opcode.BATCH_FORGET: b"\xff" * 24,
        Opcode.LSEEK: LSEEK_IN.pack(1, huge, 3, 0),
        Opcode.COPY_FILE_RANGE: COPY_FILE_RANGE_IN.pack(1, huge, 2, 1, 1 << 62, huge, 0),
        Opcode.TMPFILE: CREATE_IN.pack(2, 0xFFFFFFFF, 0, 0), Opcode.STATX: bytes(24),
        Opcode.RELEASE: bytes(24), Opcode.FSYNC: bytes(16), Opcode.FLUSH: bytes(24),
    }
    for opcode, body in bodies.items():
        yield _frame(opcode, body, inode=1) + _frame(opcode, body, inode=_FILE)
        yield _frame(opcode, body[:3]) + _frame(opcode, body, flags=1) + _frame(opcode, flags=2)
        yield _frame(opcode, body, inode=255, flags=4) + _frame(opcode, body, handle=255)
        yield _frame(opcode, body, inode=_FILE, handle=1) + _frame(opcode, body, handle=2)
    yield b"".join(_frame(opcode) for opcode in range(60))
    yield b"".join(_frame(opcode, b"\1") for opcode in Opcode)
    yield (_frame(Opcode.WRITE, WRITE_IN.pack(1, (1 << 62), 5, 0, 0, 0, 0) + b"hello", handle=1)
           + _frame(Opcode.READ, READ_IN.pack(1, 0, 0xFFFFFFFF, 0, 0, 0, 0), handle=1))
    yield _frame(Opcode.MKNOD, MKNOD_IN.pack(0xFFFFFFFF, 0xFFFFFFFF, 0, 0) + b"n\0")


TARGETS = (FuzzTarget("kernel-requests", kernel_requests, _seeds),)
