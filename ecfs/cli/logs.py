"""Where the log goes: standard error, a file, the system's journal, or a file of our own."""

import logging
import logging.handlers
import os
import socket
import sys
from pathlib import Path

from ecfs.base.errors import LogUnusable

LOG_FILE_LEN_MAX = 10 << 20
LOG_FILES_KEPT = 2
_SYSLOG_SOCKET = "/dev/log"


def start_log(name: str, *, log_file: str | None, to_stderr: bool, state_dir: Path) -> None:
    """Sends the log of this process to one place.

    `log_file` counts first; then standard error, if asked; then the journal; and where a machine
    has none, `<state_dir>/ecfs.log`, whose length is bounded. LogUnusable where `log_file` cannot
    be written.
    """
    if log_file is not None:
        check_log_file(log_file)
        handler: logging.Handler = _LogFile(log_file, delay=True)
    elif to_stderr:
        handler = logging.StreamHandler()
    else:
        handler = _journal(name) or _own_file(state_dir)
    if isinstance(handler, logging.handlers.SysLogHandler):
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        form = logging.Formatter(
            "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        handler.setFormatter(form)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def check_log_file(path: str) -> None:
    """LogUnusable unless the file can be written to; it is made if need be."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
    try:
        # A FIFO that nobody reads must not hold us up.
        os.close(os.open(path, flags | os.O_NONBLOCK, 0o666))
    except OSError as error:
        advice = "make its directory, or " if isinstance(error, FileNotFoundError) else ""
        raise LogUnusable(
            f"the log file {path} cannot be written: {error.strerror}; {advice}give another "
            "--log-file"
        ) from error


class _Quiet(logging.Handler):
    """Does without a line that cannot be written: the disk of a log may fill up, and nobody is
    helped by a traceback of `logging` in the output of the command."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _LogFile(_Quiet, logging.FileHandler):
    """A file of the user's choice."""


class _OwnFile(_Quiet, logging.handlers.RotatingFileHandler):
    """The file in the state directory."""


def _journal(name: str) -> logging.Handler | None:
    try:
        # The handler itself puts off connecting until the first line is lost.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.connect(_SYSLOG_SOCKET)
    except OSError:
        return None
    handler = logging.handlers.SysLogHandler(
        address=_SYSLOG_SOCKET,
        facility=logging.handlers.SysLogHandler.LOG_DAEMON,
        socktype=socket.SOCK_DGRAM,
    )
    handler.ident = f"{name}: "
    return handler


def _own_file(state_dir: Path) -> logging.Handler:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _OwnFile(
            state_dir / "ecfs.log",
            maxBytes=LOG_FILE_LEN_MAX,
            backupCount=LOG_FILES_KEPT,
            delay=True,
        )
    except OSError:
        return logging.NullHandler()
