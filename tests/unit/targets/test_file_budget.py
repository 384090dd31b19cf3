"""A process's own limit of open files is never met by what its targets keep open."""

import json
import resource
import subprocess
import sys

import pytest

from ecfs.base.limits import DESCRIPTORS_WANTED, TARGET_FILES_OPEN_MAX, TARGETS_MAX
from ecfs.targets.file_budget import FILES_OPEN_MIN, OTHER_DESCRIPTORS_COUNT, files_open_max

SCRIPT = """
import json, resource, sys
from ecfs.cli.linux import raise_descriptor_limit
from ecfs.targets import files_open_max
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
raise_descriptor_limit()
print(json.dumps([*resource.getrlimit(resource.RLIMIT_NOFILE), files_open_max()]))
"""


@pytest.mark.parametrize("limits, raised, files_max", [
    ((256, 16_384), DESCRIPTORS_WANTED, TARGET_FILES_OPEN_MAX),
    ((1_024, 4_096), 4_096, (4_096 - OTHER_DESCRIPTORS_COUNT) // TARGETS_MAX),
    ((1_024, 1_024), 1_024, (1_024 - OTHER_DESCRIPTORS_COUNT) // TARGETS_MAX),
    ((10_000, 16_384), 10_000, TARGET_FILES_OPEN_MAX),
    ((200, 200), 200, FILES_OPEN_MIN),
])
def test_the_limit_is_raised_as_far_as_it_may_be_and_kept(
        limits: tuple[int, int], raised: int, files_max: int) -> None:
    told = subprocess.check_output([sys.executable, "-c", SCRIPT, *map(str, limits)])
    assert json.loads(told) == [raised, limits[1], files_max]


def test_without_a_limit_the_cache_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    infinity = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (infinity, infinity))
    assert files_open_max() == TARGET_FILES_OPEN_MAX


def test_the_files_of_all_targets_fit() -> None:
    assert TARGETS_MAX * TARGET_FILES_OPEN_MAX + OTHER_DESCRIPTORS_COUNT <= DESCRIPTORS_WANTED


def test_every_verb_raises_the_limit() -> None:
    script = ("import resource, sys; from ecfs.cli import main\n"
              "resource.setrlimit(resource.RLIMIT_NOFILE, (300, 4_000))\n"
              "sys.argv = ['ecfs', '--version']\n"
              "try: main()\n"
              "except SystemExit: print(resource.getrlimit(resource.RLIMIT_NOFILE))\n")
    told = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert told.endswith("(4000, 4000)\n")
