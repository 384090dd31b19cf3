"""Mounting, serving until unmounted, unmounting. pyfuse3 keeps one mount a process."""

from collections.abc import Callable
from dataclasses import dataclass

import pyfuse3
import trio

from ecfs.base.limits import REQUESTS_AT_ONCE_MAX
from ecfs.base.units import MIB
from ecfs.driver.kernel import set_io_flusher, set_read_ahead
from ecfs.driver.pyfuse3_transport import Operations
from ecfs.driver.volume_protocol import Mounted


@dataclass(frozen=True, slots=True, kw_only=True)
class MountOptions:
    """How to mount. Timeouts in seconds: how long the kernel may answer from its caches.

    `writeback`: the kernel gathers small writes and owns size and times of open files; an error
    then shows at fsync or close. `flags` go to mount(2) as they are: `noexec`, `dev`, `suid`, ...
    """

    allow_other: bool = False
    read_only: bool = False
    writeback: bool = False
    entry_timeout_s: float = 3600.0
    attribute_timeout_s: float = 3600.0
    read_ahead_len: int = 4 * MIB
    requests_at_once_max: int = REQUESTS_AT_ONCE_MAX
    flags: frozenset[str] = frozenset()

    def fuse_options(self) -> set[str]:
        """The options that the FUSE library gets.

        Not `max_read`: libfuse 3.14 refuses it unless the init handler, which pyfuse3 keeps to
        itself, says the same. Requests are 1 MiB at most without it.
        """
        options = {"fsname=ecfs", "subtype=ecfs", "default_permissions", *self.flags}
        if self.allow_other:
            options.add("allow_other")
        if self.read_only:
            options.add("ro")
        return options


async def serve(mounted: Mounted, mountpoint: str, options: MountOptions, *,
                ready: Callable[[], None]) -> None:
    """Mount and serve until the file system is unmounted or `stop` is called.

    `ready` is called once, when the mount answers requests. Returns, or raises, unmounted. Raises
    RuntimeError when the kernel or libfuse refuses the mount, or ends it before it is ready.
    """
    set_io_flusher()
    operations = Operations(mounted, writeback=options.writeback,
                            entry_timeout_s=options.entry_timeout_s,
                            attribute_timeout_s=options.attribute_timeout_s)
    announced = trio.Event()
    pyfuse3.init(operations, mountpoint, options.fuse_options())
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_announce, mountpoint, options.read_ahead_len, ready, announced)
            await pyfuse3.main(min_tasks=1, max_tasks=options.requests_at_once_max)
            nursery.cancel_scope.cancel()
    finally:
        pyfuse3.close(unmount=True)
        await operations.requests.finish()
    if not announced.is_set():
        raise RuntimeError(f"the mount on {mountpoint} ended before it was ready")


def stop() -> None:
    """Let `serve` come to its end; call it on the event loop's thread."""
    pyfuse3.terminate()


async def _announce(mountpoint: str, read_ahead_len: int, ready: Callable[[], None],
                    announced: trio.Event) -> None:
    await trio.to_thread.run_sync(set_read_ahead, mountpoint, read_ahead_len,
                                  abandon_on_cancel=True)
    announced.set()
    ready()
