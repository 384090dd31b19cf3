"""Small file systems of their own for tests, mounted for as long as a context lasts. Needs root."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(mount_point: Path, *, size_len: int) -> Iterator[Path]:
    """A tmpfs of `size_len` bytes on a directory that exists."""
    _run("mount", "-t", "tmpfs", "-o", f"size={size_len}", "ecfs-test", str(mount_point))
    try:
        yield mount_point
    finally:
        _run("umount", "--lazy", str(mount_point))


def make_read_only(mount_point: Path, *, read_only: bool = True) -> None:
    """Mount what is there anew, read-only or writable. Fails while files are open for writing."""
    mode = "ro" if read_only else "rw"
    _run("mount", "-o", f"remount,{mode}", str(mount_point))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
