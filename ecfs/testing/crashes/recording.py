"""Running a pool in memory so that every change of every target goes into one ordered log.

Jobs that are posted together are one batch: they run at the same time on their targets, so a crash
may find any of them at any point, but all of them after the batch before and before the next.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

import trio

from ecfs.base.errors import Fault, TargetError
from ecfs.targets import InlineLane, Job, LoopWaiter, MemoryTarget
from ecfs.targets.names import split_name
from ecfs.targets.protocol import Buffer, Space
from ecfs.testing.crashes.media import Entry, Image, Medium, What

T = TypeVar("T")
Args = TypeVarTuple("Args")


@dataclass(slots=True)
class Batch:
    """Entries of each target, by its path, that belong to the same time. `phase` says what the
    pool was doing."""

    phase: str
    entries: dict[str, list[Entry]] = field(default_factory=dict)


@dataclass(slots=True)
class Log:
    """All batches of a run, the media that it began with, and notes made in between. A run that
    follows the kill of a process begins with changes that are not synced."""

    begin: dict[str, Medium]
    batches: list[Batch] = field(default_factory=list)
    notes: list[tuple[int, object]] = field(default_factory=list)
    appeared: dict[int, dict[str, Image]] = field(default_factory=dict)

    def media(self) -> dict[str, Medium]:
        """The media as they are before the first batch."""
        return dict(self.begin)

    def end(self) -> dict[str, Image]:
        """What the media hold after the last batch; everything there is durable."""
        media = self.media()
        for number, batch in enumerate(self.batches):
            self.step(media, number, batch)
        return {path: medium.durable for path, medium in media.items()}

    def step(self, media: dict[str, Medium], number: int, batch: "Batch") -> None:
        """Carry out one batch whole."""
        for path, image in self.appeared.get(number, {}).items():
            media[path] = Medium(image)
        for path, entries in batch.entries.items():
            for entry in entries:
                media[path] = media[path].after(entry)


class Recorder:
    """Makes targets and lanes that log. `phase` may be set at any time."""

    def __init__(self, begin: dict[str, Medium]) -> None:
        self.log = Log(dict(begin))
        self.phase = ""
        self.targets: dict[str, MemoryTarget] = {}
        self._files: dict[str, dict[str, int]] = {}
        self._next_file = 1
        for path, medium in begin.items():
            self._hold(path, medium.durable.after(medium.pending))
        self._jobs: list[Job] = []
        self._wake = trio.Event()
        self._batch: Batch | None = None

    def open_target(self, path: str) -> "LoggedTarget":
        """The target at a path, if there is one."""
        if path not in self.targets:
            raise TargetError(Fault.MISSING, f"{path}: nothing there")
        return LoggedTarget(self.targets[path], self)

    def open_lane(self, name: str) -> "PooledLane":
        """A lane whose jobs run in batches."""
        return PooledLane(name, self)

    def appear(self, path: str, image: Image) -> None:
        """A target that was not there is there from now on."""
        self._hold(path, image)
        self.log.appeared.setdefault(len(self.log.batches), {})[path] = image

    def _hold(self, path: str, image: Image) -> None:
        self.targets[path] = MemoryTarget.holding(path, image.files())
        self._files[path] = dict(image.names)
        self._next_file = max(self._next_file, 1 + max(image.contents, default=0))

    def note(self, what: object) -> None:
        """Something happened before the next batch, and after all batches so far."""
        self.log.notes.append((len(self.log.batches), what))

    def post(self, job: Job) -> None:
        """A job for the next batch."""
        self._jobs.append(job)
        self._wake.set()

    async def run(self) -> None:
        """Do batches, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            self.run_batch()

    def run_batch(self) -> None:
        """Do what was posted, at once."""
        jobs, self._jobs = self._jobs, []
        self._batch = Batch(self.phase)
        for job in jobs:
            job.execute()
        batch, self._batch = self._batch, None
        if batch.entries:
            self.log.batches.append(batch)
        for job in jobs:
            job.on_done()

    def add(self, path: str, entries: Sequence[Entry]) -> None:
        """Entries of one target, in the batch that is under way or in one of their own."""
        if self._batch is None:
            self.log.batches.append(Batch(self.phase, {path: list(entries)}))
        else:
            self._batch.entries.setdefault(path, []).extend(entries)

    def file(self, path: str, name: str) -> int:
        """The number of a file."""
        return self._files[path][name]

    def new_file(self, path: str, name: str) -> int:
        """A number for a file that has this name from now on."""
        number, self._next_file = self._next_file, self._next_file + 1
        self._files[path][name] = number
        return number

    def drop_file(self, path: str, name: str) -> bool:
        """The name is gone; whether it was there."""
        return self._files[path].pop(name, None) is not None


class LoggedTarget:
    """A target in memory whose changes are logged. Closing it closes only this way to it."""

    def __init__(self, inner: MemoryTarget, recorder: Recorder) -> None:
        self.path = inner.path
        self._inner = inner
        self._recorder = recorder
        self._closed = False

    def device(self) -> int:
        """As `inner`."""
        return self._open().device()

    def list_names(self, folder: str = "") -> list[str]:
        """As `inner`."""
        return self._open().list_names(folder)

    def create(self, name: str, data: Buffer, *, sync: bool = True) -> None:
        """As `inner`; a crash may leave the name without the bytes."""
        self._open().create(name, data, sync=sync)
        file = self._recorder.new_file(self.path, name)
        entries = [Entry(What.NAME, file, name)]
        if memoryview(data).nbytes:
            entries.append(Entry(What.WRITE, file, data=bytes(data)))
        if sync:
            entries += [Entry(What.SYNC, file), Entry(What.SYNC_FOLDER, name=split_name(name)[0])]
        self._recorder.add(self.path, entries)

    def replace(self, name: str, data: Buffer) -> None:
        """As `inner`; the bytes are durable before the name is."""
        self._open().replace(name, data)
        file = self._recorder.new_file(self.path, name)
        self._recorder.add(self.path, [
            Entry(What.NAME, file, name, data=bytes(data)),
            Entry(What.SYNC_FOLDER, name=split_name(name)[0])])

    def read(self, name: str, offset: int, length: int) -> bytes:
        """As `inner`."""
        return self._open().read(name, offset, length)

    def read_now(self, name: str, offset: int, length: int) -> Buffer | None:
        """Never: as `inner`."""
        return None

    def write(self, name: str, offset: int, buffers: Sequence[Buffer]) -> None:
        """As `inner`."""
        data = b"".join(buffers)
        self._open().write(name, offset, [data])
        if data:
            self._change(name, What.WRITE, offset, data)

    def sync(self, name: str) -> None:
        """As `inner`."""
        self._open().sync(name)
        self._change(name, What.SYNC)

    def size(self, name: str) -> int:
        """As `inner`."""
        return self._open().size(name)

    def truncate(self, name: str, length: int) -> None:
        """As `inner`."""
        self._open().truncate(name, length)
        self._change(name, What.SIZE, length)

    def preallocate(self, name: str, offset: int, length: int) -> None:
        """As `inner`."""
        self._open().preallocate(name, offset, length)
        self._change(name, What.GROW, offset + length if length else 0)

    def punch(self, name: str, offset: int, length: int) -> bool:
        """As `inner`."""
        size = self._open().size(name)
        done = self._inner.punch(name, offset, length)
        zeros = bytes(max(0, min(length, size - offset)))
        if zeros:
            self._change(name, What.WRITE, offset, zeros)
        return done

    def remove(self, name: str) -> None:
        """As `inner`."""
        self._open().remove(name)
        if self._recorder.drop_file(self.path, name):
            self._recorder.add(self.path, [Entry(What.UNNAME, name=name)])

    def sync_folder(self, folder: str) -> None:
        """As `inner`."""
        self._open().sync_folder(folder)
        self._recorder.add(self.path, [Entry(What.SYNC_FOLDER, name=folder)])

    def space(self) -> Space:
        """As `inner`."""
        return self._open().space()

    def stored_len(self) -> int:
        """As `inner`."""
        return self._open().stored_len()

    def drop_cache(self, name: str, offset: int, length: int) -> None:
        """As `inner`."""
        self._open().drop_cache(name, offset, length)

    def forget(self, name: str) -> None:
        """As `inner`."""
        self._inner.forget(name)

    def close(self) -> None:
        """Refuse further calls."""
        self._closed = True

    def _open(self) -> MemoryTarget:
        if self._closed:
            raise TargetError(Fault.AWAY, f"{self.path}: the target was closed")
        return self._inner

    def _change(self, name: str, what: What, number: int = 0, data: bytes = b"") -> None:
        file = self._recorder.file(self.path, name)
        self._recorder.add(self.path, [Entry(what, file, number=number, data=data)])


class PooledLane(InlineLane):
    """A lane whose jobs are done together with all others that are posted in the same turn of the
    loop. Deadlines do not apply."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        super().__init__(name)
        self._recorder = recorder

    async def run(self, function: Callable[[*Args], T], *args: *Args, deadline_s: float) -> T:
        """See AnyLane."""
        waiter = LoopWaiter(1)
        job = Job(function, args, deadline_s, waiter.note)
        self.post(job)
        await waiter.wait()
        result, error = job.take_outcome(self.name)
        if error is not None:
            raise error
        done: T = result
        return done

    def block(self, ended: threading.Lock, timeout_s: float) -> bool:
        """See AnyLane. Threads would go on while the loop waits."""
        self._recorder.run_batch()
        return super().block(ended, timeout_s)

    def post(self, job: Job) -> None:
        """See AnyLane."""
        if self._closed:
            job.fail(TargetError(Fault.AWAY, f"{self.name}: the lane was closed"))
        else:
            self._recorder.post(job)
