"""Looking at paths: what lies there, and what its labels say, of which nothing is proven yet."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from ecfs.base.errors import AnchorUnusable, Damage, SameTarget, TargetError, UnknownFormat
from ecfs.base.limits import LABEL_LEN_MAX, TARGET_DEADLINE_S, TARGETS_MAX
from ecfs.formats import decode_label, labels_among
from ecfs.targets import run_all
from ecfs.volume.anchor import PathMemory
from ecfs.volume.environment import Environment
from ecfs.volume.sighting import Sighting

LABELS_TRIED_MAX = 4


def look_at(path: str, environment: Environment) -> Sighting:
    """Open what is at `path` and read its labels; never raises for what it finds. Runs in a lane:
    where a share hangs, nothing can be learned of a path at once, not even where it leads."""
    sighting = Sighting(path, place=os.path.realpath(path), is_link=os.path.islink(path))
    try:
        sighting.target = environment.open_target(path)
        names = labels_among(sighting.target.list_names())
    except TargetError as error:
        sighting.reason = str(error)
        return sighting
    for _, _, name in names[:LABELS_TRIED_MAX]:
        try:
            data = sighting.target.read(name, 0, LABEL_LEN_MAX + 1)
            sighting.labels.append(decode_label(data))
        except UnknownFormat as error:
            sighting.unknown_format = error
        except (TargetError, Damage) as error:
            sighting.reason = f"{name}: {error}"
            sighting.spoiled = sighting.spoiled or isinstance(error, Damage)
    sighting.spoiled = sighting.spoiled and not sighting.labels
    if not names:
        sighting.reason = "no label: an empty directory, or a disk that is not mounted"
    return sighting


async def look_all(paths: list[str], environment: Environment) -> list[Sighting]:
    """Sightings of several places at once; one that does not answer in time holds up no other."""
    lanes = [environment.open_lane(os.path.basename(path) or "target") for path in paths]
    jobs = [partial(look_at, path, environment) for path in paths]
    sightings = []
    for path, lane, result in zip(paths, lanes, await run_all(lanes, jobs, TARGET_DEADLINE_S),
                                  strict=True):
        sighting = Sighting(path, reason=str(result)) if isinstance(
            result, TargetError) else result
        sighting.lane = lane
        sightings.append(sighting)
    return sightings


@dataclass(slots=True)
class Search:
    """Where targets were looked for (`looked_at`, as paths were given and where they led), and what
    was found of any use."""

    sightings: list[Sighting]
    looked_at: set[str]

    async def look_on(self, paths: Iterable[str], environment: Environment,
                      is_of_use: Callable[[Sighting], bool]) -> bool:
        """Look at those that were not looked at; whether any was found."""
        known = set(self.looked_at)
        more = [path for path in paths if os.path.abspath(path) not in known]
        self.looked_at.update(map(os.path.abspath, more))
        known_count = len(self.sightings)
        for found in await look_all(more, environment):
            if found.place not in known and is_of_use(found):
                known.add(found.place)
                self.looked_at.add(found.place)
                self.sightings.append(found)
            else:
                found.close()
        return len(self.sightings) > known_count

    def close(self) -> None:
        """Let go of all that was found."""
        for sighting in self.sightings:
            sighting.close()


async def look_everywhere(paths: Iterable[str], environment: Environment) -> Search:
    """Sightings of the given paths; then of the last known paths that their labels name.
    SameTarget where one path was given twice."""
    search = Search(await look_all(list(paths), environment), set())
    try:
        search.looked_at |= _without_doubles(search.sightings)
    except SameTarget:
        search.close()
        raise
    pools = leading_pools(search.sightings)
    await search.look_on(_named(search.sightings, pools, environment), environment,
                         lambda found: found.pool_id in pools)
    return search


def _named(sightings: list[Sighting], pools: list[bytes], environment: Environment) -> list[str]:
    """Paths that labels of these pools name, those that most do first. Anybody can write a label,
    and must not send us looking all over the machine: what one of several names alone counts only
    where such a pool was seen before, or once a key proves the label (`look_for_rest`)."""
    labels = [sighting.labels[0].label for sighting in sightings if sighting.pool_id in pools]
    named = Counter(path for label in labels
                    for path in sorted({entry.path for entry in label.targets}))
    wanted = [path for path, _ in named.most_common(TARGETS_MAX)]
    if len(labels) <= 2:
        return wanted
    try:
        seen = PathMemory(environment.state_dir).load()
    except AnchorUnusable:
        # Who needs to know will be told.
        seen = {}
    return [path for path in wanted
            if named[path] > 1 or seen.get(path) in {pool.hex() for pool in pools}]


def _without_doubles(sightings: list[Sighting]) -> set[str]:
    """The given paths and where they lead. SameTarget where one was given twice.

    Of several that lead to one directory by symbolic links the straightest counts: a target's owner
    can make such links, and must not keep the others from being used.
    """
    texts: set[str] = set()
    for sighting in sightings:
        if sighting.text in texts:
            raise SameTarget(f"{sighting.path} was given twice; give each target once")
        texts.add(sighting.text)
        sighting.was_given = True
    first: dict[str, Sighting] = {}
    for sighting in sorted(sightings, key=lambda one: (one.is_link, one.place != one.text)):
        if first.setdefault(sighting.place, sighting) is not sighting:
            sighting.leave_out(first[sighting.place])
    return texts | first.keys()


def pool_of(sightings: Iterable[Sighting]) -> bytes | None:
    """The pool that most of the labels name; of several, the one that is met first."""
    pools = leading_pools(sightings)
    return pools[0] if pools else None


def leading_pools(sightings: Iterable[Sighting]) -> list[bytes]:
    """Those that most of the given targets name. What lies at a path that only a label names does
    not count: one that lies may name dozens of folders of its own."""
    ranked = ranked_pools(sightings)
    return [pool for pool, count in ranked if count == ranked[0][1]]


def ranked_pools(sightings: Iterable[Sighting]) -> list[tuple[bytes, int]]:
    """The pools that targets name, and how many of the given ones name each, most first."""
    found = list(sightings)
    given = [sighting for sighting in found if sighting.was_given] or found
    return Counter(sighting.pool_id for sighting in given
                   if sighting.pool_id is not None).most_common()
