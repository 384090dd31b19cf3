"""A slice of the exerciser: random calls on a real mount, with and without targets that are hurt.

ECFS_EXERCISE_S: seconds of calls a round (6). `scripts/exercise` goes on while there is time.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from ecfs.testing.exercising import Course, Exerciser, Tormentor, TrackedFile

ROUND_S = float(os.environ.get("ECFS_EXERCISE_S", "6"))


@pytest.mark.parametrize("torment", [False, True])
def test_every_byte_is_what_was_written(torment: bool) -> None:
    base = Path(tempfile.mkdtemp(prefix="ecfs-exercise-", dir="/dev/shm"))
    course = Course(base, 3, torment=torment)
    try:
        course.run(rounds=2, round_s=ROUND_S)
    except BaseException as error:
        error.add_note("\n".join(course.history))
        raise
    finally:
        course.clear()
        shutil.rmtree(base)
    assert len(course.tally.calls) == 12
    assert bool(course.tally.torments) is torment


def test_a_seed_is_always_the_same_calls(tmp_path: Path) -> None:
    told = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        exerciser = Exerciser(tmp_path / name, 7, size_max=200_000)
        for _ in range(300):
            exerciser.step()
        exerciser.check()
        exerciser.close()
        told.append((list(exerciser.history), exerciser.counts))
    assert told[0] == told[1]


@pytest.mark.parametrize("wrong", ["byte", "short", "long", "hole"])
def test_a_byte_that_is_wrong_is_seen(tmp_path: Path, wrong: str) -> None:
    file = TrackedFile(tmp_path / "file")
    file.write(0, bytes(range(200)) * 100)
    file.truncate(100_000)
    file.check()
    with file.path.open("r+b") as other:
        if wrong == "byte":
            other.seek(5_000)
            other.write(b"\xff")
        elif wrong == "hole":
            other.seek(90_000)
            other.write(b"\xff")
        else:
            other.truncate(100_000 + (1 if wrong == "long" else -1))
    with pytest.raises(AssertionError, match="wrong" if wrong in ("byte", "hole") else "bytes"):
        file.check()
    file.close()


def test_what_is_put_back_is_the_backup(tmp_path: Path) -> None:
    victim = tmp_path / "t0"
    victim.mkdir()
    (victim / "file").write_bytes(b"old")
    (tmp_path / "backups").mkdir()
    tormentor = Tormentor([victim], tmp_path / "backups", 1)
    tormentor.back_up(victim)
    (victim / "file").write_bytes(b"newer")
    tormentor.put_back(victim)
    assert (victim / "file").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "t0"]
