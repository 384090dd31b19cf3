"""A mount keeps idle cores awake while it is used, and then lets them sleep."""

import contextlib
import os
import threading
from pathlib import Path

import pytest
import trio

from ecfs.driver.idle_cores import LATENCY_DEVICE, latency_to_ask_us
from ecfs.testing.mounted_pool import MountedPool, mounted_pool

DEADLINE_S = 20.0
LOOKS_COUNT = 20


def is_asked(pool: MountedPool) -> bool:
    """Whether the process that serves has the kernel's file open."""
    for link in Path(f"/proc/{pool.serving_pid()}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(link) == LATENCY_DEVICE:
                return True
    return False


def use(pool: MountedPool, ended: threading.Event) -> None:
    number = 0
    while not ended.is_set():
        number += 1
        (pool.mountpoint / f"none{number}").exists()


@pytest.mark.parametrize("options", ["allow_other", "nopoll", "transport=pyfuse3",
                                     "transport=pyfuse3,nopoll"])
async def test_while_it_is_used_and_no_longer(options: str) -> None:
    can = ("nopoll" not in options and os.path.exists(LATENCY_DEVICE)
           and latency_to_ask_us(cores_count=os.cpu_count() or 1) is not None)
    with mounted_pool(options) as pool, trio.fail_after(DEADLINE_S):
        for _ in range(2):
            ended = threading.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, use, pool, ended)
                try:
                    while can and not is_asked(pool):
                        await trio.sleep(0.001)
                    assert can or not any(is_asked(pool) for _ in range(LOOKS_COUNT))
                finally:
                    ended.set()
            while is_asked(pool):
                await trio.sleep(0.001)
