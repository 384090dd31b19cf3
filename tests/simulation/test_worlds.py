"""Worlds: a fixed slice of seeds, every script that failed once, and that a seed is a run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecfs.testing.simulation.determinism import HASH_SEED
from ecfs.testing.simulation.plans import draw
from ecfs.testing.simulation.running import run_plan
from ecfs.testing.simulation.scripts import from_json, to_json, to_text
from ecfs.testing.simulation.swarm import run_seed

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.json"))
DIGEST = """
import sys
from pathlib import Path
from ecfs.testing.simulation.swarm import run_seed
for seed in map(int, sys.argv[2:]):
    print(run_seed(seed, Path(sys.argv[1])).digest)
"""


@pytest.mark.parametrize("first", range(1_000, 1_040, 10))
def test_worlds_of_seeds(first: int, tmp_path: Path) -> None:
    failures = {seed: outcome.failure for seed in range(first, first + 10)
                if (outcome := run_seed(seed, tmp_path)).failure}
    assert failures == {}


def test_what_failed_once(tmp_path: Path) -> None:
    for script in CORPUS:
        plan = from_json(script.read_text(encoding="utf-8"))
        assert run_plan(plan, tmp_path).failure == "", f"{script.name}: {to_text(plan)}"


def test_a_seed_is_the_same_run_in_every_process(tmp_path: Path) -> None:
    words = [sys.executable, "-c", DIGEST, str(tmp_path), *map(str, range(2_000, 2_006))]
    outputs = [subprocess.run(words, env={**os.environ, "PYTHONHASHSEED": HASH_SEED}, check=True,
                              capture_output=True, text=True).stdout for _ in range(2)]
    assert outputs[0] == outputs[1]
    assert len(set(outputs[0].split())) == 6


def test_plans_survive_being_written_down() -> None:
    for seed in range(50):
        plan = draw(seed)
        assert from_json(to_json(plan)) == plan
        assert to_text(plan).startswith(f"seed {seed}: ")
