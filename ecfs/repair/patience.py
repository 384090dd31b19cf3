"""When a target that is behind is caught up: each try reads its columns, and what it lacks from the
others.
"""

import trio

from ecfs.stripes import Fleet, Member

CATCH_UP_INTERVAL_S = 1.0
CATCH_UP_INTERVAL_MAX_S = 60.0
CATCH_UP_REST = 20
"""Trying in vain takes at most one part in so many of the time; so does filling again what was
filled again and again."""
FORGIVEN_S = 3600.0


class Patience:
    """With one target. It is tried at once when another one came or went, or it misses more; else
    after a pause that doubles.

    One that comes and goes, or lets things go, could so be filled without an end. So its own coming
    and going counts as nothing else than that it misses more, and before the third try it rests: as
    long as the last one took, then thrice, seven times. Who needed none for an hour, or for as long
    as the last one took, begins anew.
    """

    def __init__(self) -> None:
        self._others: frozenset[bytes] | None = None
        self._missed_count = -1
        self._began = self._due = self._rested = self._took_s = 0.0
        self._ended = float("-inf")
        self._tries_count = 0
        self._pause_s = CATCH_UP_INTERVAL_S

    def is_due(self, fleet: Fleet, member: Member) -> bool:
        """Whether now is the time; if so, the try begins."""
        now = trio.current_time()
        others = frozenset(one.id for one in fleet.online() if one is not member)
        if others != self._others:
            self._pause_s = CATCH_UP_INTERVAL_S
        elif member.missed_count != self._missed_count:
            if now < self._rested:
                return False
            self._pause_s = CATCH_UP_INTERVAL_S
        elif now < self._due:
            return False
        if now - self._ended > max(FORGIVEN_S, self._took_s):
            self._tries_count = 0
        self._others, self._missed_count = others, member.missed_count
        self._began = now
        return True

    def tried(self) -> None:
        """The try is over. For who is still behind the pause begins."""
        now = trio.current_time()
        self._took_s = took_s = now - self._began
        self._ended = now
        self._tries_count += 1
        self._rested = now + took_s * min((1 << min(self._tries_count - 1, 16)) - 1, CATCH_UP_REST)
        self._due = now + max(self._pause_s, CATCH_UP_REST * took_s)
        self._pause_s = min(2 * self._pause_s, CATCH_UP_INTERVAL_MAX_S)

    def is_whole(self) -> None:
        """It has caught up: when it is behind again it is so with something new."""
        self._missed_count = -1
