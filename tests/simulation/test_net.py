"""The net itself: with a step of the product left out, some world soon fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ecfs.stripes import StripeStore
from ecfs.testing.crashes.mutants import run_unsynced
from ecfs.testing.simulation.plans import Contest, Plan, draw, draw_contest
from ecfs.testing.simulation.running import run_plan
from ecfs.volume.appending import RecordWriter

WORLDS_MAX = 60


async def _forget_unsynced(store: Any) -> None:
    store._unsynced = set()


def _same_salt(*args: object, **named: object) -> bytes:
    return b"s" * 32


@pytest.mark.parametrize(("left_out", "change", "draw_one"), [
    ("sync of a record", lambda: mock.patch("ecfs.volume.appending.run_steps", run_unsynced), draw),
    ("sync of stripes", lambda: mock.patch.object(StripeStore, "_sync_files", _forget_unsynced),
     draw),
    ("second look at the claims",
     lambda: mock.patch.object(RecordWriter, "check_claims", lambda writer, target: None),
     draw_contest),
    ("look at the place of a record",
     lambda: mock.patch("ecfs.volume.appending.other_record", lambda *args: False), draw_contest),
    ("fresh salts", lambda: mock.patch("ecfs.stripes.sealed.stripe_salt", _same_salt), draw),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_step_that_is_left_out_is_noticed(
        left_out: str, change: Callable[[], Any],
        draw_one: Callable[[int], Plan | Contest], tmp_path: Path) -> None:
    for seed in range(5_000, 5_000 + WORLDS_MAX):
        with change():
            if run_plan(draw_one(seed), tmp_path).failure:
                return
    raise AssertionError(f"{WORLDS_MAX} worlds hold without the {left_out}")
