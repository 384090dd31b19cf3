"""The process that is waited for is not the one that looks at targets.

A call that a file system never answers (FUSE, a share, a disk that is going) keeps its process:
not even SIGKILL ends it, and whoever started a command that had told all it had to tell waited for
it. So a command is done by a child, which says its exit code, and nobody waits for its end.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from ecfs.base.processes import process_start

LINGER_S = 1.0
"""For what a command has open to be closed by the time that it seems to have ended."""

_LOOK_S = 0.25
_PR_SET_PDEATHSIG = 1
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
              signal.SIGUSR2)
_KILLED_EXIT = 128


def done_apart(work: Callable[[], int]) -> int:
    """The exit code that `work` returns in a child, which takes the signals that this process gets
    and dies with it. Who kills the child kills this process likewise. To be called before there
    are any threads."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    parent = os.getpid()
    # Held back until it is known whose they are.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        pid = os.fork()
    except OSError:
        # No room for another process: then this one does it.
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return work()
    if pid == 0:
        os.close(reading)
        _child(work, parent, before, writing)
    os.close(writing)
    # Who waits keeps nobody from unmounting where the command was typed.
    os.chdir("/")
    return _wait(pid, reading)


def _child(work: Callable[[], int], parent: int, mask: set[int | signal.Signals],
           word: int) -> NoReturn:
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(code)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = work()
    except KeyboardInterrupt:
        code = _KILLED_EXIT + signal.SIGINT
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        for descriptor in (0, 1, 2):
            # Who reads a pipe to its end waits for all who may write there, the dead that cannot go
            # among them.
            with suppress(OSError):
                os.close(descriptor)
        os.write(word, bytes([code & 0xFF]))
        os._exit(code & 0xFF)


def _wait(pid: int, word: int) -> int:
    last = signal.SIGKILL
    was_dead = False
    while True:
        told = signal.sigtimedwait({*_PASSED_ON, signal.SIGCHLD}, _LOOK_S)
        # What the terminal sends (si_code > 0) both have got.
        if told is not None and told.si_signo != signal.SIGCHLD and told.si_code <= 0:
            last = signal.Signals(told.si_signo)
            os.kill(pid, last)
        with suppress(BlockingIOError):
            code = os.read(word, 1)
            if code:
                _linger(pid)
                return code[0]
        status = _status_of(pid)
        if status is not None and os.WIFSIGNALED(status):
            _die(os.WTERMSIG(status))
        if status is not None:
            return os.waitstatus_to_exitcode(status)
        if process_start(pid) is None:
            # A thread of it cannot end, unless it is about to.
            if was_dead:
                _die(last)
            was_dead = True
            time.sleep(_LOOK_S)


def _linger(pid: int) -> None:
    due_s = time.monotonic() + LINGER_S
    while _status_of(pid) is None and (left_s := due_s - time.monotonic()) > 0:
        signal.sigtimedwait({signal.SIGCHLD}, left_s)


def _status_of(pid: int) -> int | None:
    """As the child ended, 0 where somebody else was told; None while it has not."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return status if ended else None


def _die(number: int) -> NoReturn:
    """End as by the signal that ended the child."""
    with suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(_KILLED_EXIT + number)
