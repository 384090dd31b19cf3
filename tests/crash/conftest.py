"""Pools in memory that lose their power."""

from collections.abc import Iterator

import pytest

from ecfs.base.units import KIB
from ecfs.testing.quick import remember_keys


@pytest.fixture(autouse=True)
def quick(keys: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Every test here opens many pools."""
    return keys


@pytest.fixture(scope="session")
def keys() -> Iterator[pytest.MonkeyPatch]:
    """Keys are stretched once, and record files reserve little room, for they are copied often."""
    with pytest.MonkeyPatch.context() as patch:
        remember_keys(patch)
        patch.setattr("ecfs.volume.records.COMMIT_PREALLOCATE_LEN", 64 * KIB)
        yield patch
