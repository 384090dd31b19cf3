"""The heap that is kept, and buffers that nobody zeroes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ecfs.base.memory import unwritten
from ecfs.base.units import MIB

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

# In a process of its own, since what is set is never set back.
PROGRAM = """
import resource, threading
from ecfs.base.memory import keep_heap, unwritten
from ecfs.base.units import MIB

keep_heap()

def use():
    for _ in range(4):
        memoryview(unwritten(12 * MIB))[::4096] = bytes(12 * MIB // 4096)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

use()
before = faults()
use()
thread = threading.Thread(target=use)
thread.start()
thread.join()
print(faults() - before)
print(open("/proc/self/smaps").read())
"""


def test_a_buffer_has_its_length_and_takes_bytes() -> None:
    for length in (0, 1, 5000, 3 * MIB):
        buffer = unwritten(length)
        assert type(buffer) is bytearray and len(buffer) == length
        buffer[:] = b"x" * length
        assert buffer.count(b"x") == length
    with pytest.raises(SystemError):
        unwritten(-1)


def test_buffers_come_from_memory_that_is_there_already_and_in_huge_pages() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True,
                           text=True)
    faults, smaps = ended.stdout.split("\n", 1)
    # Of 8 times 12 MiB, 24,576 pages, hardly one is new, in whatever thread.
    assert int(faults) < 1000
    heaps = [block for block in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", smaps)
             if "[heap]" in block]
    assert heaps
    if HUGE_PAGES.exists() and "[never]" not in HUGE_PAGES.read_text():
        assert any(re.search(r"VmFlags:.* hg\b", block) for block in heaps)
