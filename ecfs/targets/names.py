"""Which names a file or folder of a target may have."""

import re

from ecfs.base.errors import Bug
from ecfs.base.limits import NAME_LEN_MAX, TARGET_FOLDERS_DEEP_MAX

TEMPORARY_PREFIX = ".tmp-"
"""Begins a name that `check_name` refuses, so that no file of ours can be taken for a leftover."""

SET_ASIDE_PREFIX = "set-aside."
"""Begins the name under which a folder is kept that lay in the place of a file."""

SET_ASIDE_MAX = 16

_PART = re.compile(rf"[a-z0-9-][a-z0-9.-]{{0,{NAME_LEN_MAX - len(TEMPORARY_PREFIX) - 1}}}")


def check_name(name: str) -> str:
    """The name, if it is one of ours: parts of `[a-z0-9.-]` that do not begin with a dot, joined by
    `/`. Raises Bug: names are made by this program, never taken from a target unseen."""
    parts = name.split("/")
    if len(parts) > TARGET_FOLDERS_DEEP_MAX + 1 or not all(map(is_plain, parts)):
        raise Bug(f"not a name of a file on a target: {name!r}")
    return name


def check_folder(folder: str) -> str:
    """The folder, if it is "" (the target itself) or could be one of ours. Raises Bug."""
    return check_name(folder) if folder else folder


def is_plain(part: str) -> bool:
    """Whether a single part of a name is one that this program could have given."""
    return _PART.fullmatch(part) is not None


def is_temporary(part: str) -> bool:
    """Whether a file is what an interrupted `replace` leaves behind."""
    return part.startswith(TEMPORARY_PREFIX)


def is_file_name(part: str) -> bool:
    """Whether a plain name is one of a file: those have a dot, those of folders have none."""
    return "." in part


def split_name(name: str) -> tuple[str, str]:
    """Folder ("" for the target itself) and plain name of a checked name."""
    folder, _, base = name.rpartition("/")
    return folder, base
