"""Mounting, serving until unmounted, unmounting; the same for each transport."""

import contextlib
import gc
import logging
from collections.abc import Callable

import trio

from ecfs.driver.kernel import set_io_flusher, set_read_ahead
from ecfs.driver.kernel_serving import serve_kernel
from ecfs.driver.options import MountOptions, Transport
from ecfs.driver.orphans import sweep_orphans
from ecfs.driver.pyfuse3_serving import serve_pyfuse3
from ecfs.driver.volume_protocol import Mounted

_log = logging.getLogger("ecfs.driver")
_stopping: trio.lowlevel.RunVar[trio.Event] = trio.lowlevel.RunVar("ecfs.driver.stopping")


async def serve(mounted: Mounted, mountpoint: str, options: MountOptions, *,
                ready: Callable[[], None]) -> None:
    """Mount and serve until the file system is unmounted, `stop` is called, or this is cancelled.

    `ready` is called once, when the mount answers requests. Returns, or raises, unmounted: dirty
    pages of the kernel have been written by then, and no request is under way. Raises
    MountFailed when the mount is refused, RuntimeError when it ends before it is ready. One mount
    at a time. Orphans of a mount that ended badly are swept first, unless this one is read-only.
    """
    if not options.read_only:
        await sweep_orphans(mounted)
    set_io_flusher()
    # What is there by now stays: a full collection that goes through all of it takes 20 ms, in the
    # middle of somebody's request.
    gc.collect()
    gc.freeze()
    stopping = trio.Event()
    _stopping.set(stopping)
    announced = trio.Event()

    async def announce() -> None:
        try:
            await trio.to_thread.run_sync(set_read_ahead, mountpoint, options.read_ahead_len,
                                          abandon_on_cancel=True)
        except OSError as error:
            _log.error("the mount on %s does not answer: %s", mountpoint, error)
            stopping.set()
        else:
            announced.set()
            ready()

    serve_one = serve_kernel if options.transport is Transport.RAW else serve_pyfuse3
    await serve_one(mounted, mountpoint, options, announce, stopping)
    if not announced.is_set():
        raise RuntimeError(f"the mount on {mountpoint} ended before it was ready")


def stop() -> None:
    """Let the `serve` of this event loop come to its end. Does nothing when none runs."""
    with contextlib.suppress(LookupError):
        _stopping.get().set()
