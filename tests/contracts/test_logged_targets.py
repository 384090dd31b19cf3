from pathlib import Path

from ecfs.targets import Target
from ecfs.testing.crashes.media import Image, Medium
from ecfs.testing.crashes.recording import Recorder
from ecfs.testing.target_contract import TargetContract


class TestLoggedTarget(TargetContract):
    def make_target(self, folder: Path) -> Target:
        return Recorder({"logged": Medium(Image.of({}))}).open_target("logged")
