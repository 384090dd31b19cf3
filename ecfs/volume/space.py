"""How much can still be placed: what statfs tells, and when growing stops."""

from collections.abc import Iterable
from dataclasses import dataclass

import trio

from ecfs.base.errors import TargetError
from ecfs.base.limits import INODES_SHOWN_MAX, RESERVE_LEN_MIN
from ecfs.erasure import Geometry
from ecfs.stripes import Fleet, Member, StripeStore
from ecfs.targets import Space, Target
from ecfs.volume.everywhere import on_online

REFRESH_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class VolumeSpace:
    """What statfs(2) tells; lengths in bytes of content, parity already taken off."""

    total_len: int
    free_len: int
    available_len: int
    inodes_count: int
    inodes_free: int


def placeable_len(free: list[int], geometry: Geometry) -> int:
    """Content that fits on targets with these free bytes, each stripe on k + m different ones.

    The largest T for which sum(min(free_i, T)) >= (k + m) T is the length of all columns together;
    k of k + m columns are content.
    """
    shards = geometry.shards
    if len(free) < shards:
        # Narrowed: k shrinks, but never below 1.
        return min(free, default=0) * max(1, len(free) - geometry.parity)
    low, high = 0, sum(free) // shards
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(one, middle) for one in free) >= shards * middle:
            low = middle
        else:
            high = middle - 1
    return low * geometry.data


class SpaceMeter:
    """Asks the targets for their room, once a second, in their lanes."""

    def __init__(self, fleet: Fleet, store: StripeStore) -> None:
        self._fleet = fleet
        self._store = store
        self.spaces: dict[bytes, Space] = {}
        self._available_len = 0
        self._appended_len = 0
        fleet.on_change.append(lambda member: self._recompute())

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await trio.sleep(REFRESH_INTERVAL_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Ask once."""
        for target_id, result in (await on_online(self._fleet, _space_of)).items():
            member = self._fleet.get(target_id)
            if member is None or isinstance(result, TargetError):
                continue
            self.spaces[target_id] = result
            self._fleet.note_space(member, result.free_len)
        self._recompute()

    def _recompute(self) -> None:
        self._appended_len = self._store.appended_len
        self._available_len = self._placeable(RESERVE_LEN_MIN, self._fleet.placeable())

    def _placeable(self, reserve_len: int, members: Iterable[Member]) -> int:
        free = [max(0, space.free_len - reserve_len) for member in members
                if (space := self.spaces.get(member.id)) is not None]
        return placeable_len(free, self._store.content_geometry)

    def available_len(self, dirty_len: int) -> int:
        """Content that may still be added, beyond the reserve and what is on its way."""
        appended_len = self._store.appended_len - self._appended_len
        return self._available_len - appended_len - dirty_len

    def room_for_moves(self) -> int:
        """Content that may move to where half of the reserve is left on each target."""
        return self._placeable(RESERVE_LEN_MIN // 2, self._fleet.online())

    def is_low(self) -> bool:
        """Whether less than a tenth of the room is left."""
        total = placeable_len([space.total_len for space in self.spaces.values()],
                              self._store.content_geometry)
        return self._available_len * 10 < total

    def space(self, inodes_count: int, dirty_len: int) -> VolumeSpace:
        """For statfs. Total: as if the targets' other users did not exist."""
        online = [space for member in self._fleet.online()
                  if (space := self.spaces.get(member.id)) is not None]
        total = placeable_len([space.total_len for space in online], self._store.content_geometry)
        available = self.available_len(dirty_len)
        # The targets were asked a while ago: less what was taken since.
        free = self._placeable(0, self._fleet.placeable()) - (self._available_len - available)
        return VolumeSpace(total, max(0, min(free, total)), max(0, min(available, total)),
                           inodes_count, max(0, INODES_SHOWN_MAX - inodes_count))


def _space_of(target: Target) -> Space:
    return target.space()
