"""Serving the kernel directly: mount, request loop, and an end that loses no dirty page."""

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from ecfs.base.patience import Patience
from ecfs.base.promises import Promises, keep_all
from ecfs.base.units import NS_PER_US
from ecfs.base.world import SystemClock
from ecfs.driver.errnos import errno_of
from ecfs.driver.fuse_channel import mount, unmount
from ecfs.driver.fuse_loop import RequestLoop
from ecfs.driver.idle_cores import IdleCores
from ecfs.driver.kernel import compares_modes, mounted_device
from ecfs.driver.kernel_transport import KernelTransport
from ecfs.driver.options import MountOptions
from ecfs.driver.volume_protocol import Mounted

END_WAIT_S = 10.0
REQUEST_WINDOW_NS_MAX = 50 * NS_PER_US
"""A program that works on a file system by itself sends its next request a few microseconds after
the reply to its last."""


async def serve_kernel(mounted: Mounted, mountpoint: str, options: MountOptions,
                       announce: Callable[[], Awaitable[None]], stopping: trio.Event) -> None:
    """Mount, serve until unmounted, `stopping` or cancelled, unmount.

    `announce` runs once it serves. At the end the unmount runs in a thread while requests are still
    served, because the kernel writes its dirty pages out first; what is open longer than
    END_WAIT_S after that is cut off.
    """
    checks_modes = compares_modes(allow_other=options.allow_other)
    fd = mount(mountpoint, options.mount_flags(), allow_other=options.allow_other,
               checks_modes=checks_modes)
    device = mounted_device(mountpoint)
    try:
        transport = KernelTransport(
            mounted, writeback=options.writeback, entry_timeout_s=options.entry_timeout_s,
            attribute_timeout_s=options.attribute_timeout_s,
            read_ahead_len=options.read_ahead_len, relatime=options.relatime,
            checks_modes=checks_modes, notify=lambda code, body: loop.notify(code, body))
        clock = SystemClock()
        patience = Patience(clock, window_ns_max=REQUEST_WINDOW_NS_MAX,
                            cores_count=len(os.sched_getaffinity(0)) if options.polls else 1)
        idle_cores = IdleCores.of_machine(clock, wanted=options.polls)
        loop = RequestLoop(fd, transport.handlers(), patience, idle_cores,
                           partial(_keep_promises, mounted.promises),
                           tasks_count=options.requests_at_once_max)
        serving = _Serving(loop)
        _postpone(mounted.promises, True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving.run)
            nursery.start_soon(transport.requests.keep_tidy)
            nursery.start_soon(idle_cores.run)
            nursery.start_soon(announce)
            nursery.start_soon(_stop_after, stopping, nursery.cancel_scope)
            try:
                await serving.ended.wait()
            finally:
                with trio.CancelScope(shield=True):
                    await serving.end(mountpoint)
                nursery.cancel_scope.cancel()
    finally:
        _postpone(mounted.promises, False)
        _keep_promises(mounted.promises)
        os.close(fd)
        if device is not None and mounted_device(mountpoint) == device:
            unmount(mountpoint)
    with trio.CancelScope(shield=True):
        await transport.requests.finish()


class _Serving:
    """The request loop in a scope of its own, which a cancellation from outside does not reach."""

    def __init__(self, loop: RequestLoop) -> None:
        self._loop = loop
        self._scope = trio.CancelScope(shield=True)
        self.ended = trio.Event()

    async def run(self) -> None:
        """Serve until the kernel ends the connection."""
        try:
            with self._scope:
                await self._loop.run()
        finally:
            self.ended.set()

    async def end(self, mountpoint: str) -> None:
        """Unmount if need be, and wait for the kernel to end the connection."""
        if self.ended.is_set():
            return
        await trio.to_thread.run_sync(unmount, mountpoint)
        with trio.move_on_after(END_WAIT_S):
            await self.ended.wait()
        self._scope.cancel()
        await self.ended.wait()


def _postpone(promises: Sequence[Promises], postpones: bool) -> None:
    for each in promises:
        each.postpones = postpones


def _keep_promises(promises: Sequence[Promises]) -> None:
    """What the last reply promised is made now, while who got it is on his way back."""
    try:
        keep_all(promises, answered=True)
    except Exception as error:
        # It has been answered; what follows from that is the volume's affair, which was told.
        errno_of(error, "what was answered")


async def _stop_after(stopping: trio.Event, scope: trio.CancelScope) -> None:
    await stopping.wait()
    scope.cancel()
