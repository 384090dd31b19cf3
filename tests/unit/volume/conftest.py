"""Nothing here waits for the real time: lanes are inline, and the clock jumps."""

from pathlib import Path

import pytest

from ecfs.testing.quick import use_virtual_time


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All async tests of this room run in virtual time."""
    use_virtual_time(items, Path(__file__).parent)
