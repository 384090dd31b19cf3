"""Serving through pyfuse3, which keeps global state: one mount a process."""

from collections.abc import Awaitable, Callable

import pyfuse3
import trio

from ecfs.base.errors import MountFailed
from ecfs.base.world import SystemClock
from ecfs.driver.fuse_loop import CONNECTION_ENDED
from ecfs.driver.idle_cores import IdleCores
from ecfs.driver.kernel import compares_modes
from ecfs.driver.options import MountOptions
from ecfs.driver.pyfuse3_transport import Operations
from ecfs.driver.volume_protocol import Mounted


async def serve_pyfuse3(mounted: Mounted, mountpoint: str, options: MountOptions,
                        announce: Callable[[], Awaitable[None]], stopping: trio.Event) -> None:
    """Mount, serve until unmounted or `stopping`, unmount. `announce` runs once it serves."""
    idle_cores = IdleCores.of_machine(SystemClock(), wanted=options.polls)
    operations = Operations(mounted, idle_cores.served, writeback=options.writeback,
                            entry_timeout_s=options.entry_timeout_s,
                            attribute_timeout_s=options.attribute_timeout_s,
                            relatime=options.relatime)
    try:
        pyfuse3.init(operations, mountpoint, _fuse_options(options))
    except RuntimeError as error:
        # libfuse tells its reason to a standard error that nobody reads.
        raise MountFailed(f"{mountpoint} cannot be mounted: {error}; transport=raw, the default, "
                          "says why") from error
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(operations.requests.keep_tidy)
            nursery.start_soon(idle_cores.run)
            nursery.start_soon(announce)
            nursery.start_soon(_terminate_after, stopping)
            await _serve_requests(options.requests_at_once_max)
            nursery.cancel_scope.cancel()
    finally:
        pyfuse3.close(unmount=True)
    await operations.requests.finish()


async def _serve_requests(tasks_count: int) -> None:
    """Serve until the connection ends; libfuse 3.14 takes only one of its two endings for one."""
    try:
        await pyfuse3.main(min_tasks=1, max_tasks=tasks_count)
    except* OSError as group:
        unforeseen = group.subgroup(
            lambda error: isinstance(error, OSError) and error.errno not in CONNECTION_ENDED)
        if unforeseen is not None:
            raise unforeseen from None


async def _terminate_after(stopping: trio.Event) -> None:
    await stopping.wait()
    pyfuse3.terminate()


def _fuse_options(options: MountOptions) -> set[str]:
    """The options that libfuse gets.

    Not `max_read`: libfuse 3.14 refuses it unless the init handler, which pyfuse3 keeps to itself,
    says the same. Requests are 1 MiB at most without it.
    """
    words = {"fsname=ecfs", "subtype=ecfs", *options.mount_flags()}
    if compares_modes(allow_other=options.allow_other):
        words.add("default_permissions")
    if options.allow_other:
        words.add("allow_other")
    return words
