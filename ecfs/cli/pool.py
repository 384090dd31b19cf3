r"""POOL on the command line: directories joined by `:`, a mount point, or a pool file.

`a:b` names two targets, `\:` stands for a colon in a name, `*`, `?` and `[` match as in a shell
where no directory of that very name exists. A pool file is a regular file with one path per line,
relative ones counting from the file's own directory; empty lines and lines that begin with `#` are
passed over.
"""

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ecfs.base.errors import EcfsError, NotAPool, SameTarget, TargetInside, UsageRefusal
from ecfs.base.limits import TARGETS_MAX
from ecfs.base.paths import ask_patiently, real_path
from ecfs.cli.linux import is_server_dead, mount_at
from ecfs.cli.runtime import MountRecord, RunDirectory
from ecfs.cli.text import typed

_POOL_FILE_LEN_MAX = 1 << 20
PATHS_MAX = 16 * TARGETS_MAX
"""More than this are refused unseen; up to it a directory that was given twice is named."""
_SEPARATOR = re.compile(r"(?<!\\):")


@dataclass(frozen=True)
class PoolSpec:
    """POOL, resolved. `paths` are absolute; `mounted` is the mount here that already uses it."""

    paths: tuple[str, ...]
    mounted: MountRecord | None


def split_targets(text: str) -> list[str]:
    r"""The parts of `a:b`, `\:` turned into a colon. Raises UsageRefusal on an empty part."""
    parts = [part.replace("\\:", ":") for part in _SEPARATOR.split(text)]
    if not all(parts):
        raise UsageRefusal(f"an empty name in the pool {text!r}")
    return parts


def join_targets(paths: Sequence[str]) -> str:
    """The inverse of `split_targets`."""
    return ":".join(path.replace(":", "\\:") for path in paths)


def _expanded(part: str) -> list[str]:
    """The names that match. One on a share that does not answer counts, for it may be there."""
    if not glob.has_magic(part) or _is_there(part):
        return [part]
    names = part.split("/")
    last = max(index for index, name in enumerate(names) if glob.has_magic(name))
    nothing: list[str] = []
    matching = ask_patiently(partial(glob.glob, "/".join(names[: last + 1])), otherwise=nothing)
    found = [
        path
        for match in sorted(matching)
        if _is_there(path := "/".join((match, *names[last + 1 :])))
    ]
    if not found:
        raise NotAPool(f"nothing matches {part!r}; check the path, or that the disks are mounted")
    return found


def _is_there(path: str) -> bool:
    return ask_patiently(partial(os.path.lexists, path), otherwise=True)


def read_pool_file(path: Path) -> list[str]:
    """The paths in a pool file. Raises NotAPool where it names none."""
    try:
        with path.open("rb") as file:
            content = file.read(_POOL_FILE_LEN_MAX + 1)
    except OSError as error:
        raise NotAPool(f"the pool file {path} cannot be read: {error.strerror}") from error
    if len(content) > _POOL_FILE_LEN_MAX or b"\0" in content:
        raise NotAPool(f"{path} is not a pool file: one path per line is expected")
    names = [
        os.path.join(path.parent, os.fsdecode(line))
        for line in content.split(b"\n")
        if line.strip() and not line.lstrip().startswith(b"#")
    ]
    if not names:
        raise NotAPool(f"{path} is not a pool file: it names no target")
    return names


_POOL_FILE_HEAD = "# The targets of an ecfs pool, one path per line; see ecfs(1)."


def write_pool_file(path: Path, targets: Sequence[str]) -> None:
    """Writes a pool file of absolute paths; an existing one is replaced."""
    path.write_bytes(os.fsencode("\n".join([_POOL_FILE_HEAD, *targets]) + "\n"))


def check_pool_file(path: Path, targets: Sequence[str]) -> None:
    """Whether `write_pool_file` can succeed, before anything is made. Raises UsageRefusal."""
    if any("\n" in target for target in targets):
        raise UsageRefusal("a pool file cannot name a directory with a line feed in its name")
    if path.is_dir():
        raise UsageRefusal(f"{path} is a directory; --pool-file names a file to write")
    if not path.absolute().parent.is_dir():
        raise UsageRefusal(f"{path.parent} is not a directory; --pool-file names a file to write")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise UsageRefusal(f"{path} cannot be written; choose another place for --pool-file")
    if path.is_file() and not _is_of_mkfs(path):
        raise UsageRefusal(
            f"{path} is there and is no pool file of mkfs; nothing was changed. Move it away "
            "first, or choose another place for --pool-file"
        )


def _is_of_mkfs(path: Path) -> bool:
    """Whether a file may be overwritten: a pool file of ours, or nothing."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_POOL_FILE_HEAD))
    except OSError:
        return False
    return head in (b"", _POOL_FILE_HEAD.encode())


def distinct(paths: Sequence[str]) -> tuple[str, ...]:
    """The paths made absolute; raises SameTarget if two of them are one directory."""
    if len(paths) > PATHS_MAX:
        # Before any of them is looked at: each costs a walk through its directories.
        raise UsageRefusal(f"{len(paths)} targets; a pool has at most {TARGETS_MAX}")
    seen: dict[str, str] = {}
    for path in paths:
        real = real_path(path)
        if real in seen:
            raise SameTarget(
                f"{path} and {seen[real]} are the same directory; give each target once"
            )
        seen[real] = path
    if len(seen) > TARGETS_MAX:
        raise UsageRefusal(f"{len(seen)} targets; a pool has at most {TARGETS_MAX}")
    return tuple(os.path.abspath(path) for path in paths)


def _kind_of(path: str) -> str:
    return "file" if os.path.isfile(path) else "folder" if os.path.isdir(path) else ""


def resolve(text: str, run: RunDirectory) -> PoolSpec:
    """What POOL names. Raises UsageRefusal, NotAPool or SameTarget; touches no label."""
    if not text:
        raise UsageRefusal("the pool is an empty name")
    whole = real_path(text)
    mount = mount_at(whole)
    record = run.serving(whole, mount)
    if record is not None and record.is_alive:
        return PoolSpec(record.targets, record)
    if mount is not None and mount.is_ecfs:
        raise EcfsError(_unreachable(text, is_server_dead(whole)))
    kind = ask_patiently(lambda: _kind_of(whole), otherwise="")
    if kind == "file":
        paths = distinct(read_pool_file(Path(whole)))
    elif kind == "folder":
        paths = distinct([text])
    else:
        paths = distinct([name for part in split_targets(text) for name in _expanded(part)])
    return PoolSpec(paths, run.with_target(tuple(real_path(path) for path in paths)))


def _unreachable(name: str, is_dead: bool | None) -> str:
    """Why a mounted pool cannot be asked, and what to do. `is_dead` as of `is_server_dead`."""
    if is_dead:
        return (
            f"the process that served the pool at {name} has died; what was fsynced is safe. Free "
            f"the mount point with `ecfs umount {typed(name)}`, then mount the pool again"
        )
    why = "runs as another user, or with another XDG_RUNTIME_DIR"
    if is_dead is None:
        why += ", or has died (which cannot be told from here); where it has, `ecfs umount` as root"
        why += " frees the mount point"
    return f"{name} is a mounted pool, but the process that serves it is not reachable: it {why}"


def check_apart(paths: Sequence[str], mountpoint: str, *, what: str = "mount point",
                advice: str = "mount somewhere else") -> None:
    """Raises TargetInside if a target lies inside the mount point or the other way round; `what`
    and `advice` for another directory that is to hold files of the pool."""
    place = real_path(mountpoint)
    for path in paths:
        target = real_path(path)
        if os.path.commonpath([target, place]) in (target, place):
            raise TargetInside(
                f"the target {path} and the {what} {mountpoint} lie one inside the other; {advice}"
            )
