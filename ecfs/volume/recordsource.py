"""The bytes of records that a member lacks, from whoever holds them."""

from collections.abc import Collection
from functools import partial

from ecfs.base.errors import TargetError
from ecfs.base.limits import TARGET_DEADLINE_S, TARGET_SYNC_DEADLINE_S
from ecfs.base.units import NS_PER_S
from ecfs.formats import commits_name, record_hash
from ecfs.stripes import Fleet, patience_ns
from ecfs.targets import Gathering
from ecfs.volume.records import Found


class RecordSource:
    """For one pass over many records. A holder that is late is asked last from then on, and for
    what nobody shows in time there are TARGET_SYNC_DEADLINE_S in all, not for each record."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._left_ns = int(TARGET_SYNC_DEADLINE_S * NS_PER_S)

    async def bytes_of(self, found: Found, holders: Collection[bytes]) -> bytes | None:
        """A record as its hash says; None where none of `holders` shows it."""
        if found.data is not None:
            return found.data
        gathering: Gathering[bytes, bytes] = Gathering()
        try:
            return await self._ask(gathering, found, self._in_order(holders))
        finally:
            gathering.close()

    def _in_order(self, holders: Collection[bytes]) -> list[bytes]:
        """Those that were late come last."""
        ids = sorted(holders)
        late = self._fleet.late(ids, 1)
        return [ids[number] for number in sorted(range(len(ids)), key=lambda one: one in late)]

    async def _ask(self, gathering: Gathering[bytes, bytes], found: Found,
                   ids: list[bytes]) -> bytes | None:
        """One after the other, the next one as soon as one was wrong or is late."""
        name = commits_name(found.commit.epoch)
        open_count = 0
        for target_id in ids:
            member = self._fleet.get(target_id)
            if member is None or member.target is None or member.lane is None:
                continue
            read = partial(member.target.read, name, found.offset, found.length)
            gathering.begin(target_id, member.lane, read, TARGET_DEADLINE_S)
            open_count += 1
            patience_s = patience_ns(self._fleet.usual_ns(ids, 1), found.length) / NS_PER_S
            if not await gathering.wait(1, patience_s):
                self._fleet.note_late(target_id)
            elif (data := _good(gathering, found)) is not None:
                return data
        return await self._wait(gathering, found, open_count)

    async def _wait(self, gathering: Gathering[bytes, bytes], found: Found,
                    open_count: int) -> bytes | None:
        """For those that are late, as long as there is time for such."""
        while len(gathering.answers()) < open_count and self._left_ns > 0:
            began_ns = self._fleet.clock.monotonic_ns()
            came = await gathering.wait(1, min(TARGET_DEADLINE_S, self._left_ns / NS_PER_S))
            self._left_ns -= self._fleet.clock.monotonic_ns() - began_ns
            if (data := _good(gathering, found)) is not None:
                return data
            if not came:
                break
        return None


def _good(gathering: Gathering[bytes, bytes], found: Found) -> bytes | None:
    return next((data for data in gathering.answers().values()
                 if not isinstance(data, TargetError) and record_hash(data) == found.hash), None)
