"""Targets whose syncs take far longer than those of the others, again and again.

Everybody who wants something durable waits for them. They are told of, and nothing else: whoever is
let go of lacks what is written from then on, and a slow disk among quick ones is not hostile.
"""

from collections.abc import Mapping

from ecfs.base.units import NS_PER_S

SLOW_SYNC_S = 1.0
USUAL_COUNT = 4
"""Of what the others take, so many times is late."""
LATE_TOLD_COUNT = 4
FORGIVEN_S = 3600.0


class SyncPace:
    """Of all targets of a pool."""

    def __init__(self) -> None:
        self._late: dict[bytes, tuple[int, int]] = {}

    def note(self, took_ns: Mapping[bytes, int], now_ns: int) -> list[bytes]:
        """Syncs that were begun at once have ended; who is to be told of: once for each time that
        it was well for an hour before."""
        to_tell = []
        for target_id, one_ns in took_ns.items():
            others = sorted(other_ns for other, other_ns in took_ns.items() if other != target_id)
            if one_ns < SLOW_SYNC_S * NS_PER_S or not others or (
                    one_ns < USUAL_COUNT * others[(len(others) - 1) // 2]):
                continue
            count, last_ns = self._late.get(target_id, (0, now_ns))
            count = count + 1 if now_ns - last_ns <= FORGIVEN_S * NS_PER_S else 1
            self._late[target_id] = count, now_ns
            if count == LATE_TOLD_COUNT:
                to_tell.append(target_id)
        return to_tell
