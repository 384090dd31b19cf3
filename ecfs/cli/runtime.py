"""Which pools are mounted here: a file `<pool id>.json` each, beside the control socket.

The file is written by the process that serves the mount and taken away by it. A file whose process
is gone tells of a crash, or (with `failed`) of an unmount that could not write everything.
"""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ecfs.base.errors import EcfsError, RunDirectoryUnwritable
from ecfs.base.processes import process_start
from ecfs.cli.linux import Mount, boot_id

SCHEMA = "ecfs.mounted/1"
_RECORD_LEN_MAX = 4 << 20
_RECORDS_MAX = 1000


@dataclass(frozen=True)
class MountRecord:
    """A mounted pool. `targets` are absolute paths; `failed` is set when closing went wrong.
    `device` is that of the mount, once there is one: bind mounts have it too, and it stays when a
    folder above the mount point is renamed."""

    pool_id: str
    pid: int
    process_start: int
    boot_id: str
    mountpoint: str
    socket: str
    targets: tuple[str, ...]
    failed: dict[str, Any] | None = None
    device: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether the process that wrote the record still runs."""
        return self.boot_id == boot_id() and process_start(self.pid) == self.process_start


_RECORD_FIELDS = tuple(member.name for member in fields(MountRecord))


class RunDirectory:
    """The run directory. Made with mode 0700; one that others can write to is refused.

    `also` are directories to look into, never to write to: root's login shell has another one than
    the mounts that the machine made at its start.
    """

    def __init__(self, path: Path, also: tuple[Path, ...] = ()) -> None:
        self.path = path
        self.also = tuple(other for other in also if other != path)

    def prepare(self) -> None:
        """Makes the directory if need be; raises EcfsError where it cannot be trusted."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryUnwritable(self.path, error) from error
        if not _is_trusted(self.path):
            raise EcfsError(
                f"{self.path} belongs to somebody else or is writable for others; "
                "remove it or set XDG_RUNTIME_DIR"
            )

    def record_here(self, pool_id: str, mountpoint: str, targets: tuple[str, ...]) -> MountRecord:
        """The record of a mount that the calling process serves; not written yet."""
        return MountRecord(
            pool_id=pool_id,
            pid=os.getpid(),
            process_start=process_start(os.getpid()) or 0,
            boot_id=boot_id(),
            mountpoint=mountpoint,
            socket=str(self.path / f"{pool_id}.sock"),
            targets=targets,
        )

    def write(self, record: MountRecord) -> None:
        """Writes or replaces a record; it is whole at any moment."""
        document = {"schema": SCHEMA, **asdict(record)}
        path = _record_path(record)
        temporary = path.with_name(f".{record.pool_id}.{os.getpid()}")
        try:
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
            )
        except OSError as error:
            raise RunDirectoryUnwritable(self.path, error) from error
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file, ensure_ascii=True)
        os.rename(temporary, path)

    def mark_failed(self, record: MountRecord, failed: dict[str, Any]) -> None:
        """Leaves word for `ecfs umount` that not everything could be written."""
        self.write(replace(record, failed=failed))

    def remove(self, record: MountRecord) -> None:
        """Takes a record and its socket away, unless another process has written a newer one."""
        path = _record_path(record)
        current = _load(path)
        if current is None or current.pid == record.pid:
            path.unlink(missing_ok=True)
            Path(record.socket).unlink(missing_ok=True)

    def read(self, record: MountRecord) -> MountRecord | None:
        """What stands now where `record` was found."""
        return _load(_record_path(record))

    def records(self) -> Iterator[MountRecord]:
        """All records, processes alive or not."""
        for directory in (self.path, *self.also):
            try:
                names = sorted(os.listdir(directory))[:_RECORDS_MAX]
                trusted = _is_trusted(directory)
            except OSError:
                continue
            for name in names:
                if trusted and name.endswith(".json") and not name.startswith("."):
                    record = _load(directory / name)
                    if record is not None:
                        yield record

    def of_pool(self, pool_id: str) -> MountRecord | None:
        """The live mount of a pool."""
        for record in self.records():
            if record.pool_id == pool_id and record.is_alive:
                return record
        return None

    def at_mountpoint(self, mountpoint: str) -> MountRecord | None:
        """The record of what is, or was last, served at an absolute path; live ones come first."""
        found = [record for record in self.records() if record.mountpoint == mountpoint]
        found.sort(key=lambda record: record.is_alive)
        return found[-1] if found else None

    def serving(self, place: str, mount: Mount | None) -> MountRecord | None:
        """The record of what is mounted at an absolute path, `mount`, or was last."""
        if mount is None or not mount.is_ecfs:
            return self.at_mountpoint(place)
        found = [record for record in self.records()
                 if record.device == mount.device and record.is_alive]
        if found:
            return found[-1]
        record = self.at_mountpoint(place)
        # A live one of another device is mounted elsewhere by now; this is a stranger's.
        return None if record is not None and record.is_alive and record.device else record

    def with_target(self, paths: tuple[str, ...]) -> MountRecord | None:
        """The live mount that uses any of these directories (given by real path)."""
        wanted = set(paths)
        for record in self.records():
            if wanted.intersection(record.targets) and record.is_alive:
                return record
        return None


def _is_trusted(directory: Path) -> bool:
    info = os.lstat(directory)
    return (
        stat.S_ISDIR(info.st_mode)
        and info.st_uid == os.geteuid()
        and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _record_path(record: MountRecord) -> Path:
    return Path(record.socket).with_suffix(".json")


def _load(path: Path) -> MountRecord | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(_RECORD_LEN_MAX)
    try:
        document = json.loads(content)
        if document.pop("schema") != SCHEMA:
            return None
        # What a newer program notes besides is passed over: its mounts can be asked all the same.
        known = {name: document[name] for name in _RECORD_FIELDS if name in document}
        record = MountRecord(**{**known, "targets": tuple(known["targets"])})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if _is_well_typed(record) else None


def _is_well_typed(record: MountRecord) -> bool:
    numbers: tuple[object, ...] = (record.pid, record.process_start)
    texts: tuple[object, ...] = (record.pool_id, record.boot_id, record.mountpoint, record.socket,
                                 record.device, *record.targets)
    return (
        all(type(number) is int for number in numbers)
        and all(isinstance(text, str) and "\0" not in text for text in texts)
        and bool(Path(record.socket).name)
        and isinstance(record.failed, dict | None)
    )
