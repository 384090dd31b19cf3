import pytest

from ecfs.base.errors import Fault
from ecfs.base.units import KIB
from ecfs.targets import MemoryTarget
from ecfs.testing.target_contract import all_raise, raises


@pytest.fixture
def target() -> MemoryTarget:
    return MemoryTarget()


def test_a_crash_drops_what_was_not_synced(target: MemoryTarget) -> None:
    target.create("a", b"0000")
    target.write("a", 0, [b"11"])
    target.sync("a")
    target.write("a", 2, [b"22"])
    target.create("b", b"unsynced name", sync=False)
    target.sync("b")
    target.create("c", b"x")
    target.remove("c")
    target.write("a", 100, [b"x"])
    target.truncate("a", 50)
    target.crash()
    assert target.list_names() == ["a", "b", "c"]
    assert target.read("a", 0, 1000) == b"1100"
    assert target.read("b", 0, 100) == b"unsynced name"
    assert target.unsynced() == []


def test_names_need_a_synced_folder(target: MemoryTarget) -> None:
    target.create("segments/ab/x", b"content", sync=False)
    target.sync("segments/ab/x")
    target.crash()
    with raises(Fault.MISSING):
        target.read("segments/ab/x", 0, 1)
    target.create("segments/ab/x", b"content", sync=False)
    target.sync_folder("segments/ab")
    target.crash()
    assert target.read("segments/ab/x", 0, 100) == b""
    target.remove("segments/ab/x")
    target.sync_folder("segments/ab")
    target.crash()
    with raises(Fault.MISSING):
        target.read("segments/ab/x", 0, 1)


def test_replace_is_durable_and_whole(target: MemoryTarget) -> None:
    target.replace("label", b"old")
    target.write("label", 0, [b"x"])
    target.replace("label", b"new one")
    target.crash()
    assert target.read("label", 0, 100) == b"new one"


def test_a_crash_keeps_what_it_is_told_to(target: MemoryTarget) -> None:
    target.create("a", bytes(4))
    for number in range(4):
        target.write("a", number, [bytes([number + 1])])
    target.preallocate("a", 0, 6)
    target.create("b", b"", sync=False)
    assert target.unsynced() == [
        ("write", "a", 0, 1), ("write", "a", 1, 1), ("write", "a", 2, 1), ("write", "a", 3, 1),
        ("resize", "a", 0, 6), ("name", "b", 0, 0)]
    target.crash(lambda number: number in (1, 3, 5))
    assert target.read("a", 0, 10) == b"\0\x02\0\x04"
    assert target.list_names() == ["a", "b"]


def test_the_last_write_kept_may_be_torn(target: MemoryTarget) -> None:
    target.create("a", b"")
    target.write("a", 0, [b"AAAA"])
    target.write("a", 4, [b"BBBB"])
    target.write("a", 8, [b"CCCC"])
    target.crash(lambda number: number < 2, torn_len=3)
    assert target.read("a", 0, 100) == b"AAAABBB"


def test_a_crash_reopens(target: MemoryTarget) -> None:
    target.create("a", b"x")
    target.close()
    target.crash()
    assert target.read("a", 0, 1) == b"x"


def test_room_is_bounded_and_comes_back() -> None:
    target = MemoryTarget(total_len=64 * KIB)
    target.create("a", bytes(48 * KIB))
    all_raise(Fault.FULL, [
        lambda: target.create("b", bytes(17 * KIB)),
        lambda: target.write("a", 48 * KIB, [bytes(17 * KIB)]),
        lambda: target.truncate("a", 65 * KIB), lambda: target.preallocate("a", 0, 65 * KIB)])
    assert target.space().free_len == 16 * KIB
    target.write("a", 0, [b"x" * 48 * KIB])
    target.truncate("a", 8 * KIB)
    assert target.space().free_len == 56 * KIB
    target.replace("a", bytes(KIB))
    assert target.space().free_len == 63 * KIB
    target.remove("a")
    assert target.space().free_len == 64 * KIB
    target.crash()
    assert target.space().free_len == 64 * KIB - (KIB if target.list_names() else 0)


def test_devices_differ_by_path() -> None:
    assert MemoryTarget("memory:0").device() != MemoryTarget("memory:1").device()


def test_huge_listings_are_refused() -> None:
    target = MemoryTarget(listing_max=2)
    for name in "abc":
        target.create(name, b"")
    with raises(Fault.UNSAFE):
        target.list_names()


def test_a_target_made_of_files_holds_them_durably() -> None:
    target = MemoryTarget.holding("memory:7", {"a": b"1", "segments/01/b": b"22"})
    before = target.space()
    assert target.list_names() == ["a", "segments"]
    target.write("a", 0, [b"9"])
    target.remove("segments/01/b")
    assert target.read("a", 0, 5) == b"9"
    assert target.files() == {"a": b"1", "segments/01/b": b"22"}
    target.crash()
    assert target.read("segments/01/b", 0, 5) == b"22"
    assert target.space() == before
