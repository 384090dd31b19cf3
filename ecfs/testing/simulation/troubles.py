"""What befalls disks: for a time while the pool is mounted, or once while it is not."""

import math

import trio

from ecfs.testing.simulation.disks import Disk, Mood
from ecfs.testing.simulation.plans import Trouble, Wound
from ecfs.testing.simulation.trace import Trace

COUNT_OF_A_TROUBLE = 3
HONEST = frozenset({"away", "read only", "full", "hang", "slow"})
"""Troubles in which a disk says so itself, and keeps what it acknowledged."""


def begin_trouble(disk: Disk, what: str) -> None:
    """From now on."""
    mood = disk.mood
    if what not in HONEST:
        disk.harm.add(what)
    match what:
        case "away":
            mood.away = True
        case "read only":
            mood.read_only = True
        case "full":
            mood.full = True
        case "hang":
            mood.delay_s = math.inf
        case "slow":
            mood.delay_s = 4.0
        case "errors":
            mood.errors = COUNT_OF_A_TROUBLE
        case "short writes":
            mood.writes_short = COUNT_OF_A_TROUBLE
        case "failing syncs":
            mood.syncs_failing = COUNT_OF_A_TROUBLE
        case "lost writes":
            mood.writes_lost = COUNT_OF_A_TROUBLE
        case "misdirected writes":
            mood.writes_misdirected = 1
        case "power lost":
            mood.away = True
            disk.cut_power(torn=True)


def end_troubles(disk: Disk, delay_s: float) -> None:
    """The disk behaves again; what it lost stays lost."""
    disk.mood = Mood(delay_s=delay_s)


async def befall(trouble: Trouble, disk: Disk, delay_s: float, trace: Trace) -> None:
    """A trouble in its time. What hangs goes on afterwards."""
    await trio.sleep(trouble.at_s)
    trace.say("trouble", f"{disk.name} {trouble.what}")
    begin_trouble(disk, trouble.what)
    await trio.sleep(trouble.for_s)
    trace.say("relief", f"{disk.name} {trouble.what}")
    end_troubles(disk, delay_s)
    disk.let_go()


def wound(disk: Disk, given: Wound, trace: Trace) -> None:
    """Damage one file of a disk that nobody has mounted."""
    files = disk.files()
    if files:
        name = files[int(given.pick * len(files))]
        trace.say("wound", f"{disk.name} {given.kind} {name}")
        disk.damage(given.kind, name)
