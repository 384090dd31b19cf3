"""Making a pool: labels first, then an empty file system through the ordinary way of writing."""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ecfs.base.errors import (
    AnchorUnusable,
    Damage,
    InUse,
    PoolExists,
    Refusal,
    SameTarget,
    TargetError,
    TooFewTargets,
    UnknownFormat,
)
from ecfs.base.ids import ID_LEN
from ecfs.base.limits import (
    LABEL_LEN_MAX,
    TARGET_DEADLINE_S,
    TARGET_PATH_LEN_MAX,
    TARGETS_MAX,
)
from ecfs.base.units import BLOCK_LEN
from ecfs.erasure import Geometry, Quorum, metadata_geometry, quorum_for
from ecfs.formats import (
    CLAIM_PATTERN,
    COLUMN_PATTERN,
    COMMITS_PATTERN,
    HEARTBEAT_PATTERN,
    INCOMPATIBLE_OF_NEW,
    LABEL_PATTERN,
    SEGMENTS_FOLDER,
    Label,
    TargetEntry,
    decode_label,
    encode_label,
    folders_among,
    label_name,
    labels_among,
)
from ecfs.keys import MasterKey, SlotKind, make_slot, recovery_key_text
from ecfs.observe import Event, EventKind
from ecfs.sealing import KEY_LEN, keyed_hash
from ecfs.targets import Target, run_all
from ecfs.volume.anchor import PathMemory
from ecfs.volume.claiming import HostLock
from ecfs.volume.environment import Environment, PoolOrder
from ecfs.volume.locate import label_mac

OURS = (LABEL_PATTERN, CLAIM_PATTERN, COMMITS_PATTERN, HEARTBEAT_PATTERN)
IGNORED = {"lost+found"}

_log = logging.getLogger("ecfs.volume")


@dataclass(frozen=True, slots=True)
class PoolMade:
    """What mkfs made. `recovery_key` is text to be printed once, if it was wanted."""

    pool_id: bytes
    geometry: Geometry
    metadata_geometry: Geometry
    quorum: Quorum
    warnings: tuple[str, ...]
    recovery_key: str | None = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """`ecfs.mkfs/1`."""
        return {
            "schema": "ecfs.mkfs/1", "pool_id": self.pool_id.hex(),
            "geometry": {"data": self.geometry.data, "parity": self.geometry.parity},
            "metadata_geometry": {"data": self.metadata_geometry.data,
                                  "parity": self.metadata_geometry.parity},
            "quorum": {"members": self.quorum.members, "liars": self.quorum.liars,
                       "commit": self.quorum.commit, "recover": self.quorum.recover},
            "warnings": list(self.warnings), "recovery_key": self.recovery_key}


def check_order(order: PoolOrder) -> None:
    """Refuse what cannot become a pool, before anything is written."""
    real = [os.path.realpath(path) for path in order.paths]
    for index, path in enumerate(real):
        if path in real[:index]:
            raise SameTarget(f"{order.paths[index]} is the same directory as "
                             f"{order.paths[real.index(path)]}; give each target once")
    if len(real) < order.geometry.shards:
        raise TooFewTargets(f"{order.geometry} needs at least {order.geometry.shards} targets, "
                            f"{len(real)} were given")
    if len(real) > TARGETS_MAX:
        raise Refusal(f"a pool has at most {TARGETS_MAX} targets, {len(real)} were given")
    for path in order.paths:
        if len(os.fsencode(os.path.abspath(path))) > TARGET_PATH_LEN_MAX:
            raise Refusal(f"the path of target {path} is too long for a label; at most "
                          f"{TARGET_PATH_LEN_MAX} bytes fit")
    if len(real) < 2:
        raise TooFewTargets("a pool needs at least two targets: its metadata has at least one "
                            "parity shard")
    for one in real:
        for other in real:
            if one != other and os.path.commonpath([one, other]) == one:
                raise Refusal(f"target {other} lies inside target {one}; give separate "
                              "directories")


def _opened(path: str, environment: Environment) -> Target:
    if not os.path.lexists(path) and os.path.isdir(os.path.dirname(os.path.abspath(path))):
        try:
            os.mkdir(path, 0o700)
        except OSError as error:
            raise Refusal(f"{path} cannot be created: {error.strerror}") from error
    try:
        return environment.open_target(path)
    except TargetError as error:
        raise Refusal(f"{error}. A target is a directory on a mounted disk") from error


def _check_unused(target: Target, environment: Environment) -> None:
    """InUse when the pool that is there is held by a process on this host."""
    for _, _, name in labels_among(target.list_names())[:1]:
        label = _label_of(target, name)
        if label is None:
            continue
        lock = HostLock(environment.run_dir, label.pool_id)
        lock.take()
        lock.release()


def _label_of(target: Target, name: str) -> Label | None:
    try:
        return decode_label(target.read(name, 0, LABEL_LEN_MAX + 1)).label
    except (Damage, UnknownFormat):
        return None


def _columns_of(target: Target) -> list[str]:
    return [f"{SEGMENTS_FOLDER}/{folder}/{name}"
            for folder in folders_among(target.list_names(SEGMENTS_FOLDER))
            for name in target.list_names(f"{SEGMENTS_FOLDER}/{folder}")
            if COLUMN_PATTERN.fullmatch(name)]


def _is_unfinished(target: Target, names: list[str]) -> bool:
    """Whether mkfs was killed when it had written this label and not much more: nobody has had a
    file in that pool. In doubt it is a pool; what has lost its records can be salvaged."""
    labels = [_label_of(target, name) for name in names if LABEL_PATTERN.fullmatch(name)]
    if len(labels) != 1 or (label := labels[0]) is None:
        return False
    return ((label.epoch, label.generation, label.checkpoint) == (0, 1, None)
            and not _columns_of(target)
            and not any(any(target.read(name, 0, BLOCK_LEN)) for name in names
                        if COMMITS_PATTERN.fullmatch(name)))


def _check_clear(target: Target, *, force: bool) -> None:
    """Make sure that nothing is lost: an empty directory, or what a killed mkfs left in one, or
    with `force` only files of ours."""
    names = _names_of(target)
    if not force and any(LABEL_PATTERN.fullmatch(name) for name in names):
        if not _is_unfinished(target, names):
            raise PoolExists(f"{target.path} holds a pool already. Everything in that pool would "
                             "be lost; if that is what you want, use --force")
        force = True
    foreign = [name for name in names if name != SEGMENTS_FOLDER
               and not any(pattern.fullmatch(name) for pattern in OURS)]
    if names == [SEGMENTS_FOLDER] and _is_bare(target):
        return
    if foreign or (names and not force):
        example = (foreign or names)[0]
        raise Refusal(f"{target.path} is not empty (it has {example!r}); a target must be an "
                      "empty directory")


def _is_bare(target: Target) -> bool:
    """Whether there are folders for columns only, which nobody removes, and nothing in them."""
    found = target.list_names(SEGMENTS_FOLDER)
    return len(found) == len(folders_among(found)) and not any(
        target.list_names(f"{SEGMENTS_FOLDER}/{folder}") for folder in found)


def _names_of(target: Target) -> list[str]:
    return [name for name in target.list_names() if name not in IGNORED]


def _empty(target: Target) -> None:
    """Remove what is ours, labels first."""
    names = [name for name in _names_of(target)
             if any(pattern.fullmatch(name) for pattern in OURS)]
    for name in sorted(names, key=lambda name: LABEL_PATTERN.fullmatch(name) is None):
        target.remove(name)
    for name in _columns_of(target):
        target.remove(name)


def lay_out(order: PoolOrder, environment: Environment,
            pool_id: bytes) -> tuple[PoolMade, list[str]]:
    """Remember where the pool is, and write the first labels; (what will have been made, target
    paths). Raises refusals."""
    check_order(order)
    targets = [_opened(path, environment) for path in order.paths]
    try:
        for target in targets:
            _check_unused(target, environment)
        for target in targets:
            _check_clear(target, force=order.force)
        for target in targets:
            _empty(target)
        # First: where it cannot be noted there is no pool yet that would be left half made.
        remember(order, pool_id, environment)
        made = _write_labels(order, environment, targets, pool_id)
        return made, [target.path for target in targets]
    except TargetError as error:
        raise Refusal(f"{error}; no pool was made") from error
    finally:
        for target in targets:
            target.close()


def note_force(order: PoolOrder, environment: Environment) -> None:
    """Who overrides the refusal to make a pool over another one leaves a trace before that."""
    journal = environment.journal()
    journal.record(Event(EventKind.FORCED, "mkfs --force: what is in "
                         f"{', '.join(order.paths)} is to give way to a new pool"))
    journal.close()


def remember(order: PoolOrder, pool_id: bytes, environment: Environment) -> None:
    """These paths hold this pool from now on, whatever they held before."""
    PathMemory(environment.state_dir).note(
        [place for path in order.paths for place in (os.path.abspath(path),
                                                     os.path.realpath(path))], pool_id)


@contextmanager
def alone(order: PoolOrder, environment: Environment) -> Iterator[None]:
    """InUse where another mkfs of this user on this host is at work on one of these directories:
    what that has begun must not be taken for what a killed one left."""
    with ExitStack() as stack:
        for place in sorted({os.path.realpath(path) for path in order.paths}):
            name = keyed_hash(bytes(KEY_LEN), purpose=b"mkfs", parts=[os.fsencode(place)])
            lock = HostLock(environment.run_dir, name[:ID_LEN])
            try:
                lock.take()
            except InUse as error:
                raise InUse(f"another mkfs is at work on {place}; wait until it has ended"
                            ) from error
            stack.callback(lock.release)
        yield


async def take_back(order: PoolOrder, pool_id: bytes, environment: Environment) -> None:
    """The pool could not be finished: remove what is there of it, labels first, where a target
    answers."""
    memory = PathMemory(environment.state_dir)
    try:
        if pool_id.hex() not in memory.load().values():
            # That comes before anything else: there is nothing.
            return
    except AnchorUnusable:
        return
    lanes = [environment.open_lane(os.path.basename(path) or "target") for path in order.paths]
    jobs = [partial(_take_back, path, pool_id, environment) for path in order.paths]
    for path, lane, result in zip(order.paths, lanes, await run_all(lanes, jobs, TARGET_DEADLINE_S),
                                  strict=True):
        if result is not None:
            _log.warning("%s: a label of the pool that could not be made may be left: %s", path,
                         result)
        lane.close(timeout=0.0)
    memory.forget(pool_id)


def _take_back(path: str, pool_id: bytes, environment: Environment) -> None:
    target = environment.open_target(path)
    try:
        labels = [_label_of(target, name) for _, _, name in labels_among(target.list_names())]
        if any(label is not None and label.pool_id == pool_id for label in labels):
            _empty(target)
    finally:
        target.close()


def _write_labels(order: PoolOrder, environment: Environment, targets: list[Target],
                  pool_id: bytes) -> PoolMade:
    entropy = environment.entropy
    master = MasterKey.generate(entropy)
    slot_of = partial(make_slot, master, kdf=order.kdf, pool_id=pool_id, entropy=entropy)
    slots = [slot_of(order.secret.value, order.secret.slot_kind, slot_id=0)]
    recovery = entropy.token(32) if order.recovery_key else None
    if recovery is not None:
        slots.append(slot_of(recovery, SlotKind.RECOVERY, slot_id=1))
    geometry = order.geometry
    quorum = quorum_for(len(targets), geometry.parity)
    entries = tuple(TargetEntry(entropy.token(16), f"target{number}", os.path.abspath(target.path))
                    for number, target in enumerate(targets, 1))
    label = Label(
        pool_id=pool_id, target_id=entries[0].id, epoch=0, generation=1, data=geometry.data,
        parity=geometry.parity, liars=quorum.liars,
        members=tuple(entry.id for entry in entries[: quorum.members]), targets=entries,
        slots=tuple(slots), slots_generation=1, commitment=master.commitment(pool_id),
        checkpoint=None, incompatible=INCOMPATIBLE_OF_NEW)
    mac = label_mac(master)
    for entry, target in zip(entries, targets, strict=True):
        own = replace(label, target_id=entry.id)
        target.replace(label_name(0, 1), encode_label(own, mac))
    return PoolMade(pool_id, geometry, metadata_geometry(geometry, len(targets)), quorum,
                    tuple(_warnings(targets, geometry, quorum)),
                    None if recovery is None else recovery_key_text(recovery))


def _warnings(targets: list[Target], geometry: Geometry, quorum: Quorum) -> list[str]:
    warnings = []
    spare_count = quorum.members - quorum.commit
    if spare_count < geometry.parity:
        # Where records need more than those that are left: nobody could tell two histories apart.
        gone = f"more than {spare_count}" if spare_count else "any"
        warnings.append(f"with {gone} of the {len(targets)} targets gone the pool can be read and "
                        "not written, and no lost target can be replaced before others are back; "
                        f"{2 * geometry.parity + 1} targets or more have no such bound")
    by_device: dict[int, list[str]] = {}
    for target in targets:
        by_device.setdefault(target.device(), []).append(target.path)
    for paths in by_device.values():
        if len(paths) > geometry.parity:
            warnings.append(f"{len(paths)} targets share one device ({', '.join(paths)}): when it "
                            "fails, the pool is lost")
        elif len(paths) > 1:
            warnings.append(f"{', '.join(paths)} share one device and fail together")
    if geometry.parity == 0:
        warnings.append("no parity: every lost target loses data")
    return warnings
