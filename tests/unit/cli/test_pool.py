import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecfs.base.errors import NotAPool, SameTarget, TargetInside, UsageRefusal
from ecfs.cli.pool import (
    check_apart,
    check_pool_file,
    distinct,
    join_targets,
    read_pool_file,
    resolve,
    split_targets,
    write_pool_file,
)
from ecfs.cli.runtime import RunDirectory
from ecfs.cli.tools import Tools

NAMES = st.lists(st.text("ab:/ *", min_size=1), min_size=1, max_size=5)


@given(NAMES)
def test_names_joined_and_split_are_the_same_names(names: list[str]) -> None:
    assert split_targets(join_targets(names)) == names


@pytest.mark.parametrize("text", ["a:", ":a", "a::b"])
def test_an_empty_name_is_refused(text: str) -> None:
    with pytest.raises(UsageRefusal, match="empty name"):
        split_targets(text)


def test_directories_in_any_form(tools: Tools, tmp_path: Path) -> None:
    for name in ("t0", "t1", "o:d"):
        (tmp_path / name).mkdir()
    top = str(tmp_path)
    assert resolve(f"{top}/t0", tools.run).paths == (f"{top}/t0",)
    assert resolve(f"{top}/t1:{top}/t0", tools.run).paths == (f"{top}/t1", f"{top}/t0")
    assert resolve(f"{top}/t?", tools.run).paths == (f"{top}/t0", f"{top}/t1")
    assert resolve(f"{top}/t[0]:{top}/o\\:d", tools.run).paths == (f"{top}/t0", f"{top}/o:d")
    # A directory whose very name has a colon needs no escape when it stands alone.
    assert resolve(f"{top}/o:d", tools.run).paths == (f"{top}/o:d",)


def test_a_name_with_a_star_in_it_is_itself(tools: Tools, tmp_path: Path) -> None:
    for name in ("t*", "t1"):
        (tmp_path / name).mkdir()
    assert resolve(f"{tmp_path}/t*", tools.run).paths == (f"{tmp_path}/t*",)


def test_relative_names_become_absolute(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t0").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("t0:missing", tools.run).paths == (f"{tmp_path}/t0", f"{tmp_path}/missing")


def test_a_pattern_counts_what_does_not_answer_and_not_what_lacks_the_rest(
        tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("disk1/pool", "disk2", "disk3/pool", "disk4/pool"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("lexists", "realpath", "isdir", "isfile"):
        monkeypatch.setattr(os.path, name, hanging_at("disk3", getattr(os.path, name)))
    monkeypatch.setattr("ecfs.base.paths.PATH_PATIENCE_S", 0.05)
    found = resolve(f"{tmp_path}/disk?/pool", tools.run)
    assert found.paths == tuple(f"{tmp_path}/disk{number}/pool" for number in (1, 3, 4))


def hanging_at(name: str, honest: Callable[[str], object]) -> Callable[[str], object]:
    """As on a share that does not answer, below a directory of that name."""
    def asked(path: str) -> object:
        if name in path:
            threading.Event().wait(60)
        return honest(path)

    return asked


def test_a_pattern_without_a_match_says_so(tools: Tools, tmp_path: Path) -> None:
    with pytest.raises(NotAPool, match="nothing matches"):
        resolve(f"{tmp_path}/none*", tools.run)
    with pytest.raises(UsageRefusal, match="empty"):
        resolve("", tools.run)


def test_the_same_directory_twice_is_refused_by_any_name(tools: Tools, tmp_path: Path) -> None:
    (tmp_path / "t0").mkdir()
    (tmp_path / "link").symlink_to("t0")
    for text in ("t0:{top}/t0", "t0:{top}/link", "t0:{top}/t*", "t0:{top}/./t0/"):
        with pytest.raises(SameTarget, match="same directory"):
            resolve(f"{tmp_path}/" + text.format(top=tmp_path), tools.run)


def test_more_targets_than_a_pool_can_have() -> None:
    with pytest.raises(UsageRefusal, match="at most 64"):
        distinct([f"/none/{index}" for index in range(65)])


def test_a_pool_file_names_the_targets(tools: Tools, tmp_path: Path) -> None:
    odd = os.fsdecode(b"/pools/\xff odd")
    file = tmp_path / "pool"
    write_pool_file(file, ["/pools/a:b", odd, "/pools/*"])
    assert resolve(str(file), tools.run).paths == ("/pools/a:b", odd, "/pools/*")


def test_a_pool_file_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "pool"
    file.write_text("# mine\n\n/one\n  # too\nsub/two\n")
    assert read_pool_file(file) == ["/one", f"{tmp_path}/sub/two"]


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n", b"\0binary", b"x" * (2 << 20)])
def test_what_is_no_pool_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "pool"
    file.write_bytes(content)
    with pytest.raises(NotAPool, match="not a pool file"):
        read_pool_file(file)


def test_a_pool_file_that_cannot_be_written_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    for path, targets in (
        (tmp_path, ["/a"]),
        (tmp_path / "none" / "pool", ["/a"]),
        (tmp_path / "pool", ["/a\nb"]),
    ):
        with pytest.raises(UsageRefusal):
            check_pool_file(path, targets)
    check_pool_file(tmp_path / "pool", ["/a"])


@pytest.mark.parametrize(
    ("target", "mountpoint"), [("m/t", "m"), ("t", "t/m"), ("t", "t"), ("link/t", "m")]
)
def test_a_target_inside_the_mount_point_is_refused(
    tmp_path: Path, target: str, mountpoint: str
) -> None:
    (tmp_path / "link").symlink_to("m")
    with pytest.raises(TargetInside, match="one inside the other"):
        check_apart([f"{tmp_path}/{target}"], f"{tmp_path}/{mountpoint}")


def test_a_common_beginning_of_the_name_is_no_nesting(tmp_path: Path) -> None:
    check_apart([f"{tmp_path}/mount1"], f"{tmp_path}/mount")


def test_a_mounted_pool_is_found_by_mount_point_and_by_target(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.prepare()
    (tmp_path / "t0").mkdir()
    (tmp_path / "m").mkdir()
    record = run.record_here("ab", f"{tmp_path}/m", (f"{tmp_path}/t0", "/elsewhere"))
    run.write(record)
    by_mountpoint = resolve(f"{tmp_path}/m", run)
    assert by_mountpoint.mounted == record
    assert by_mountpoint.paths == record.targets
    assert resolve(f"{tmp_path}/t0", run).mounted == record
    assert resolve(f"{tmp_path}/other:{tmp_path}/t0", run).mounted == record
