"""Nothing in a simulated world waits for the real time."""

from pathlib import Path

import pytest

from ecfs.testing.quick import use_virtual_time


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Async tests here run in virtual time."""
    use_virtual_time(items, Path(__file__).parent)
