"""Random programs of system calls by several users, on the mount and on kernel file systems."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.testing.posix_call import Call
from ecfs.testing.posix_compare import Places, compare, places_at, reference_parents, shrink
from ecfs.testing.posix_programs import is_known, program
from ecfs.testing.posix_world import World

CALLS_COUNT = 120
PROGRAMS_COUNT = 12


@pytest.fixture(scope="module")
def places(mountpoint: Path) -> Iterator[Places]:
    with places_at(mountpoint, reference_parents()) as found:
        yield found


@pytest.mark.parametrize("seed", range(PROGRAMS_COUNT))
def test_a_random_program(places: Places, seed: int, lets_others_in: bool,
                          request: pytest.FixtureRequest) -> None:
    calls = program(seed, CALLS_COUNT, raw="pyfuse3" not in request.node.name)
    if not lets_others_in:
        calls = [replace(call, who="root") for call in calls]
    found = compare(calls, places)
    if found is not None and not is_known(found):
        shortest, found = shrink(calls, places, found)
        pytest.fail("\n".join([*map(str, shortest), str(found)]))


def test_a_difference_is_found_and_shrunk(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a call does not do what it should, a program of that call alone is left of many."""
    calls = [*program(1, 40, raw=False), Call("root", "mkdir", ("end", 0o700)),
             *program(2, 5, raw=False)]
    before = World.do_mkdir

    def broken(world: World, path: str, mode: int) -> object:
        if path == "end" and str(places.ours).encode() in world.at("x"):
            return before(world, path, 0o500)
        return before(world, path, mode)

    monkeypatch.setattr(World, "do_mkdir", broken)
    found = compare(calls, places)
    assert found is not None and not is_known(found)
    shortest, found = shrink(calls, places, found)
    assert shortest == [Call("root", "mkdir", ("end", 0o700))]
    assert "0o40500" in str(found.ours) and "0o40700" in str(found.reference)
