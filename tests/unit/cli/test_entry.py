"""Ctrl-C before a command has begun."""

import signal
import subprocess
import sys

import pytest

# The signal comes in the middle of an import, or once they are done.
SCRIPT = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
if sys.argv[1] == "begun":
    import ecfs.cli.main
    module = sys.modules["ecfs.cli.main"]
    module.harden = lambda: os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from ecfs.cli.entry import main
sys.argv = ["ecfs", "status", "/none"]
main()
"""


def run(moment: str, *before: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*before, sys.executable, "-c", SCRIPT.replace("sys.argv[1]", repr(moment))],
        capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(("moment", "code"), [("click", -signal.SIGINT), ("begun", 130)])
def test_an_early_interruption_is_silent(moment: str, code: int) -> None:
    done = run(moment)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_who_was_started_with_the_signal_ignored_keeps_it_so() -> None:
    done = run("click", "sh", "-c", 'trap "" INT; exec "$@"', "sh")
    assert done.returncode == 11
    assert "[E-NOT-A-POOL]" in done.stderr
