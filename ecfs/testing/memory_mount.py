"""A memory volume, mounted: `python -m ecfs.testing.memory_mount MOUNTPOINT WORD...`.

The words: `writeback`, `relatime`, `null` (contents are thrown away), `pyfuse3` (that transport),
`syncs-fail` (fsync is EIO), `alone` (for nobody else), `user=UID` (served by that user, who mounts
through fusermount3, for nobody else).
Prints `ready` when it answers, ends when it is unmounted or stdin is closed.
"""

import logging
import os
import sys

import trio

from ecfs.base.ids import ROOT_INODE
from ecfs.base.world import SystemClock
from ecfs.driver import MountOptions, Transport, serve, stop
from ecfs.testing.memory_volume import MemoryVolume


async def mount(mountpoint: str, words: list[str]) -> None:
    """Serve a fresh memory volume until unmounted or stdin ends."""
    volume = MemoryVolume(SystemClock(), keep="null" not in words)
    volume.syncs_fail = "syncs-fail" in words
    uids = [int(word.removeprefix("user=")) for word in words if word.startswith("user=")]
    if uids:
        volume.tree.set_attributes(ROOT_INODE, uid=uids[0], gid=uids[0])
        os.setgroups([])
        os.setresgid(uids[0], uids[0], uids[0])
        os.setresuid(uids[0], uids[0], uids[0])
    options = MountOptions(allow_other=not uids and "alone" not in words,
                           writeback="writeback" in words,
                           relatime="relatime" in words,
                           flags=frozenset() if uids else frozenset({"dev", "suid"}),
                           transport=Transport.PYFUSE3 if "pyfuse3" in words else Transport.RAW)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_with_stdin)
        await serve(volume, mountpoint, options, ready=_say_ready)
        nursery.cancel_scope.cancel()


async def _stop_with_stdin() -> None:
    await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
    stop()


def _say_ready() -> None:
    print("ready", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    trio.run(mount, sys.argv[1], sys.argv[2:])
