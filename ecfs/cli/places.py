"""Where ecfs keeps its memory of pools and its sockets, for root and for ordinary users."""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from ecfs.base.errors import UsageRefusal
from ecfs.cli.runtime import RunDirectory

ROOT_STATE = Path("/var/lib/ecfs")
ROOT_RUN = Path("/run/ecfs")


def state_dir(environ: Mapping[str, str], uid: int) -> Path:
    """The directory of anchors, remembered pool ids and the audit log. UsageRefusal where the
    environment names none that is the same whatever directory one is in."""
    if (chosen := _absolute(environ, "XDG_STATE_HOME")) is not None:
        return chosen / "ecfs"
    if uid == 0:
        return ROOT_STATE
    return (_absolute(environ, "HOME") or _home_of(uid)) / ".local" / "state" / "ecfs"


def _absolute(environ: Mapping[str, str], name: str) -> Path | None:
    """The directory that a variable names; None where it is not set or empty.

    A relative one is refused, where the XDG specification has it ignored: who set it would be
    without his anchors, and so without their protection, and would not be told.
    """
    value = environ.get(name)
    if not value:
        return None
    if not os.path.isabs(value):
        raise UsageRefusal(f"{name} is {value}, which depends on the current directory; "
                           "set it to an absolute path")
    return Path(value)


def _home_of(uid: int) -> Path:
    try:
        home = pwd.getpwuid(uid).pw_dir
    except KeyError:
        home = ""
    if not os.path.isabs(home):
        raise UsageRefusal(f"HOME is not set and user {uid} has no home directory, so there is no "
                           "place for what ecfs remembers of pools; set HOME or XDG_STATE_HOME")
    return Path(home)


def run_dir(environ: Mapping[str, str], uid: int) -> Path:
    """The directory of control sockets and records of mounts. UsageRefusal as for `state_dir`."""
    if (chosen := _absolute(environ, "XDG_RUNTIME_DIR")) is not None:
        return chosen / "ecfs"
    usual, session = other_run_dirs(environ, uid)
    return session if uid != 0 and session.parent.is_dir() else usual


def other_run_dirs(environ: Mapping[str, str], uid: int) -> tuple[Path, Path]:
    """Where a user's mounts are noted that were made without a session (at boot, by a timer), and
    in one, unless XDG_RUNTIME_DIR says otherwise."""
    usual = ROOT_RUN if uid == 0 else state_dir(environ, uid) / "run"
    return usual, Path(f"/run/user/{uid}") / "ecfs"


def run_directory() -> RunDirectory:
    """The run directory of this process, which also sees the mounts in the others of its user."""
    uid = os.geteuid()
    return RunDirectory(run_dir(os.environ, uid), other_run_dirs(os.environ, uid))
