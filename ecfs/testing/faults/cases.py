"""Cases: which faults, alone and together, in an order that a seed decides; each has a name."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from blake3 import blake3

from ecfs.testing.faults.damage import harm_of, kinds_at, scene_of
from ecfs.testing.faults.disk import Disks
from ecfs.testing.faults.expecting import changed_files, expect
from ecfs.testing.faults.judging import Verdict, judge
from ecfs.testing.faults.site import Site
from ecfs.testing.faults.spots import Spot, spots_of
from ecfs.testing.faults.world import run_repeatably

CHECKED_AGAIN_EVERY = 8


class UnknownCase(Exception):
    """No case has that id."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of damage at one spot."""

    spot: Spot
    kind: str

    @property
    def id(self) -> str:
        """`t2/shard7/flip-salt`."""
        return f"{self.spot.id}/{self.kind}"


@dataclass(slots=True)
class Catalogue:
    """All faults of a pool. `by_stripe`: those of shards, by file and offset."""

    site: Site
    spots: list[Spot]
    faults: list[Fault] = field(default_factory=list)
    by_stripe: list[list[Fault]] = field(default_factory=list)

    @classmethod
    def of(cls, site: Site) -> "Catalogue":
        """Of a pool."""
        made = cls(site, spots_of(site))
        made.faults = [Fault(spot, kind) for spot in made.spots for kind in kinds_at(spot)]
        stripes: dict[tuple[str, int], list[Fault]] = {}
        for fault in made.faults:
            if fault.spot.group == "shard":
                stripes.setdefault((fault.spot.file, fault.spot.offset), []).append(fault)
        made.by_stripe = list(stripes.values())
        return made

    def find(self, fault_id: str) -> Fault:
        """The fault with this id; UnknownCase if there is none."""
        for fault in self.faults:
            if fault.id == fault_id:
                return fault
        # Not a StopIteration, which `map` would take for the end of the faults.
        raise UnknownCase(f"no fault of {self.site.shape.name} is called {fault_id}")

    def singles(self) -> Iterator[tuple[Fault, ...]]:
        """Each fault alone."""
        for fault in self.faults:
            yield (fault,)

    def pairs(self, seed: int) -> Iterator[tuple[Fault, ...]]:
        """Two faults at two spots, without end: any two, two of one stripe, and sometimes three."""
        source = random.Random(blake3(repr((self.site.shape.name, seed)).encode()).digest(8))
        while True:
            if source.random() < 0.5:
                chosen = source.sample(source.choice(self.by_stripe), 2)
            else:
                chosen = source.sample(self.faults, 3 if source.random() < 0.1 else 2)
            if len({fault.spot.id for fault in chosen}) == len(chosen):
                yield tuple(sorted(chosen, key=lambda fault: fault.id))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case: None as verdict when the faults changed nothing."""

    id: str
    verdict: Verdict | None
    digest: bytes = b""


def run_case(catalogue: Catalogue, faults: tuple[Fault, ...], *, keep_log: bool = False) -> Outcome:
    """Damage a copy of the pool and live with it."""
    site = catalogue.site
    case_id = f"{site.shape.name} " + " & ".join(fault.id for fault in faults)
    scene = scene_of(site, catalogue.spots)
    if not all([harm_of(fault.spot, fault.kind)(scene, fault.spot) for fault in faults]):
        return Outcome(case_id, None)
    expected = expect(site, scene.disks)
    digest = _digest(site, scene.disks)
    ground = site.ground(scene.disks, case_id)
    again = digest[0] % CHECKED_AGAIN_EVERY == 0
    verdict = run_repeatably(case_id, lambda: judge(site, ground, expected, check_again=again))
    if keep_log:
        verdict.log.insert(0, f"expected: {expected}")
    return Outcome(case_id, verdict, digest)


def _digest(site: Site, disks: Disks) -> bytes:
    """Of all that differs from the whole pool."""
    hasher = blake3(site.shape.name.encode())
    for path in site.paths:
        disk = disks.disks[path]
        for name in sorted(changed_files(site.disks.disks[path], disk)):
            hasher.update(f"{path[-3:]} {name} {disk.bad.get(name)} ".encode())
            hasher.update(bytes(disk.files.get(name, b"-")))
    return hasher.digest(8)
