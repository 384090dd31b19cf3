"""Who may write: the lock on this host, claims on a quorum, takeover, heartbeats.

The step names are those of the protocol in docs/design.md: CLAIM (create on a quorum), READ (the
log, after the claim), RECHECK (in `RecordWriter.append`). Heartbeats are comfort: they tell how
long to wait before a takeover; safety is RECHECK.
"""

import fcntl
import os
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import trio

from ecfs.base.errors import (
    Damage,
    Fault,
    InUse,
    ReadOnly,
    RunDirectoryUnwritable,
    TargetError,
)
from ecfs.base.limits import (
    EPOCH_MAX,
    HEARTBEAT_INTERVAL_S,
    TAKEOVER_QUIET_S,
    TARGET_SYNC_DEADLINE_S,
)
from ecfs.base.units import BLOCK_LEN
from ecfs.base.world import Entropy
from ecfs.formats import (
    CLAIM_PATTERN,
    COMMITS_PATTERN,
    HEARTBEAT_PATTERN,
    BoxKeys,
    Claim,
    claim_name,
    decode_claim,
    decode_heartbeat,
    encode_claim,
    encode_heartbeat,
    epochs_among,
    heartbeat_name,
)
from ecfs.keys import MasterKey
from ecfs.observe import Event, EventKind, Journal
from ecfs.stripes import Fleet
from ecfs.targets import Target
from ecfs.volume.environment import Host
from ecfs.volume.everywhere import on_online
from ecfs.volume.recordfiles import bad_claim_kind

CLAIMS_LOOKED_AT_MAX = 4
EPOCH_JUMP_MAX = 1 << 20
EPOCHS_TRIED_MAX = 64


def box_keys(master: MasterKey, pool_id: bytes, purpose: str) -> BoxKeys:
    """Keys of a kind of box."""
    return BoxKeys(pool_id, master.purpose(purpose), master.purpose(f"{purpose} salt"))


class HostLock:
    """An advisory lock: free means that no process of this user on this host holds the pool."""

    def __init__(self, run_dir: Path, pool_id: bytes) -> None:
        try:
            run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryUnwritable(run_dir, error) from error
        self._path = run_dir / f"{pool_id.hex()}.lock"
        self._fd: int | None = None

    def take(self) -> None:
        """Take the lock; InUse, naming the process, when another one has it."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RunDirectoryUnwritable(self._path.parent, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 100, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise InUse(f"the pool is in use on this host by process {holder}; unmount it first"
                        ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Let go; harmless when it was never taken."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def is_claimed_after(target: Target, epoch: int, keys: BoxKeys) -> bool:
    """Whether a target shows an authentic claim of a later epoch. Runs in its lane."""
    for later in epochs_among(target.list_names(), CLAIM_PATTERN)[:CLAIMS_LOOKED_AT_MAX]:
        if later <= epoch:
            break
        try:
            decode_claim(target.read(claim_name(later), 0, BLOCK_LEN), keys, later)
        except (Damage, TargetError):
            continue
        return True
    return False


def read_claims(target: Target, epochs: list[int],
                keys: BoxKeys) -> tuple[list[Claim], list[tuple[EventKind, str]]]:
    """The newest claims on a target that are authentic, and what is to be told of those that are
    not or cannot be read. Runs in its lane."""
    claims: list[Claim] = []
    bad: list[tuple[EventKind, str]] = []
    for epoch in epochs[:CLAIMS_LOOKED_AT_MAX]:
        data = b""
        try:
            data = target.read(claim_name(epoch), 0, BLOCK_LEN)
            claims.append(decode_claim(data, keys, epoch))
        except Damage as damage:
            bad.append((bad_claim_kind(data), f"{target.path}: {claim_name(epoch)}: {damage}"))
        except TargetError as error:
            if error.fault not in (Fault.MISSING, Fault.UNSAFE, Fault.IO):
                raise
            if error.fault is not Fault.MISSING:
                bad.append((EventKind.READ_FAILED, str(error)))
    return claims, bad


@dataclass(frozen=True, slots=True)
class ClaimView:
    """Claims as targets show them. `epochs`: of every target all that names of files there say,
    authentic or not."""

    newest: Claim | None
    epochs: dict[bytes, list[int]]
    beats: dict[bytes, int]

    def next_epoch(self, proven: int, parity: int) -> int:
        """One above `proven`, which is that of an authentic label, or of the newest claim; higher
        where names are in the way: a claim that was cut short leaves its name, and that target
        takes no other. ReadOnly where there are no more.

        What up to `parity` targets name may be made up, and must not drive the epoch to its end:
        it moves by a few at most, and not at all if they name everything.
        """
        proven = max(proven, self.newest.epoch if self.newest is not None else 0)
        counts = Counter(chain.from_iterable(map(set, self.epochs.values())))
        common = max((epoch for epoch, count in counts.items()
                      if count > parity and epoch <= proven + EPOCH_JUMP_MAX), default=0)
        first = max(proven, common) + 1
        if first + EPOCHS_TRIED_MAX > EPOCH_MAX:
            raise ReadOnly("the pool was mounted as often as can be; copy its files to a new one")
        return min(range(first, first + EPOCHS_TRIED_MAX), key=lambda epoch: counts[epoch])


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim that was won: its bytes, and the ids of the targets that hold it, members and others.

    Only members among them tell READ what is acknowledged: on any other one a record of the writer
    before may still arrive, and count, after it was read.
    """

    data: bytes
    holders: frozenset[bytes]


@dataclass(slots=True)
class Claimer:
    """Claims a pool for one writer. `held`: the targets that took the claim. `parity`: how many
    targets may be lost, or lie: those that play back old beats keep no dead writer beating."""

    fleet: Fleet
    keys: BoxKeys
    heartbeat_keys: BoxKeys
    entropy: Entropy
    journal: Journal
    host: Host
    members: tuple[bytes, ...]
    quorum: int
    parity: int = 0
    held: set[bytes] = field(default_factory=set)

    async def look(self) -> ClaimView:
        """The newest authentic claim, epochs that names show, and heartbeats."""
        newest: Claim | None = None
        epochs_of = {}
        beats = {}
        for target_id, result in (await on_online(self.fleet, self._look_one)).items():
            if isinstance(result, TargetError):
                self.fleet.mark_away(target_id, str(result))
                continue
            claims, epochs, beat = result
            epochs_of[target_id] = epochs
            beats[target_id] = beat
            for claim in claims:
                if newest is None or claim.epoch > newest.epoch:
                    newest = claim
        return ClaimView(newest, epochs_of, beats)

    def _look_one(self, target: Target) -> tuple[list[Claim], list[int], int]:
        """Runs in the target's lane."""
        names = target.list_names()
        epochs = epochs_among(names, CLAIM_PATTERN)
        claims, bad = read_claims(target, epochs, self.keys)
        for kind, message in bad:
            self.journal.record(Event(kind, message, target=self.fleet.id_of(target)))
        beat = 0
        if claims:
            try:
                name = heartbeat_name(claims[0].epoch)
                target.forget(name)
                beat = decode_heartbeat(target.read(name, 0, BLOCK_LEN), self.heartbeat_keys,
                                        claims[0].epoch)
            except (Damage, TargetError):
                beat = 0
        return claims, [*epochs, *epochs_among(names, COMMITS_PATTERN),
                        *epochs_among(names, HEARTBEAT_PATTERN)], beat

    def may_be_alive(self, claim: Claim) -> bool:
        """Whether a claim's holder can be running. Ask only with this host's lock in hand.

        On this host it is dead then, unless it is another user's, whose lock lies elsewhere: then
        its process is there. So is one that got the number of a dead holder, which costs a wait.
        """
        if claim.host != self.host.name:
            return True
        return (claim.boot_id == self.host.boot_id and claim.pid != self.host.pid
                and self.host.is_running(claim.pid))

    async def await_silence(self, view: ClaimView) -> None:
        """Wait until the holder's heartbeat stood still for long enough; InUse when it beats."""
        claim = view.newest
        assert claim is not None
        until = trio.current_time() + TAKEOVER_QUIET_S
        while trio.current_time() < until:
            await trio.sleep(HEARTBEAT_INTERVAL_S)
            now = await self.look()
            if self._beats(view, now) or now.newest != claim:
                holder = now.newest or claim
                raise InUse(f"the pool is mounted on {holder.host} (process {holder.pid}, epoch "
                            f"{holder.epoch}); unmount it there first")

    def _beats(self, before: ClaimView, now: ClaimView) -> bool:
        """Whether more targets than can lie show that a heart went on: of those that may be lost
        or lie some are not here. A holder that has a quorum is heard on more than that."""
        here = before.beats.keys() & now.beats.keys()
        moved = sum(now.beats[target_id] > before.beats[target_id] for target_id in here)
        away = len(self.fleet) - len(here)
        return moved > max(0, min(self.parity, self.quorum - 1) - away)

    async def claim(self, epoch: int, writer: bytes) -> Claimed:
        """CLAIM: create `claim.<epoch>` on a quorum of members.

        InUse when another claim of this or a later epoch is there, ReadOnly without a quorum.
        """
        claim = Claim(epoch, writer, self.host.name, self.host.boot_id, self.host.pid)
        data = encode_claim(claim, self.keys, self.entropy.token(32))
        name = claim_name(epoch)
        results = await on_online(self.fleet, lambda target: target.create(name, data),
                                  TARGET_SYNC_DEADLINE_S)
        good = self.held = set()
        refused: list[TargetError] = []
        for target_id, result in results.items():
            if not isinstance(result, TargetError):
                good.add(target_id)
                continue
            refused.append(result)
            if result.fault is Fault.READ_ONLY:
                # As one that is full it may be read; the first write finds it out.
                self.journal.record(Event(EventKind.WRITE_FAILED, str(result), target=target_id))
            elif result.fault is not Fault.EXISTS:
                self.fleet.note_write_error(target_id, result)
        count = len(good & set(self.members))
        view = await self.look()
        if view.newest is not None and (view.newest.epoch > epoch or (
                view.newest.epoch == epoch and view.newest.writer != writer)):
            raise InUse(f"{view.newest.host} (process {view.newest.pid}) claimed the pool at the "
                        "same time; try again once it has unmounted")
        if count < self.quorum:
            raise ReadOnly(f"only {count} targets took the claim, {self.quorum} are needed to "
                           f"write{f' ({refused[0]})' if refused else ''}")
        self.journal.record(Event(EventKind.CLAIMED, f"epoch {epoch} claimed by {claim.host}"))
        return Claimed(data, frozenset(good))


class Heart:
    """Beats on all targets while the pool is mounted."""

    def __init__(self, fleet: Fleet, keys: BoxKeys, entropy: Entropy, epoch: int) -> None:
        self._fleet = fleet
        self._keys = keys
        self._entropy = entropy
        self._epoch = epoch
        self._count = 0

    async def beat(self) -> None:
        """One beat. A target that cannot take it is away."""
        self._count += 1
        data = encode_heartbeat(self._epoch, self._count, self._keys, self._entropy.token(32))
        name = heartbeat_name(self._epoch)

        def write(target: Target) -> None:
            try:
                target.write(name, 0, [data])
            except TargetError as error:
                if error.fault is not Fault.MISSING:
                    raise
                target.create(name, data, sync=False)

        for target_id, result in (await on_online(self._fleet, write)).items():
            if isinstance(result, TargetError) and result.fault is not Fault.FULL:
                self._fleet.note_write_error(target_id, result)
