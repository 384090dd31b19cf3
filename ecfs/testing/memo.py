"""Stretching a passphrase once for each set of key slots, for tests that open a pool hundreds of
times: the function is pure, so its result may be kept."""

from collections.abc import Sequence

import pytest

from ecfs.keys import KeySlot, MasterKey, SlotKind, open_slots


def remember_keys(patch: pytest.MonkeyPatch) -> None:
    """Let `ecfs.volume` remember what slots opened to, until the patch is undone."""
    known: dict[tuple[tuple[KeySlot, ...], bytes, SlotKind, bytes], MasterKey] = {}

    def remembered(slots: Sequence[KeySlot], secret: bytes, kind: SlotKind,
                   pool_id: bytes) -> MasterKey:
        key = (tuple(slots), secret, kind, pool_id)
        if key not in known:
            known[key] = open_slots(slots, secret, kind, pool_id)
        return known[key]

    patch.setattr("ecfs.volume.locate.open_slots", remembered)
