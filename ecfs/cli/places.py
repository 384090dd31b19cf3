"""Where ecfs keeps its memory of pools and its sockets, for root and for ordinary users."""

import os
from collections.abc import Mapping
from pathlib import Path

from ecfs.cli.runtime import RunDirectory

ROOT_STATE = Path("/var/lib/ecfs")
ROOT_RUN = Path("/run/ecfs")


def state_dir(environ: Mapping[str, str], uid: int) -> Path:
    """The directory of anchors, remembered pool ids and the audit log."""
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "ecfs"
    if uid == 0:
        return ROOT_STATE
    return Path(environ.get("HOME") or "/") / ".local" / "state" / "ecfs"


def run_dir(environ: Mapping[str, str], uid: int) -> Path:
    """The directory of control sockets and records of mounts."""
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "ecfs"
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
