"""What a kernel asked once, and what is answered: recorded traffic of the FUSE protocol.

`python -m ecfs.testing.fuse_traffic FILE` plays a fixed series of system calls on a mount, keeps
each request, answers all of them anew on a fresh volume with a clock of its own, and writes both.
A line is `opcode inode uid gid body reply`, bytes in hex, `-` for an empty body; the reply is
`none`, or `!` and the errno. Lines that begin with `#` say where it was recorded.
"""

import ctypes
import errno
import os
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import trio

from ecfs.base.errors import EcfsError
from ecfs.base.world import SystemClock
from ecfs.driver import MountOptions, serve, stop
from ecfs.driver.fuse_loop import Handler, Request
from ecfs.driver.kernel_transport import KernelTransport
from ecfs.testing.memory_volume import MemoryVolume

STATX_BTIME = 0x800
START_NS = 1_000_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the kernel sent it."""

    opcode: int
    inode: int
    uid: int
    gid: int
    body: bytes

    def to_line(self, reply: str) -> str:
        """A line of a recording."""
        return (f"{self.opcode} {self.inode} {self.uid} {self.gid} {self.body.hex() or '-'} "
                f"{reply}")


class SteppingClock:
    """Each look at it is a microsecond later."""

    def __init__(self) -> None:
        self._now_ns = START_NS

    def wall_ns(self) -> int:
        """Wall time that nobody else moves."""
        self._now_ns += 1000
        return self._now_ns

    def monotonic_ns(self) -> int:
        """The same."""
        return self._now_ns


class _RecordingTransport(KernelTransport):
    """Keeps what it is asked."""

    asked: list[Asked]

    def handlers(self) -> dict[int, Handler]:
        """Those of a transport, each keeping its request first."""
        return {opcode: self._kept(handler) for opcode, handler in super().handlers().items()}

    def _kept(self, handler: Handler) -> Handler:
        def keep(request: Request) -> object:
            self.asked.append(Asked(request.opcode, request.inode, request.uid, request.gid,
                                    bytes(request.body)))
            return handler(request)

        keep.__name__ = handler.__name__
        return keep  # type: ignore[return-value]  # whatever the handler answers


def transport_of(volume: MemoryVolume) -> KernelTransport:
    """A transport as a mount has it, without a kernel."""
    options = MountOptions()
    return KernelTransport(
        volume, writeback=False, entry_timeout_s=options.entry_timeout_s,
        attribute_timeout_s=options.attribute_timeout_s, read_ahead_len=options.read_ahead_len,
        notify=lambda code, body: None)


async def answer(handlers: dict[int, Handler], asked: Asked) -> str:
    """The reply, as a recording has it."""
    handler = handlers.get(asked.opcode)
    if handler is None:
        return f"!{errno.ENOSYS}"
    try:
        found = handler(Request(asked.opcode, 0, asked.inode, asked.uid, asked.gid,
                                memoryview(asked.body)))
        reply = await found if isinstance(found, Awaitable) else found
    except EcfsError as error:
        return f"!{error.errno}"
    return "none" if reply is None else bytes(reply).hex() or "-"


async def answer_all(requests: Iterable[Asked]) -> list[str]:
    """The replies of a fresh volume to all requests, in order."""
    handlers = transport_of(MemoryVolume(SteppingClock())).handlers()
    return [await answer(handlers, asked) for asked in requests]


def read_recording(path: Path) -> Iterator[tuple[Asked, str]]:
    """Requests and replies of a file."""
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            opcode, inode, uid, gid, body, reply = line.split(" ")
            yield Asked(int(opcode), int(inode), int(uid), int(gid),
                        b"" if body == "-" else bytes.fromhex(body)), reply


def play(base: Path) -> None:
    """System calls that bring forth every kind of request."""
    (base / "d").mkdir(0o750)
    (base / "d" / "f").write_bytes(b"content" * 100)
    (base / "d" / "f").read_bytes()
    fd = os.open(base / "d" / "f", os.O_RDWR)
    os.pwrite(fd, b"more", 9000)
    os.ftruncate(fd, 20_000)
    os.lseek(fd, 0, os.SEEK_HOLE)
    os.posix_fallocate(fd, 0, 30_000)
    os.fsync(fd)
    other = os.open(base / "g", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.copy_file_range(fd, other, 100, 0, 0)
    os.close(other)
    os.close(fd)
    os.symlink("d/f", base / "l")
    os.readlink(base / "l")
    os.link(base / "g", base / "h")
    os.mkfifo(base / "p")
    os.rename(base / "h", base / "d" / "h")
    os.chmod(base / "g", 0o4755)
    os.chown(base / "g", 7, 8)
    os.utime(base / "g", ns=(5, 6))
    os.setxattr(base / "g", "user.a", b"value")
    os.getxattr(base / "g", "user.a")
    os.listxattr(base / "g")
    os.removexattr(base / "g", "user.a")
    with suppress(OSError):
        os.getxattr(base / "g", "user.none")
    os.listdir(base)
    directory = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(os.open(base, os.O_TMPFILE | os.O_RDWR, 0o600))
    os.statvfs(base)
    libc = ctypes.CDLL(None)
    libc.statx(-100, os.fsencode(base / "g"), 0, STATX_BTIME, ctypes.create_string_buffer(256))
    os.close(directory)
    (base / "d" / "h").unlink()
    (base / "d" / "f").unlink()
    (base / "d").rmdir()


async def record(calls: Callable[[Path], None] = play) -> list[Asked]:
    """Mount a volume, make system calls, unmount; everything that the kernel asked."""
    asked: list[Asked] = []
    place = Path(tempfile.mkdtemp(prefix="ecfs-traffic-"))
    _RecordingTransport.asked = asked
    with patch("ecfs.driver.kernel_serving.KernelTransport", _RecordingTransport):
        async with trio.open_nursery() as nursery:
            ready = trio.Event()

            async def run() -> None:
                await serve(MemoryVolume(SystemClock()), str(place), MountOptions(),
                            ready=ready.set)

            nursery.start_soon(run)
            await ready.wait()
            await trio.to_thread.run_sync(calls, place)
            stop()
    place.rmdir()
    return asked


async def main(path: Path) -> None:
    """Write a recording."""
    asked = await record()
    replies = await answer_all(asked)
    lines = [f"# Linux {platform.release()}, {len(asked)} requests"]
    lines += [one.to_line(reply) for one, reply in zip(asked, replies, strict=True)]
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
