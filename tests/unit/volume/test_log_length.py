"""The log that a mount reads: however mounts end, what was acknowledged lies within its bounds."""

import random
from pathlib import Path

import pytest

from ecfs.base.errors import AppendRefused, ReadOnly, TooFewReachable
from ecfs.base.limits import COMMIT_PREALLOCATE_LEN
from ecfs.base.units import KIB, MIB
from ecfs.formats import commits_name
from ecfs.observe import EventKind
from ecfs.testing.pools import Ground, Opening
from ecfs.volume import OpenOptions
from ecfs.volume.checkpointing import Checkpointer

LENGTH = "ecfs.volume.loglength"
SCAN = "ecfs.volume.recordscan"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds as small as a test can reach."""
    for name, value in (("LOG_EPOCHS_DUE", 3), ("LOG_EPOCHS_MAX", 5), ("LOG_LEN_DUE", 256 * KIB),
                        ("LOG_LEN_MAX", 512 * KIB)):
        monkeypatch.setattr(f"{LENGTH}.{name}", value)
    monkeypatch.setattr(f"{SCAN}.LOG_READ_EPOCHS_MAX", 11)
    monkeypatch.setattr(f"{SCAN}.LOG_READ_LEN_MAX", MIB + 12 * COMMIT_PREALLOCATE_LEN)


async def made(folder: Path) -> Ground:
    ground = Ground(folder)
    await ground.create()
    return ground


async def acknowledge(opening: Opening, data: bytes) -> None:
    await opening.volume.fsync(await opening.shell.write(b"file", data))


def block_of(*numbers: int) -> bytes:
    """What no record can make shorter, and is small enough to go into one."""
    return random.Random(repr(numbers)).randbytes(24 * KIB)


def refuse_checkpoints(patch: pytest.MonkeyPatch) -> None:
    async def refused(checkpointer: Checkpointer, *given: object, **named: object) -> None:
        raise AppendRefused("no target takes a stripe")

    patch.setattr(Checkpointer, "write", refused)


async def test_of_mounts_that_end_early_the_last_one_is_known(tmp_path: Path, few: None) -> None:
    ground = await made(tmp_path)
    last = b""
    for number in range(14):
        async with ground.open_and_crash() as opening:
            assert not opening.volume.read_only
            if last:
                assert await opening.shell.read(b"file") == last
            last = b"acknowledged in mount %d" % number
            await acknowledge(opening, last)
    files = [name for name in Path(ground.paths[0]).glob("commits.*")]
    assert len(files) <= 6


async def test_of_mounts_that_write_much_the_last_one_is_known(tmp_path: Path, few: None) -> None:
    ground = await made(tmp_path)
    last = b""
    for number in range(7):
        async with ground.open_and_crash() as opening:
            if last:
                assert await opening.shell.read(b"file") == last
            for turn in range(8):
                last = block_of(number, turn)
                await acknowledge(opening, last)
            length = opening.volume.log_length
            assert length is not None and 0 < length.length() <= (512 + 64) * KIB


async def test_within_one_mount_checkpoints_come_in_time(tmp_path: Path, few: None) -> None:
    ground = await made(tmp_path)
    async with ground.open_and_crash() as opening:
        for turn in range(60):
            last = block_of(turn)
            await acknowledge(opening, last)
        assert opening.volume.journal.count(EventKind.CHECKPOINT) >= 2
    async with ground.open() as opening:
        assert await opening.shell.read(b"file") == last


async def test_nothing_is_acknowledged_past_what_is_read(
        tmp_path: Path, few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = await made(tmp_path)
    last = b""
    async with ground.open_and_crash() as opening:
        volume = opening.volume
        with monkeypatch.context() as patch:
            refuse_checkpoints(patch)
            with pytest.raises(ReadOnly, match=r"be written \(no target takes"):
                for turn in range(1000):
                    data = block_of(turn)
                    await acknowledge(opening, data)
                    last = data
            assert turn > 5 and "of 2 mounts" in volume.read_only
            assert volume.status().state == "read_only"
            assert volume.journal.count(EventKind.READ_ONLY) == 1
            with pytest.raises(ReadOnly):
                volume.admit(grows=False)
    async with ground.open_and_crash() as opening:
        assert await opening.shell.read(b"file") == last


async def test_once_checkpoints_succeed_the_volume_can_be_written_again(
        tmp_path: Path, few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = await made(tmp_path)
    async with ground.open_and_crash() as opening:
        volume = opening.volume
        with monkeypatch.context() as patch:
            refuse_checkpoints(patch)
            with pytest.raises(ReadOnly):
                for turn in range(1000):
                    await acknowledge(opening, block_of(turn))
        assert volume.read_only
        await volume.tend()
        assert not volume.read_only
        await acknowledge(opening, b"again")
    async with ground.open() as opening:
        assert (await opening.shell.read(b"file")).startswith(b"again")


async def test_a_mount_without_a_checkpoint_only_reads_a_full_log(
        tmp_path: Path, few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = await made(tmp_path)
    with monkeypatch.context() as patch:
        refuse_checkpoints(patch)
        for number in range(20):
            async with ground.open_and_crash() as opening:
                if opening.volume.read_only:
                    break
                await acknowledge(opening, b"%d" % number)
        # Each try adds a file; from a certain number on none is begun.
        for _ in range(12):
            async with ground.open_and_crash() as opening:
                reason = opening.volume.read_only
                assert await opening.shell.read(b"file") == b"%d" % (number - 1)
    assert number == 4 and "mounts ended before they could write a checkpoint" in reason
    async with ground.open(OpenOptions(read_only=True)) as opening:
        assert await opening.shell.read(b"file") == b"3"


async def test_old_files_that_could_not_be_removed_count_for_nothing(
        tmp_path: Path, few: None) -> None:
    """No label points there any more."""
    ground = await made(tmp_path)
    for _ in range(13):
        async with ground.open() as opening:
            await acknowledge(opening, b"kept")
    for path in ground.paths:
        for epoch in range(1, 12):
            Path(path, commits_name(epoch)).touch()
    async with ground.open_and_crash() as opening:
        assert not opening.volume.read_only
        assert await opening.shell.read(b"file") == b"kept"


async def test_names_that_one_target_makes_up_count_for_nothing(
        tmp_path: Path, few: None) -> None:
    ground = await made(tmp_path)
    async with ground.open_and_crash() as opening:
        epoch = opening.volume.opened.epoch
        await acknowledge(opening, b"kept")
    for count, away in ((8, []), (100, ["target1"])):
        for number in range(count):
            Path(ground.paths[0], commits_name(epoch + 10 + number)).touch()
        async with ground.open_and_crash() as opening:
            assert not opening.volume.read_only
            assert await opening.shell.read(b"file") == b"kept"
            assert opening.volume.log_length is not None
            assert opening.volume.log_length.epochs() < 5
            assert [member.name for member in opening.volume.fleet if not member.online] == away


async def test_a_log_that_is_too_long_on_all_targets_is_refused(
        tmp_path: Path, few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = await made(tmp_path)
    for _ in range(2):
        async with ground.open_and_crash() as opening:
            await acknowledge(opening, b"x")
    monkeypatch.setattr(f"{SCAN}.LOG_READ_EPOCHS_MAX", 1)
    for options in (OpenOptions(), OpenOptions(read_only=True), OpenOptions(accept_rollback=True)):
        with pytest.raises(TooFewReachable, match="6 targets hold more commit records than"):
            async with ground.open(options):
                pass
