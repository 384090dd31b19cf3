"""Which transport carries a mount: asked for by an option, told by the status."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.cli.mountopts import TRANSPORTS, MountWish
from ecfs.driver import MountOptions, Transport
from ecfs.testing.mounted_pool import OPTIONS, MountedPool


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ecfs-posix-", dir="/dev/shm") as path:
        yield Path(path)


def test_the_words_are_those_of_the_driver() -> None:
    assert tuple(Transport) == TRANSPORTS
    assert MountWish().transport == MountOptions().transport == Transport.RAW


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_mount_tells_its_transport(place: Path, transport: str) -> None:
    pool = MountedPool(place, options=f"{OPTIONS},transport={transport}")
    pool.mount()
    try:
        assert pool.status()["transport"] == transport
        (pool.mountpoint / "f").write_bytes(b"content" * 10_000)
        assert (pool.mountpoint / "f").read_bytes() == b"content" * 10_000
    finally:
        pool.unmount()
    pool.check()


def test_what_was_synced_outlives_a_kill_of_the_mount(place: Path) -> None:
    pool = MountedPool(place)
    pool.mount()
    (pool.mountpoint / "f").write_bytes(b"content")
    with (pool.mountpoint / "f").open("r+b") as file:
        file.write(b"CONTENT")
        file.flush()
        os.fsync(file.fileno())
    pool.kill()
    pool.mount()
    try:
        assert (pool.mountpoint / "f").read_bytes() == b"CONTENT"
    finally:
        pool.unmount()
    pool.check()
