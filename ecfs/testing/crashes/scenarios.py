"""What a pool does while it is recorded: a workload, by itself or beside something else.

A scenario begins with images and an oracle, runs once, and gives back its log.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import trio
from blake3 import blake3

from ecfs.repair import scrub
from ecfs.testing.crashes.grammar import Actor, Told
from ecfs.testing.crashes.media import Entry, Image, Medium
from ecfs.testing.crashes.pool import Client, CrashPool, Images, mounted
from ecfs.testing.crashes.recording import Batch, Log, Recorder
from ecfs.testing.oracle import Oracle
from ecfs.testing.pools import Opening
from ecfs.testing.trees import Seen, snapshot_of
from ecfs.volume.anchor import Anchor

CATCH_UP_WAIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Start:
    """What a run begins with. `told`: what the oracle knows beside `contents`. `suspects`: paths
    of targets that lack something or hold something bad, `away`: those that are not there;
    `unsynced`: changes of a process that was killed."""

    images: Images
    anchor: Anchor | None
    contents: dict[bytes, Seen]
    told: tuple[Told, ...] = ()
    suspects: frozenset[str] = frozenset()
    away: frozenset[str] = frozenset()
    unsynced: dict[str, tuple[Entry, ...]] = field(default_factory=dict)


class Whole:
    """A note: from now on nothing is missing or bad anywhere."""


@dataclass(slots=True)
class Run:
    """A recorded run."""

    name: str
    start: Start
    log: Log
    oracles: dict[int, tuple[Oracle, bytes]] = field(default_factory=dict)

    def oracle_at(self, batch: int) -> tuple[Oracle, bytes]:
        """What may be found when the power goes during a batch, and a digest of all that it was
        told."""
        told = self.told_at(batch)
        if len(told) not in self.oracles:
            oracle = Oracle(self.start.contents)
            digest = blake3(repr(sorted(self.start.contents.items())).encode())
            for one in told:
                one.tell(oracle)
                digest.update(repr(one).encode())
            self.oracles[len(told)] = oracle, digest.digest()
        return self.oracles[len(told)]

    def told_at(self, batch: int) -> tuple[Told, ...]:
        """What the oracle of that batch knows."""
        return (*self.start.told, *(note for at, note in self.log.notes
                                    if at <= batch and isinstance(note, Told)))

    def suspects_at(self, batch: int) -> frozenset[str]:
        """Targets that may lack something then."""
        whole = any(at <= batch and isinstance(note, Whole) for at, note in self.log.notes)
        return frozenset() if whole else self.start.suspects

    def anchors_at(self, batch: int) -> list[Anchor | None]:
        """What the client may remember then, newest first."""
        saved = [note for at, note in self.log.notes if at <= batch and isinstance(note, Anchor)]
        return [*reversed(saved), self.start.anchor]


Script = Callable[[Opening, Actor, Recorder], Awaitable[None]]


async def record(pool: CrashPool, name: str, start: Start, script: Script, *,
                 entropy: str = "first") -> Run:
    """Mount, run the script, unmount, all of it into a log. Runs that go on from another need an
    `entropy` of their own; runs that begin alike go alike as long as they do the same."""
    media = {path: Medium(image, start.unsynced.get(path, ()))
             for path, image in start.images.items()}
    recorder = Recorder({path: medium for path, medium in media.items()
                         if path not in start.away})
    client = Client(start.anchor, recorder.note)
    environment = pool.environment(f"run/{entropy}", client, recorder.open_target,
                                   recorder.open_lane)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run)
        recorder.phase = "mount"
        async with mounted(environment, pool.paths) as opening:
            actor = Actor(opening, recorder, start.contents)
            for told in start.told:
                told.tell(actor.oracle)
            await script(opening, actor, recorder)
            recorder.phase = "unmount"
            # Its own nursery ends with it, but what runs here goes on.
            with trio.CancelScope(shield=True):
                await opening.volume.close()
                actor.tell("sync")
        nursery.cancel_scope.cancel()
    # What the power may do once all is over.
    recorder.log.batches.append(Batch("unmounted"))
    for path in start.away:
        recorder.log.begin.setdefault(path, media[path])
    return Run(name, start, recorder.log)


async def _settle(opening: Opening, actor: Actor) -> None:
    """A program looks at everything: what it sees counts from now on."""
    found = await snapshot_of(opening.shell)
    actor.oracle.check(found)
    actor.tell("settle", found)


def of_words(words: tuple[str, ...]) -> Script:
    """A workload, then what happens every five seconds, then the unmount."""
    async def script(opening: Opening, actor: Actor, recorder: Recorder) -> None:
        recorder.phase = "operations"
        for word in words:
            await actor.act(word)
        actor.oracle.check_live(await snapshot_of(opening.shell))
        recorder.phase = "commit in the background"
        await opening.volume.tend()
        actor.tell("committed")

    return script


def recovering(words: tuple[str, ...]) -> Script:
    """A mount after a crash, a look at what is there, and work that goes on."""
    async def script(opening: Opening, actor: Actor, recorder: Recorder) -> None:
        for batch in recorder.log.batches:
            batch.phase = "recovery"
        recorder.phase = "recovery"
        await _settle(opening, actor)
        recorder.phase = "operations"
        for word in words:
            if word.split()[0] in ("write", "fsync"):
                await actor.act(word)

    return script


def with_checkpoints(words: tuple[str, ...]) -> Script:
    """A checkpoint after each operation."""
    async def script(opening: Opening, actor: Actor, recorder: Recorder) -> None:
        for word in words:
            recorder.phase = "operations"
            await actor.act(word)
            recorder.phase = "checkpoint"
            await opening.volume.checkpoint()
            actor.tell("committed")

    return script


def with_compaction(words: tuple[str, ...]) -> Script:
    """What is dead is given back, what lives in closed segments is moved, and what is empty then is
    reclaimed."""
    async def script(opening: Opening, actor: Actor, recorder: Recorder) -> None:
        volume = opening.volume
        recorder.phase = "operations"
        for word in words:
            await actor.act(word)
        recorder.phase = "giving back"
        # What died is in no commit yet.
        await volume.files.flush(None)
        await volume.background.tidy()
        await volume.fsync(None)
        actor.tell("sync")
        recorder.phase = "compaction"
        volume.store.close_segments()
        for segment_id in sorted(volume.files.index.segments):
            await volume.files.compact(segment_id)
        recorder.phase = "reclaiming"
        await volume.tend()
        recorder.phase = "checkpoint"
        await volume.checkpoint()
        await volume.checkpoint()

    return script


def with_mending(words: tuple[str, ...]) -> Script:
    """Reads meet damage on one target, and the queue puts it right."""
    async def script(opening: Opening, actor: Actor, recorder: Recorder) -> None:
        recorder.phase = "mending"
        await _settle(opening, actor)
        await opening.mending.drained()
        recorder.phase = "operations"
        for word in words:
            await actor.act(word)
        recorder.phase = "scrub"
        await scrub(opening.volume)
        actor.tell("sync")
        recorder.note(Whole())

    return script


def with_resilver(words: tuple[str, ...]) -> Script:
    """A target that missed something is brought up to date while the workload runs."""
    async def script(opening: Opening, actor: Actor, recorder: Recorder) -> None:
        recorder.phase = "operations"
        for word in words:
            await actor.act(word)
        recorder.phase = "resilver"
        with trio.fail_after(CATCH_UP_WAIT_S):
            while any(member.behind for member in opening.volume.fleet if member.online):
                await trio.sleep(1.0)
        await opening.volume.fsync(None)
        actor.tell("sync")
        recorder.note(Whole())

    return script


def with_return(path: str, image: Image, words: tuple[str, ...]) -> Script:
    """A target that was away comes back while the pool is mounted, and is brought up to date."""
    inner = with_resilver(())

    async def script(opening: Opening, actor: Actor, recorder: Recorder) -> None:
        recorder.phase = "away"
        for word in words:
            await actor.act(word)
        await opening.volume.fsync(None)
        actor.tell("sync")
        recorder.appear(path, image)
        recorder.phase = "return"
        await opening.volume.tend()
        await inner(opening, actor, recorder)

    return script


def killed_at(run: Run, batch: int, positions: tuple[int, ...]) -> Start:
    """What a process leaves that is killed during a batch, when each target had done so many of
    its entries: nothing is lost, but nothing more is synced than was."""
    log, media = run.log, run.log.media()
    for number, one in enumerate(log.batches[:batch]):
        log.step(media, number, one)
    for path, position in zip(media, positions, strict=True):
        for entry in log.batches[batch].entries.get(path, [])[:position]:
            media[path] = media[path].after(entry)
    return Start({path: medium.durable for path, medium in media.items()},
                 run.anchors_at(batch)[0], run.start.contents, run.told_at(batch),
                 run.suspects_at(batch),
                 unsynced={path: medium.pending for path, medium in media.items()})


def damaged(pool: CrashPool, start: Start, seed: str) -> Start:
    """One target whose columns, or records, or both are wrong here and there."""
    source = random.Random(seed)
    path = source.choice(pool.paths)
    kinds = source.choice([("segments/",), ("commits.",), ("segments/", "commits.", "claim.")])
    files = dict(start.images[path].files())
    for name, data in files.items():
        if data and name.startswith(kinds):
            bad = bytearray(data)
            for at in range(source.randrange(4096), len(bad), 4096 * source.choice([1, 3])):
                bad[at] ^= 0x55
            files[name] = bytes(bad)
    return replace(start, images=start.images | {path: Image.of(files)},
                   suspects=frozenset({path}))


async def after_absence(pool: CrashPool, start: Start, words: tuple[str, ...], path: str, *,
                        rolled_back: bool) -> Start:
    """The pool once a target missed a whole mount with this workload, and is there again; if it is
    `rolled_back`, it took part and then fell back to what it held before."""
    away = frozenset[str]() if rolled_back else frozenset({path})
    run = await record(pool, f"absence {path} {words}", replace(start, away=away),
                       of_words(words), entropy="absence")
    found = run.oracle_at(len(run.log.batches))[0].now()
    return Start(run.log.end() | {path: start.images[path]},
                 run.anchors_at(len(run.log.batches))[0], found, suspects=frozenset({path}))
