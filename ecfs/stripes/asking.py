"""Asking columns for what a reader wishes: which to ask last, and how long to wait for whom."""

from collections.abc import Callable, Generator
from typing import TypeVar

import trio

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import READ_DEADLINE_S, TARGET_DEADLINE_S
from ecfs.base.units import NS_PER_S
from ecfs.formats import column_name
from ecfs.stripes.fleet import Fleet, Member, Source
from ecfs.stripes.pace import patience_ns
from ecfs.stripes.reader import Fetch, Replies, Reply, Wish
from ecfs.stripes.sealed import StripeRef
from ecfs.targets import Gathering, Job, Target

T = TypeVar("T")
ReadColumn = Callable[[Target, str, Fetch], bytes]


class Asking:
    """What one read asks of the columns of a stripe. Bounded by READ_DEADLINE_S in all, whatever
    the targets do; one that is not there in time is noted as late and is left out of the replies
    until it comes, or its deadline does. Columns that are `replaced` are read on the targets that
    were there before, which are no part of the pool any more."""

    def __init__(self, ref: StripeRef, fleet: Fleet, read_column: ReadColumn,
                 replaced: frozenset[int]) -> None:
        self._replaced = replaced
        self._ref = ref
        self._fleet = fleet
        self._name = column_name(ref.segment.epoch, ref.segment.id)
        self._read_column = read_column
        self._now_ns = fleet.clock.monotonic_ns
        self._end_ns = self._now_ns() + int(READ_DEADLINE_S * NS_PER_S)
        self._gathering: Gathering[Fetch, Reply] = Gathering()
        self._gone: dict[Fetch, Reply] = {}

    async def drive(self, steps: Generator[Wish, Replies, T]) -> T:
        """Grant what it wishes, in the loop; what it returned."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            wish = next(steps)
            while True:
                due_ns = self._begin(wish)
                if not (count := wish.lacking(self._replies())):
                    await trio.lowlevel.checkpoint()
                while count:
                    if not await self._gathering.wait(count, self._left_s(due_ns)):
                        self._time_is_up(wish)
                        break
                    count = wish.lacking(self._replies())
                wish = steps.send(self._replies())
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            self._gathering.close()

    def drive_sync(self, steps: Generator[Wish, Replies, T]) -> T:
        """As `drive`, blocking the calling thread."""
        try:
            wish = next(steps)
            while True:
                due_ns = self._begin(wish)
                while count := wish.lacking(self._replies()):
                    if not self._gathering.wait_sync(count, self._left_s(due_ns)):
                        self._time_is_up(wish)
                        break
                wish = steps.send(self._replies())
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            self._gathering.close()

    def _begin(self, wish: Wish) -> int:
        """Ask for what is new; when to look at the replies at the latest."""
        for fetch in wish.fetches:
            place = self._place(fetch.column)
            if place is None or place.target is None or place.lane is None:
                path = "a target that left" if place is None else place.path
                self._gone[fetch] = TargetError(Fault.AWAY, f"{path} is away")
                continue
            self._gathering.begin(fetch, place.lane, self._job(place, place.target, fetch),
                                  TARGET_DEADLINE_S)
        if wish.patient:
            return self._end_ns
        length = max((fetch.length for fetch in wish.fetches), default=0)
        usual_ns = self._fleet.usual_ns(self._ref.segment.columns, self._ref.segment.data)
        return min(self._end_ns, self._now_ns() + patience_ns(usual_ns, length))

    def _place(self, column: int) -> Member | Source | None:
        member = self._fleet.get(self._ref.segment.columns[column])
        if member is not None and member.source is not None and column in self._replaced:
            return member.source
        return member

    def _job(self, place: Member | Source, target: Target, fetch: Fetch) -> Callable[[], Reply]:
        began_ns = self._now_ns()

        def read() -> Reply:
            try:
                return self._read_column(target, self._name, fetch)
            finally:
                if isinstance(place, Member):
                    place.pace.answered(began_ns, self._now_ns(), fetch.length)

        return read

    def _left_s(self, due_ns: int) -> float:
        return max(0, due_ns - self._now_ns()) / NS_PER_S

    def _replies(self) -> dict[Fetch, Reply]:
        answers = self._gathering.answers()
        return {**self._gone, **answers} if self._gone else answers

    def _time_is_up(self, wish: Wish) -> None:
        """Who has not answered is late; at the end of all patience, that is its reply."""
        replies = self._replies()
        for fetch in wish.fetches:
            if fetch not in replies and fetch.column not in self._replaced:
                self._fleet.note_late(self._ref.segment.columns[fetch.column])
        if wish.patient:
            self._gathering.give_up()

    def try_late(self, fetch: Fetch) -> None:
        """See, without waiting for it, whether a column that is asked last answers in time again.
        """
        member = self._fleet.get(self._ref.segment.columns[fetch.column])
        if (member is None or member.target is None or member.lane is None
                or member.lane.is_full() or not member.pace.take_trial(self._now_ns())):
            return
        member.lane.post(Job(self._job(member, member.target, fetch), (), TARGET_DEADLINE_S,
                             lambda: None))
