"""How much can still be placed: what statfs tells, and when growing stops."""

from collections import Counter
from dataclasses import dataclass

import trio

from ecfs.base.errors import TargetError
from ecfs.base.limits import INODES_SHOWN_MAX, RESERVE_LEN_MIN
from ecfs.erasure import Geometry
from ecfs.stripes import Fleet, StripeStore
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
    """Content that fits on targets with these free bytes, each stripe on k + m different ones; and
    once too few of them have room, narrower: k shrinks to 1, while more than m have.

    A target that is full, or says so, ends nothing: the others go on. Where no more than m targets
    are there at all, what stripes lack counts as missed.
    """
    left = sorted((one for one in free if one > 0), reverse=True)
    length = 0
    if len(left) >= geometry.shards:
        wide = _stripes_len(left, geometry.shards)
        length += wide * geometry.data
        left = [one - wide for one in left if one > wide]
    least = geometry.parity if len(free) > geometry.parity else 0
    while len(left) > least:
        some = min(left[: geometry.shards])
        length += some * max(1, min(geometry.data, len(left) - geometry.parity))
        left = [one - some for one in left if one > some]
    return length


def _stripes_len(free: list[int], shards: int) -> int:
    """The length of all columns together, each stripe on as many targets: the largest T for which
    sum(min(free_i, T)) >= shards * T."""
    low, high = 0, sum(free) // shards
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(one, middle) for one in free) >= shards * middle:
            low = middle
        else:
            high = middle - 1
    return low


class SpaceMeter:
    """Asks the targets for their room, once a second, in their lanes. `spaces`: as each told it.

    Targets on one device share its room: each counts with as much of it as there are of them.
    """

    def __init__(self, fleet: Fleet, store: StripeStore) -> None:
        self._fleet = fleet
        self._store = store
        self.spaces: dict[bytes, Space] = {}
        self._shares: dict[bytes, Space] = {}
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
        told = {target_id: result for target_id, result in
                (await on_online(self._fleet, _space_of)).items()
                if not isinstance(result, TargetError)}
        count = Counter(device for _, device in told.values())
        for target_id, (space, device) in told.items():
            member = self._fleet.get(target_id)
            if member is not None:
                self.spaces[target_id] = space
                share = self._shares[target_id] = Space(
                    space.total_len // count[device], space.free_len // count[device])
                self._fleet.note_space(member, share.free_len)
        self._appended_len = self._store.appended_len
        self._recompute()

    def _recompute(self) -> None:
        self._available_len = self._placeable(RESERVE_LEN_MIN)

    def _placeable(self, reserve_len: int, *, also_full: bool = False) -> int:
        free = [0 if member.full and not also_full else max(0, space.free_len - reserve_len)
                for member in self._fleet.online()
                if (space := self._shares.get(member.id)) is not None]
        return placeable_len(free, self._store.content_geometry)

    def available_len(self, dirty_len: int) -> int:
        """Content that may still be added, beyond the reserve and what is on its way."""
        appended_len = self._store.appended_len - self._appended_len
        return self._available_len - appended_len - dirty_len

    def room_for_moves(self, left_len: int = RESERVE_LEN_MIN // 2) -> int:
        """Content that may move to where so much of the reserve is left on each target: half."""
        return self._placeable(left_len, also_full=True)

    def is_low(self) -> bool:
        """Whether less than a tenth of the room is left."""
        return self._available_len * 10 < self.total_len()

    def total_len(self) -> int:
        """Content that would fit on empty targets."""
        return placeable_len([space.total_len for space in self._shares.values()],
                             self._store.content_geometry)

    def space(self, inodes_count: int, dirty_len: int) -> VolumeSpace:
        """For statfs. Total: as if the targets' other users did not exist."""
        online = [space for member in self._fleet.online()
                  if (space := self._shares.get(member.id)) is not None]
        total = placeable_len([space.total_len for space in online], self._store.content_geometry)
        available = self.available_len(dirty_len)
        # The targets were asked a while ago: less what was taken since.
        free = self._placeable(0) - (self._available_len - available)
        return VolumeSpace(total, max(0, min(free, total)), max(0, min(available, total)),
                           inodes_count, max(0, INODES_SHOWN_MAX - inodes_count))


def _space_of(target: Target) -> tuple[Space, int]:
    return target.space(), target.device()
