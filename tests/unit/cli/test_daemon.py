import subprocess
import sys

import pytest

SCRIPT = """
import sys, threading
from ecfs.cli import daemon
daemon.SLOW_S = 0.3

def work(report):
    threading.Event().wait(float(sys.argv[1]))
    report({"state": "healthy"})

print(daemon.in_background(work))
"""


@pytest.mark.parametrize("takes_s, told", [(0, False), (1, True)])
def test_a_mount_that_takes_long_says_what_it_may_wait_for(takes_s: int, told: bool) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(takes_s)], capture_output=True,
                          text=True, check=True)
    assert done.stdout == "{'state': 'healthy'}\n"
    assert ("still waiting: a target does not answer" in done.stderr) is told
