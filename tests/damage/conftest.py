"""One pool with some of everything, made once; each test damages a copy of it at the same paths."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.testing.quick import remember_keys, run_in_virtual_time, use_virtual_time
from tests.damage.lab import Lab


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing here waits for the real time."""
    use_virtual_time(items, Path(__file__).parent)


@pytest.fixture(scope="module")
def keys() -> Iterator[None]:
    """The passphrase is stretched once for each pool."""
    with pytest.MonkeyPatch.context() as patch:
        remember_keys(patch)
        yield


@pytest.fixture(scope="session")
def master_lab() -> Iterator[Lab]:
    """The pool as it was before all damage."""
    base = Path(tempfile.mkdtemp(prefix="ecfs-damage-", dir="/dev/shm"))
    try:
        lab = Lab(base)
        run_in_virtual_time(lab.build)
        yield lab
    finally:
        shutil.rmtree(base)


@pytest.fixture
def lab(master_lab: Lab, keys: None) -> Lab:
    """The pool, whole again."""
    master_lab.reset()
    return master_lab
