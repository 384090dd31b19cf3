"""What several writers were told to be safe, and writers that remember it."""

import random
from dataclasses import dataclass, field

import trio

from ecfs.base.errors import Bug, EcfsError
from ecfs.testing.pools import Opening
from ecfs.testing.simulation.finding import Failure
from ecfs.testing.simulation.history import Lost
from ecfs.testing.simulation.hosts import Machine
from ecfs.testing.simulation.trace import Trace

FILES_EACH = 4


@dataclass(slots=True)
class Acknowledged:
    """Contents that each file had, oldest first; none before the acknowledged one may come back.
    Only its owner writes a file."""

    contents: dict[bytes, list[bytes]] = field(default_factory=dict)
    floors: dict[bytes, int] = field(default_factory=dict)
    acknowledged_count: int = 0

    def writes(self, path: bytes, content: bytes) -> int:
        """A file is about to hold this; a mark for `acknowledge`."""
        row = self.contents.setdefault(path, [])
        row.append(content)
        return len(row) - 1

    def acknowledge(self, path: bytes, mark: int) -> None:
        """An fsync that began at the mark has returned."""
        self.acknowledged_count += 1
        self.floors[path] = max(self.floors.get(path, 0), mark)

    def check(self, found: dict[bytes, bytes]) -> None:
        """Raise Lost unless all that was acknowledged is there."""
        for path, floor in self.floors.items():
            if found.get(path) not in self.contents[path][floor:]:
                shown = found.get(path)
                raise Lost(f"{path!r} was acknowledged {floor + 1} times and "
                           + ("is gone" if shown is None else f"holds {shown[:24]!r}"))


class Writer:
    """A machine that mounts, writes and syncs as long as it may, and tries again."""

    def __init__(self, machine: Machine, acknowledged: Acknowledged, source: random.Random,
                 trace: Trace, *, prefix: bytes = b"") -> None:
        self.machine = machine
        self._prefix = prefix or machine.name.encode()
        self._acknowledged = acknowledged
        self._source = source
        self._trace = trace
        self._count = 0

    async def run(self, until_s: float) -> None:
        """Until that time."""
        while trio.current_time() < until_s:
            self.machine.reboot()
            try:
                await self.machine.live(lambda opening: self._work(opening, until_s))
            except EcfsError as error:
                if isinstance(error, Bug):
                    raise Failure(f"{self.machine.name}: Bug: {error}") from error
                self._trace.say(f"refusal {type(error).__name__}",
                                f"{self.machine.name}: {error}")
            await trio.sleep(self._source.choice((0.1, 3.0, 20.0)))

    async def _work(self, opening: Opening, until_s: float) -> None:
        self._trace.say("works", f"{self.machine.name} in epoch {opening.volume.opened.epoch}")
        while trio.current_time() < until_s:
            await self.write_one(opening)
            await trio.sleep(self._source.choice((0.0, 0.01, 0.3, 2.0)))
            choice = self._source.random()
            if choice < 0.03:
                await opening.volume.checkpoint()
            elif choice < 0.05:
                await opening.volume.close()
                return

    async def write_one(self, opening: Opening) -> None:
        """Write one file and sync it."""
        self._count += 1
        path = b"%s-%d" % (self._prefix, self._source.randrange(FILES_EACH))
        content = b"%s %d;" % (path, self._count) * self._source.choice((1, 20, 900, 4_000))
        mark = self._acknowledged.writes(path, content)
        if opening.shell.exists(path):
            await opening.shell.truncate(path, 0)
            self._acknowledged.contents[path].insert(mark, b"")
            mark += 1
        await opening.shell.write(path, content)
        await opening.shell.fsync(path)
        self._acknowledged.acknowledge(path, mark)
        self._trace.say("acknowledged", f"{self.machine.name} {path.decode()} {self._count}")
