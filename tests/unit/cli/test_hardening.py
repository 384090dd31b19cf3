"""Every program of ours keeps its memory to itself before it reads a secret."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecfs.cli.install_system import HELPERS
from tests.architecture.source import project

TOP = Path(__file__).resolve().parents[3]
# The process tells what it is at the moment when its command begins.
PROBE = """
import ctypes, importlib, json, resource, sys
module = importlib.import_module("ecfs.cli.main")
def tell(program, arguments, tools=None):
    print(json.dumps([ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
                      resource.getrlimit(resource.RLIMIT_CORE)]))
    return 0
module.run_command = tell
sys.argv[0] = sys.argv.pop(1)
module.main()
"""


@pytest.mark.parametrize("program", ["ecfs", "mount.ecfs", "fsck.ecfs"])
def test_a_program_is_not_dumpable_before_its_command_begins(program: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, program], capture_output=True, text=True, check=True,
        cwd=TOP, env=os.environ | {"XDG_STATE_HOME": str(tmp_path)}, timeout=60)
    assert json.loads(done.stdout) == [0, [0, 0]]


def test_there_is_no_other_way_into_a_program() -> None:
    scripts = project()["project"]["scripts"]
    assert set(scripts) == {"ecfs", *HELPERS}
    assert set(scripts.values()) == {"ecfs.cli:main"}
