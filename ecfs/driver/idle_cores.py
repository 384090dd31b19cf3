"""Keeping idle cores from halting while a program works on the mount.

A program that waits for a reply leaves its core idle. A core that halts takes a while to get going
again; under a hypervisor, whose turn it then is, 20 us and more: half of a stat(2). Linux lets a
process say how much latency it can bear (PM QoS, Documentation/power/pm_qos_interface.rst): as long
as it keeps a file open, idle cores do not sleep more deeply than that. It costs power, so we ask
only while requests come one after the other, and only where it helps.
"""

import logging
import os
import struct
from pathlib import Path

import trio

from ecfs.base.units import NS_PER_MS
from ecfs.base.world import Clock

_log = logging.getLogger("ecfs.driver")

LATENCY_DEVICE = "/dev/cpu_dma_latency"
CPUS = Path("/sys/devices/system/cpu")
LATENCY_US = struct.Struct("=i")

BURST_COUNT = 16
BURST_NS_MAX = 32 * NS_PER_MS
LOOK_EACH_S = 0.02
LOOK_COUNT_MIN = 5
POLLING_CORES_MAX = 16


def latency_to_ask_us(cpus: Path = CPUS, *, cores_count: int) -> int | None:
    """The latency in microseconds to ask for; None if asking would not help, or cost too much.

    A guest's halt is a way out of the guest, however short the kernel thinks that it is: there idle
    cores have to poll (0), which is not asked of more than POLLING_CORES_MAX. On other machines the
    first state that halts is light enough. With one core nobody waits on another.
    """
    if cores_count < 2:
        return None
    try:
        driver = (cpus / "cpuidle/current_driver").read_text().strip()
        if driver == "haltpoll":
            return 0 if cores_count <= POLLING_CORES_MAX else None
        return int((cpus / "cpu0/cpuidle/state1/latency").read_text())
    except (OSError, ValueError):
        return None


class IdleCores:
    """Asks for short wake-ups from when requests come in a burst until they no longer do.

    `latency_us` as `latency_to_ask_us` says; None never asks. Only root may ask, or whom the
    device's owner lets; others are told no once, and go on without.
    """

    def __init__(self, clock: Clock, latency_us: int | None, device: str = LATENCY_DEVICE) -> None:
        self._clock = clock
        self._latency_us = latency_us
        self._device = device
        self._fd: int | None = None
        self._asked = trio.Event()
        self._count = 0
        self._burst_since_ns = clock.monotonic_ns()

    @classmethod
    def of_machine(cls, clock: Clock, *, wanted: bool) -> "IdleCores":
        """As suits the machine; one that never asks unless `wanted`."""
        return cls(clock, latency_to_ask_us(cores_count=os.cpu_count() or 1) if wanted else None)

    def served(self) -> None:
        """There was a request."""
        self._count += 1
        if self._fd is None and self._latency_us is not None and not self._count % BURST_COUNT:
            now_ns = self._clock.monotonic_ns()
            if now_ns - self._burst_since_ns <= BURST_NS_MAX:
                self._ask(self._latency_us)
            self._burst_since_ns = now_ns

    async def run(self) -> None:
        """Lets idle cores sleep again after each burst, and at the end."""
        try:
            while True:
                await self._asked.wait()
                seen_count = -LOOK_COUNT_MIN
                while self._count - seen_count >= LOOK_COUNT_MIN:
                    seen_count = self._count
                    await trio.sleep(LOOK_EACH_S)
                self._take_back()
        finally:
            self._take_back()

    def _ask(self, latency_us: int) -> None:
        try:
            self._fd = os.open(self._device, os.O_WRONLY | os.O_CLOEXEC)
            os.write(self._fd, LATENCY_US.pack(latency_us))
        except OSError as error:
            _log.info("idle cores are left to halt: %s", error)
            self._latency_us = None
            self._take_back()
        else:
            self._asked.set()

    def _take_back(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._asked = trio.Event()
