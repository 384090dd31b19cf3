"""Where the log goes: standard error, a file, the system's journal, or a file of our own."""

import logging
import logging.handlers
import socket
from pathlib import Path

LOG_FILE_LEN_MAX = 10 << 20
LOG_FILES_KEPT = 2
_SYSLOG_SOCKET = "/dev/log"


def start_log(name: str, *, log_file: str | None, to_stderr: bool, state_dir: Path) -> None:
    """Sends the log of this process to one place.

    `log_file` counts first; then standard error, if asked; then the journal; and where a machine
    has none, `<state_dir>/ecfs.log`, whose length is bounded.
    """
    if log_file is not None:
        handler: logging.Handler = logging.FileHandler(log_file, delay=True)
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
        return logging.handlers.RotatingFileHandler(
            state_dir / "ecfs.log",
            maxBytes=LOG_FILE_LEN_MAX,
            backupCount=LOG_FILES_KEPT,
            delay=True,
        )
    except OSError:
        return logging.NullHandler()
