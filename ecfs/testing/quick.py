"""What makes tests that open a pool hundreds of times quick: virtual time, and keys remembered."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from ecfs.keys import KeySlot, MasterKey, SlotKind, open_slots


def run_in_virtual_time(function: Callable[[], Awaitable[Any]], *,
                        clock: trio.abc.Clock | None = None,
                        instruments: Sequence[trio.abc.Instrument] = ()) -> Any:
    """As `trio.run`; whenever nobody has anything to do, time jumps to who waits next."""
    return trio.run(function, clock=clock or trio.testing.MockClock(autojump_threshold=0),
                    instruments=instruments)


def use_virtual_time(items: Iterable[pytest.Item], folder: Path) -> None:
    """Let all async tests below `folder` run in virtual time. They must use inline lanes: threads
    take real time. For `pytest_collection_modifyitems`, last."""
    for item in items:
        if item.path.is_relative_to(folder) and item.get_closest_marker("trio") is not None:
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)


def remember_keys(patch: pytest.MonkeyPatch) -> None:
    """Let `ecfs.volume` stretch a passphrase once for each set of key slots, until the patch is
    undone: the function is pure, so its result may be kept."""
    known: dict[tuple[tuple[KeySlot, ...], bytes, SlotKind, bytes], MasterKey] = {}

    def remembered(slots: Sequence[KeySlot], secret: bytes, kind: SlotKind,
                   pool_id: bytes) -> MasterKey:
        key = (tuple(slots), secret, kind, pool_id)
        if key not in known:
            known[key] = open_slots(slots, secret, kind, pool_id)
        return known[key]

    patch.setattr("ecfs.volume.locate.open_slots", remembered)
