"""Pools in memory that lose their power."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.base.units import KIB
from ecfs.testing.mounted_pool import MountedPool, mounted_pool
from ecfs.testing.quick import remember_keys, use_virtual_time


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing here waits for the real time."""
    use_virtual_time(items, Path(__file__).parent)


@pytest.fixture(autouse=True)
def quick(keys: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Every test here opens many pools."""
    return keys


@pytest.fixture(scope="module")
def keys() -> Iterator[pytest.MonkeyPatch]:
    """Keys are stretched once, and record files reserve little room, for they are copied often."""
    with pytest.MonkeyPatch.context() as patch:
        remember_keys(patch)
        patch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
        yield patch


@pytest.fixture
def mounted() -> Iterator[MountedPool]:
    """A pool that is mounted by a process of its own, and must be clean in the end."""
    with mounted_pool() as pool:
        yield pool
