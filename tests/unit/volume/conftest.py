"""Nothing here waits for the real time: lanes are inline, and the clock jumps."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ecfs.testing.quick import remember_keys, use_virtual_time
from tests.unit.volume.simulated import Pool


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All async tests of this room run in virtual time."""
    use_virtual_time(items, Path(__file__).parent)


@pytest.fixture(scope="module")
def remembered_keys() -> Iterator[None]:
    """Keys are stretched once, for tests that open many pools."""
    with pytest.MonkeyPatch.context() as patch:
        remember_keys(patch)
        yield


@pytest.fixture(scope="session")
def made_pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """An empty pool of six targets, made once."""
    made = Pool(tmp_path_factory.mktemp("made"))
    trio.run(made.make)
    return made


@pytest.fixture
def pool(made_pool: Pool, tmp_path: Path) -> Pool:
    """A copy of that pool for each test."""
    return made_pool.copied(tmp_path)
