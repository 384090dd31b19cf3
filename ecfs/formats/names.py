"""Names of files on a target: lower-case hex, fixed width."""

import re
from collections.abc import Iterable
from functools import lru_cache

LABEL_PATTERN = re.compile(r"label\.([0-9a-f]{16})\.([0-9a-f]{16})")
CLAIM_PATTERN = re.compile(r"claim\.([0-9a-f]{16})")
HEARTBEAT_PATTERN = re.compile(r"heartbeat\.([0-9a-f]{16})")
COMMITS_PATTERN = re.compile(r"commits\.([0-9a-f]{16})")
COLUMN_PATTERN = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.col")
FOLDER_PATTERN = re.compile(r"[0-9a-f]{2}")
SEGMENTS_FOLDER = "segments"
COLUMN_NAMES_KEPT_MAX = 1024


def label_name(epoch: int, generation: int) -> str:
    """`label.<epoch>.<generation>`."""
    return f"label.{epoch:016x}.{generation:016x}"


def claim_name(epoch: int) -> str:
    """`claim.<epoch>`."""
    return f"claim.{epoch:016x}"


def heartbeat_name(epoch: int) -> str:
    """`heartbeat.<epoch>`."""
    return f"heartbeat.{epoch:016x}"


def commits_name(epoch: int) -> str:
    """`commits.<epoch>`."""
    return f"commits.{epoch:016x}"


def column_folder(segment: int) -> str:
    """`segments/<two hex digits>`: the lowest byte of the id, so that folders fill evenly."""
    return f"{SEGMENTS_FOLDER}/{segment & 0xFF:02x}"


@lru_cache(maxsize=COLUMN_NAMES_KEPT_MAX)
def column_name(epoch: int, segment: int) -> str:
    """`segments/<two hex digits>/<epoch>-<segment>.col`."""
    return f"{column_folder(segment)}/{epoch:016x}-{segment:016x}.col"


def labels_among(names: Iterable[str]) -> list[tuple[int, int, str]]:
    """(epoch, generation, name) of all label names, newest first."""
    found = [(int(match[1], 16), int(match[2], 16), name) for name in names
             if (match := LABEL_PATTERN.fullmatch(name))]
    return sorted(found, reverse=True)


def folders_among(names: Iterable[str]) -> list[str]:
    """Names of folders of columns; whatever else lies there is left alone."""
    return [name for name in names if FOLDER_PATTERN.fullmatch(name)]


def epochs_among(names: Iterable[str], pattern: re.Pattern[str]) -> list[int]:
    """Epochs of the names that match `pattern`, newest first."""
    return sorted((int(match[1], 16) for name in names if (match := pattern.fullmatch(name))),
                  reverse=True)
