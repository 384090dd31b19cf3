"""The `ecfs` command with slow disks: `python -m scripts.slow_ecfs RATE,RATE,... ARGUMENT...`.

RATE is how many MB/s a target takes, in the order of the targets `t0`, `t1`, ...; each takes one
write at a time, as a disk that is the bottleneck does. What is written arrives there all the same.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Sequence

_TARGET = re.compile(r"/backing/t(\d+)/")
_write = os.pwritev


class SlowDisk:
    """Lets one write through at a time, and each only after as long as its bytes take."""

    def __init__(self, rate: float) -> None:
        self._bytes_per_s = rate * 1e6
        self._lock = threading.Lock()

    def pwritev(self, fd: int, buffers: Sequence[bytes], offset: int, flags: int) -> int:
        """As os.pwritev, later."""
        with self._lock:
            time.sleep(sum(map(len, buffers)) / self._bytes_per_s)
            return _write(fd, buffers, offset, flags)


def slow_pwritev(disks: list[SlowDisk], fd: int, buffers: Sequence[bytes], offset: int,
                 flags: int = 0) -> int:
    """As os.pwritev; slow where the file lies on a target."""
    found = _TARGET.search(os.readlink(f"/proc/self/fd/{fd}"))
    if found is None:
        return _write(fd, buffers, offset, flags)
    return disks[int(found[1])].pwritev(fd, buffers, offset, flags)


def main() -> None:
    """Runs the command in this process."""
    disks = [SlowDisk(float(word)) for word in sys.argv.pop(1).split(",")]

    def pwritev(fd: int, buffers: Sequence[bytes], offset: int, flags: int = 0) -> int:
        return slow_pwritev(disks, fd, buffers, offset, flags)

    os.pwritev = pwritev  # type: ignore[assignment]
    from ecfs.cli import main as ecfs

    ecfs()


if __name__ == "__main__":
    main()
