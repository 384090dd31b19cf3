from pathlib import Path

from ecfs.base.limits import TARGET_FILES_OPEN_MAX
from ecfs.targets import DirectoryTarget, FaultyTarget, MemoryTarget, RecordingTarget, Target
from ecfs.testing.target_contract import TargetContract


class TestDirectoryTarget(TargetContract):
    def make_target(self, folder: Path) -> Target:
        return DirectoryTarget(folder)


class TestDirectoryTargetWithFewFilesOpen(TargetContract):
    def make_target(self, folder: Path) -> Target:
        return DirectoryTarget(folder, files_open_max=2)


class TestMemoryTarget(TargetContract):
    def make_target(self, folder: Path) -> Target:
        return MemoryTarget()


class TestRecordingTarget(TargetContract):
    def make_target(self, folder: Path) -> Target:
        return RecordingTarget(DirectoryTarget(folder))


class TestRecordingTargetWithUndoFile(TargetContract):
    def make_target(self, folder: Path) -> Target:
        (folder / "t").mkdir()
        return RecordingTarget(DirectoryTarget(folder / "t"), undo_path=str(folder / "undo"))


class TestFaultyTarget(TargetContract):
    def make_target(self, folder: Path) -> Target:
        return FaultyTarget(DirectoryTarget(folder))


def test_the_contract_opens_more_files_than_are_kept() -> None:
    assert TARGET_FILES_OPEN_MAX < 300
