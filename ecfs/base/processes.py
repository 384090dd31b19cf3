"""Whether another process of this machine is there."""

import os
from pathlib import Path

PID_MAX = 1 << 22
"""The kernel gives no process a higher number."""


def process_start(pid: int) -> int | None:
    """When a process started, in ticks since boot; None if there is none, or it is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may itself contain any character.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def is_running(pid: int) -> bool:
    """Whether a number is that of a process, whoever's it is; a zombie is none."""
    if not 0 < pid <= PID_MAX:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Somebody else's; /proc may hide it.
        return True
    return process_start(pid) is not None
