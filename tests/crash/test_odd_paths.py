"""A pool all of whose paths, of targets, mount point, log, passphrase, state, are no text."""

import os
import tempfile
from pathlib import Path

import pytest

from ecfs.testing.mounted_pool import MountedPool

ODD = os.fsdecode(b"x\xffy\nz\\w *,'\"$")


@pytest.mark.parametrize("transport", ["raw", "pyfuse3"])
def test_a_pool_at_odd_paths(transport: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ecfs-odd-", dir="/dev/shm") as base:
        place = Path(base, ODD)
        place.mkdir()
        pool = MountedPool(place, options=f"transport={transport}")
        pool.mount()
        (pool.mountpoint / ODD).write_bytes(b"content")
        pool.sync()
        pool.kill()
        pool.mount()
        assert (pool.mountpoint / ODD).read_bytes() == b"content"
        new = place / f"new {ODD}"
        new.mkdir()
        pool.replace(pool.targets[0], new)
        assert [target["path"] for target in pool.status()["targets"]] == list(
            map(str, pool.targets))
        pool.unmount()
        pool.check()
