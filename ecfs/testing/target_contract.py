"""What every Target does, whatever lies beneath: subclass `TargetContract`, say how to make one."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from ecfs.base.errors import Bug, Fault, TargetError
from ecfs.base.limits import TARGET_READ_LEN_MAX
from ecfs.base.units import KIB, MIB
from ecfs.targets import Buffer, Space, Target

NAME = "segments/ab/00000001-00000000000000ab.col"
FOLDER = "segments/ab"
BAD_NAMES = ("", "/a", "a/", "a//b", "..", "../a", "a/../b", ".hidden", "a/.hidden", "A", "a b",
             "a\n", "a\0", "ä", "a" * 251, "a/b/c/d/e", ".tmp-a")


@contextmanager
def raises(fault: Fault) -> Iterator[None]:
    """Expect a TargetError with this fault."""
    with pytest.raises(TargetError) as caught:
        yield
    assert caught.value.fault is fault, caught.value


def all_raise(fault: Fault, calls: Sequence[Callable[[], object]]) -> None:
    """Expect a TargetError with this fault of each call."""
    for call in calls:
        with raises(fault):
            call()


class TargetContract:
    """The contract as tests. A subclass overrides `make_target`."""

    def make_target(self, folder: Path) -> Target:
        """A new, empty target; `folder` is an empty directory that it may use."""
        raise NotImplementedError

    @pytest.fixture
    def target(self, tmp_path: Path) -> Iterator[Target]:
        """The target under test."""
        target = self.make_target(tmp_path)
        yield target
        target.close()

    # Creating, replacing, removing.

    @pytest.mark.parametrize("sync", [True, False])
    @pytest.mark.parametrize("name", ["label.1.1", NAME])
    def test_create_and_read_back(self, target: Target, name: str, sync: bool) -> None:
        """What was created is there, whole."""
        target.create(name, b"hello", sync=sync)
        assert target.read(name, 0, 5) == b"hello"
        assert target.size(name) == 5

    def test_create_is_exclusive(self, target: Target) -> None:
        """A second creation fails and changes nothing."""
        target.create("claim.1", b"first")
        with raises(Fault.EXISTS):
            target.create("claim.1", b"second")
        assert target.read("claim.1", 0, 100) == b"first"

    def test_one_of_many_creators_wins(self, target: Target) -> None:
        """Exclusive also among threads."""
        won: list[int] = []

        def claim(number: int) -> None:
            try:
                target.create("claim.1", bytes([number]))
                won.append(number)
            except TargetError as error:
                assert error.fault is Fault.EXISTS

        _in_threads(claim)
        assert len(won) == 1
        assert target.read("claim.1", 0, 10) == bytes(won)

    def test_data_of_every_kind_of_buffer(self, target: Target) -> None:
        """bytes, bytearray and memoryview, empty ones too."""
        kinds: list[Buffer] = [b"", bytearray(b"xyz"), memoryview(b"abcdef")[1:4]]
        for number, data in enumerate(kinds):
            target.create(f"a{number}", data)
            assert target.read(f"a{number}", 0, 10) == bytes(data)
            target.replace(f"r{number}", data)
            assert target.read(f"r{number}", 0, 10) == bytes(data)

    def test_replace_makes_and_exchanges(self, target: Target) -> None:
        """Longer or shorter, the new content stands alone."""
        for content in (b"one", b"a longer one", b"", b"x" * MIB):
            target.replace("label.1.1", content)
            assert target.read("label.1.1", 0, 2 * MIB) == content
            assert target.size("label.1.1") == len(content)
        assert target.list_names() == ["label.1.1"]

    def test_replace_in_a_folder(self, target: Target) -> None:
        """Folders are made as needed."""
        target.replace(NAME, b"x")
        assert target.list_names(FOLDER) == [NAME.rpartition("/")[2]]

    def test_replace_is_seen_by_who_had_read(self, target: Target) -> None:
        """Nothing that was kept open shows the old content."""
        target.create("a", b"old")
        assert target.read("a", 0, 3) == b"old"
        target.write("a", 0, [b"OLD"])
        target.replace("a", b"new")
        assert target.read("a", 0, 3) == b"new"
        target.write("a", 0, [b"N"])
        assert target.read("a", 0, 3) == b"New"

    def test_remove(self, target: Target) -> None:
        """A removed file is gone, and its name is free."""
        target.create(NAME, b"x")
        assert target.read(NAME, 0, 1) == b"x"
        target.remove(NAME)
        target.sync_folder(FOLDER)
        with raises(Fault.MISSING):
            target.read(NAME, 0, 1)
        assert target.list_names(FOLDER) == []
        target.create(NAME, b"y")
        assert target.read(NAME, 0, 2) == b"y"

    def test_remove_what_is_not_there(self, target: Target) -> None:
        """Fine, in a folder that is not there either."""
        target.remove("a")
        target.remove(NAME)

    # Reading and writing.

    def test_read_is_short_only_at_the_end(self, target: Target) -> None:
        """Past the end there is nothing."""
        target.create("a", b"0123456789")
        assert target.read("a", 3, 4) == b"3456"
        assert target.read("a", 8, 100) == b"89"
        assert target.read("a", 10, 1) == target.read("a", 1 << 40, 1) == b""
        assert target.read("a", 0, 0) == b""

    def test_write_gathers_and_extends(self, target: Target) -> None:
        """Buffers land one after another; a gap reads as zeros."""
        target.create("a", b"0123456789")
        target.write("a", 2, [b"AB", bytearray(b""), memoryview(b"xCDx")[1:3]])
        assert target.read("a", 0, 20) == b"01ABCD6789"
        target.write("a", 12, [b"end"])
        assert target.read("a", 9, 20) == b"9\0\0end"
        target.write("a", 100, [])
        assert target.size("a") == 15

    def test_write_of_many_and_of_large_buffers(self, target: Target) -> None:
        """More buffers than one system call takes, and some MiB."""
        target.create("a", b"")
        pieces = [bytes([number % 256]) * 3 for number in range(5000)]
        target.write("a", 5, pieces)
        assert target.read("a", 5, 15_000) == b"".join(pieces)
        large = bytes(range(256)) * (16 * KIB)
        target.write("a", 4096, [large, large])
        assert target.read("a", 4096, 8 * MIB) == large + large

    def test_missing_files(self, target: Target) -> None:
        """Whatever is asked of a missing file is MISSING."""
        target.create("segments/cd/x", b"")
        for name in ("a", NAME, "segments/cd/y"):
            all_raise(Fault.MISSING, [
                partial(target.read, name, 0, 1), partial(target.write, name, 0, [b"x"]),
                partial(target.sync, name), partial(target.size, name),
                partial(target.truncate, name, 0), partial(target.preallocate, name, 0, 1),
                partial(target.punch, name, 0, 1), partial(target.drop_cache, name, 0, 1)])
        assert target.list_names() == ["segments"]

    def test_a_folder_is_not_a_file(self, target: Target) -> None:
        """Nor a file a folder."""
        target.create(NAME, b"x")
        with raises(Fault.UNSAFE):
            target.read(FOLDER, 0, 1)
        with raises(Fault.UNSAFE):
            target.remove(FOLDER)
        with raises(Fault.UNSAFE):
            target.replace(FOLDER, b"x")
        with raises(Fault.EXISTS):
            target.create(FOLDER, b"x")
        target.create("file", b"x")
        with raises(Fault.UNSAFE):
            target.create("file/below", b"x")

    def test_truncate(self, target: Target) -> None:
        """Both ways; what comes back is zeros."""
        target.create("a", b"0123456789")
        target.truncate("a", 4)
        assert target.read("a", 0, 20) == b"0123"
        target.truncate("a", 8)
        assert target.read("a", 0, 20) == b"0123\0\0\0\0"

    def test_preallocate_keeps_what_is_there(self, target: Target) -> None:
        """Bytes stay, and what lies beyond them reads as zeros."""
        target.create("a", b"0123")
        target.preallocate("a", 0, 8 * KIB)
        assert target.size("a") in (4, 8 * KIB)
        assert target.read("a", 0, 8 * KIB).rstrip(b"\0") == b"0123"
        target.preallocate("a", 0, 10)
        target.preallocate("a", 0, 0)
        target.write("a", 8 * KIB, [b"x"])
        assert target.size("a") == 8 * KIB + 1

    def test_punch(self, target: Target) -> None:
        """Where it says True the range is zeros, else nothing changed."""
        content = b"x" * (64 * KIB)
        target.create("a", content)
        done = target.punch("a", 16 * KIB, 32 * KIB)
        expected = (content[:16 * KIB] + bytes(32 * KIB) + content[:16 * KIB] if done else content)
        assert target.read("a", 0, MIB) == expected

    # Syncing and the rest.

    def test_syncing_changes_nothing_to_be_seen(self, target: Target) -> None:
        """Files and folders."""
        target.create(NAME, b"x", sync=False)
        target.write(NAME, 1, [b"y"])
        target.sync(NAME)
        target.sync(NAME)
        for folder in (FOLDER, "segments", ""):
            target.sync_folder(folder)
        assert target.read(NAME, 0, 10) == b"xy"
        with raises(Fault.MISSING):
            target.sync_folder("segments/ff")

    def test_listing(self, target: Target) -> None:
        """Plain names, sorted; a missing folder is empty."""
        for name in ("b", "a", "segments/ff/x", "segments/00/y", "c.1"):
            target.create(name, b"", sync=False)
        assert target.list_names() == ["a", "b", "c.1", "segments"]
        assert target.list_names("segments") == ["00", "ff"]
        assert target.list_names("segments/ff") == ["x"]
        assert target.list_names("segments/aa") == target.list_names("other") == []

    def test_forget_and_drop_cache_lose_nothing(self, target: Target) -> None:
        """Unsynced bytes stay as well."""
        target.create("a", b"x")
        target.write("a", 1, [b"y"])
        target.drop_cache("a", 0, 2)
        target.forget("a")
        target.forget("never-there")
        assert target.read("a", 0, 10) == b"xy"

    def test_more_files_than_are_kept_open(self, target: Target) -> None:
        """Every one of them keeps its bytes."""
        names = [f"segments/{number % 256:02x}/{number}" for number in range(300)]
        for name in names:
            target.create(name, b"", sync=False)
        for name in names:
            target.write(name, 0, [name.encode()])
        for name in names:
            assert target.read(name, 0, 100) == name.encode()
            target.sync(name)

    def test_room(self, target: Target) -> None:
        """Space and use are plausible."""
        space = target.space()
        assert isinstance(space, Space)
        assert 0 < space.free_len <= space.total_len
        target.create(NAME, b"x" * (256 * KIB))
        target.create("label.1.1", b"x" * (256 * KIB))
        assert 512 * KIB <= target.stored_len() < 2 * MIB
        assert isinstance(target.device(), int)
        assert target.path

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_bad_names_are_bugs(self, target: Target, name: str) -> None:
        """Refused before anything happens."""
        calls: list[Callable[[], object]] = [
            lambda: target.create(name, b""), lambda: target.replace(name, b""),
            lambda: target.read(name, 0, 1), lambda: target.write(name, 0, [b""]),
            lambda: target.remove(name), lambda: target.sync(name)]
        if name:
            calls += [lambda: target.sync_folder(name), lambda: target.list_names(name)]
        for call in calls:
            with pytest.raises(Bug):
                call()
        assert target.list_names() == []

    def test_bad_numbers_are_bugs(self, target: Target) -> None:
        """Negative or boundless ones."""
        target.create("a", b"x")
        calls: list[Callable[[], object]] = [
            lambda: target.read("a", -1, 1), lambda: target.read("a", 0, -1),
            lambda: target.read("a", 0, TARGET_READ_LEN_MAX + 1),
            lambda: target.write("a", -1, [b"x"]), lambda: target.truncate("a", -1),
            lambda: target.punch("a", 0, -1), lambda: target.preallocate("a", -1, 1)]
        for call in calls:
            with pytest.raises(Bug):
                call()

    def test_threads(self, target: Target) -> None:
        """Files of their own and one in common, written and read at once."""
        target.create("common", bytes(8 * 4 * KIB))

        def work(number: int) -> None:
            block = bytes([number + 1]) * (4 * KIB)
            for turn in range(20):
                name = f"segments/{number:02x}/{turn}"
                target.create(name, block, sync=False)
                target.write("common", number * 4 * KIB, [block])
                assert target.read("common", number * 4 * KIB, 4 * KIB) == block
                assert target.read(name, 0, 5 * KIB) == block
                target.forget("common")
                target.sync("common")
                target.remove(name)

        _in_threads(work)
        assert target.list_names("segments/00") == []

    def test_after_close(self, target: Target) -> None:
        """Calls are refused, closing again is fine."""
        target.create("a", b"x")
        target.close()
        target.close()
        all_raise(Fault.AWAY, [
            lambda: target.read("a", 0, 1), target.list_names, lambda: target.create("b", b""),
            lambda: target.sync("a"), lambda: target.sync_folder(""), target.space])
        target.forget("a")


def _in_threads(function: Callable[[int], None], count: int = 8) -> None:
    """Call `function` with 0, 1, ... at once; raise the first error of any."""
    errors: list[BaseException] = []

    def call(number: int) -> None:
        try:
            function(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
