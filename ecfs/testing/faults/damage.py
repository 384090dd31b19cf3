"""What may become of the bytes at a spot. Each kind says whether it changed anything."""

import random
from collections.abc import Callable

from ecfs.base.units import BLOCK_LEN
from ecfs.testing.faults.disk import Disk, Disks
from ecfs.testing.faults.site import Site
from ecfs.testing.faults.spots import Spot, spots_of

SECTOR_LEN = 512

Harm = Callable[["Scene", Spot], bool]


class Scene:
    """Disks of one case, the pool that they came from, and the source of what is random in it."""

    def __init__(self, site: Site, disks: Disks, spots: list[Spot]) -> None:
        self.site = site
        self.disks = disks
        self.spots = spots

    def disk(self, spot: Spot) -> Disk:
        """The disk that a spot is on."""
        return self.disks.disks[self.site.paths[spot.target]]

    def put(self, spot: Spot, data: bytes, at: int = 0) -> bool:
        """Overwrite bytes of the spot; whether they are others now."""
        disk = self.disk(spot)
        low = spot.offset + at
        before = disk.files.get(spot.file)
        if before is None or len(before) < low + len(data) or before[low : low + len(data)] == data:
            return False
        disk.own(spot.file)[low : low + len(data)] = data
        return True


def scene_of(site: Site, spots: list[Spot] | None = None) -> Scene:
    """A whole pool, to be damaged."""
    return Scene(site, site.disks.copy(), spots_of(site) if spots is None else spots)


def flip(part: str) -> Harm:
    """One bit of a field."""
    def harm(scene: Scene, spot: Spot) -> bool:
        at = spot.parts[part]
        data = scene.disk(spot).files.get(spot.file)
        if data is None or len(data) <= spot.offset + at:
            return False
        return scene.put(spot, bytes([data[spot.offset + at] ^ 1 << (at + spot.target) % 8]), at)

    return harm


def _fill(scene: Scene, spot: Spot, data: bytes) -> bool:
    return scene.put(spot, data[: spot.length])


def _zero(scene: Scene, spot: Spot) -> bool:
    return _fill(scene, spot, bytes(spot.length))


def _ones(scene: Scene, spot: Spot) -> bool:
    return _fill(scene, spot, b"\xff" * spot.length)


def _junk(scene: Scene, spot: Spot) -> bool:
    return _fill(scene, spot, random.Random(spot.id).randbytes(spot.length))


def _sector(scene: Scene, spot: Spot) -> bool:
    at = spot.length // 2 // SECTOR_LEN * SECTOR_LEN
    return scene.put(spot, bytes(SECTOR_LEN), at)


def _torn(scene: Scene, spot: Spot) -> bool:
    """Its second half was never written."""
    half = spot.length // 2
    return scene.put(spot, bytes(spot.length - half), half)


def _cut(share: int) -> Harm:
    """The file ends within the spot: after `share` quarters of it."""
    def harm(scene: Scene, spot: Spot) -> bool:
        disk = scene.disk(spot)
        data = disk.files.get(spot.file)
        end = spot.offset + spot.length * share // 4
        if data is None or len(data) <= end:
            return False
        disk.files[spot.file] = bytes(data[:end])
        return True

    return harm


def _extend(scene: Scene, spot: Spot) -> bool:
    disk = scene.disk(spot)
    data = disk.files.get(spot.file)
    if data is None:
        return False
    disk.files[spot.file] = bytes(data) + random.Random(spot.id).randbytes(3 * BLOCK_LEN + 17)
    return True


def _stale(scene: Scene, spot: Spot) -> bool:
    """The bytes as they were some time before, where they were others."""
    for older in reversed(scene.site.older):
        data = older.disks[scene.site.paths[spot.target]].files.get(spot.file)
        if data is not None and scene.put(spot, bytes(
                data[spot.offset : spot.offset + spot.length].ljust(spot.length, b"\0"))):
            return True
    return False


def _stale_file(scene: Scene, spot: Spot) -> bool:
    """The file as it was some time before, where it was another one."""
    disk = scene.disk(spot)
    for older in reversed(scene.site.older):
        data = older.disks[scene.site.paths[spot.target]].files.get(spot.file)
        now = disk.files.get(spot.file)
        if data is not None and now is not None and bytes(data) != bytes(now):
            disk.files[spot.file] = bytes(data)
            return True
    return False


def _from(choose: Callable[[Spot, Spot], bool]) -> Harm:
    """The bytes of the next spot of this kind for which `choose` says so, misdirected to here."""
    def harm(scene: Scene, spot: Spot) -> bool:
        alike = [other for other in scene.spots if other.group == spot.group and other != spot]
        number = scene.spots.index(spot)
        later = [other for other in alike if scene.spots.index(other) > number]
        for other in [*later, *alike]:
            if choose(spot, other):
                data = scene.site.disks.disks[scene.site.paths[other.target]].files[other.file]
                piece = bytes(data[other.offset : other.offset + min(other.length, spot.length)])
                if scene.put(spot, piece.ljust(spot.length, b"\0")):
                    return True
        return False

    return harm


def _foreign(scene: Scene, spot: Spot) -> bool:
    """The same place of another pool."""
    foreign = scene.site.foreign
    assert foreign is not None
    data = foreign.disks[scene.site.paths[spot.target]].files.get(spot.file)
    return data is not None and scene.put(
        spot, bytes(data[spot.offset : spot.offset + spot.length]).ljust(spot.length, b"\0"))


def _exchanged(scene: Scene, spot: Spot) -> bool:
    """The file changes places with that of the next target."""
    count = scene.site.shape.targets_count
    disk = scene.disk(spot)
    other = scene.disks.disks[scene.site.paths[(spot.target + 1) % count]]
    one, two = disk.files.get(spot.file), other.files.get(spot.file)
    if one is None or two is None or bytes(one) == bytes(two):
        return False
    disk.files[spot.file], other.files[spot.file] = bytes(two), bytes(one)
    return True


def _eio(share: int) -> Harm:
    """Sectors that cannot be read until they are written: all of the spot, or a quarter."""
    def harm(scene: Scene, spot: Spot) -> bool:
        disk = scene.disk(spot)
        if spot.file not in disk.files:
            return False
        low = spot.offset + spot.length * (share - 1) // 4 if share else spot.offset
        high = low + spot.length // 4 if share else spot.offset + spot.length
        disk.bad.setdefault(spot.file, []).append((low, max(high, low + 1)))
        return True

    return harm


def _absent(scene: Scene, spot: Spot) -> bool:
    return scene.disk(spot).files.pop(spot.file, None) is not None


def _planted(scene: Scene, spot: Spot) -> bool:
    """A symbolic link, a FIFO or a device lies in the file's place."""
    disk = scene.disk(spot)
    if disk.files.pop(spot.file, None) is None:
        return False
    disk.planted.add(spot.file)
    return True


HARMS: dict[str, Harm] = {
    "zero": _zero, "ones": _ones, "junk": _junk, "sector": _sector, "torn": _torn,
    "cut0": _cut(0), "cut2": _cut(2), "cut3": _cut(3), "extend": _extend, "stale": _stale,
    "stale-file": _stale_file,
    "offset": _from(lambda spot, other: other.file == spot.file and other.target == spot.target),
    "segment": _from(lambda spot, other: other.file != spot.file and other.target == spot.target),
    "target": _from(lambda spot, other: other.file == spot.file and other.target != spot.target
                    and other.offset == spot.offset),
    "pool": _foreign, "exchange": _exchanged, "eio": _eio(0), "eio2": _eio(2), "eio4": _eio(4),
    "absent": _absent, "planted": _planted,
}


def harm_of(spot: Spot, kind: str) -> Harm:
    """The kind of damage with this name."""
    return flip(kind.removeprefix("flip-")) if kind.startswith("flip-") else HARMS[kind]


def kinds_at(spot: Spot) -> list[str]:
    """Names of the kinds that make sense at a spot."""
    return [*(f"flip-{part}" for part in spot.parts), *HARMS]
