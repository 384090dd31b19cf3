"""A command is done by a child: what it says, and how it is ended, is as if it were not."""

import os
import signal
import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, sys, time
from ecfs.cli.apart import done_apart
def work():
    {work}
sys.exit(done_apart(work))
"""


def run(work: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SCRIPT.format(work=work)], check=False, timeout=60,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(("work", "code"), [
    ("return 0", 0), ("return 22", 22), ("sys.exit(3)", 3), ("sys.exit()", 0),
    ("sys.exit('words')", 1), ("raise KeyboardInterrupt", 130), ("raise ValueError", 1),
    ("os._exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM)])
def test_it_ends_as_its_work_does(work: str, code: int) -> None:
    assert run(work).returncode == code


def test_what_is_printed_comes_once() -> None:
    done = run("print('out', end=''); print('err', file=sys.stderr); return 0")
    assert (done.stdout, done.stderr) == ("out", "err\n")


def test_who_waits_is_in_no_directory_that_may_be_unmounted() -> None:
    done = run("here = os.getcwd()\n"
               "    while os.readlink(f'/proc/{os.getppid()}/cwd') != '/': pass\n"
               "    print(os.getcwd() == here); return 0")
    assert done.stdout == "True\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_are_passed_on(number: signal.Signals) -> None:
    work = (f"signal.signal({int(number)}, lambda *_: sys.exit(9)); "
            "print('ready', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", SCRIPT.format(work=work)], text=True,
                          stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(60) == 9


def test_the_work_dies_with_who_is_waited_for() -> None:
    work = "print(os.getpid(), flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", SCRIPT.format(work=work)], text=True,
                          stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = os.pidfd_open(int(process.stdout.readline()))
        process.kill()
        # Its end of the pipe is closed with it.
        assert process.stdout.read() == ""
        os.close(child)
