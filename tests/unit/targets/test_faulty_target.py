from collections.abc import Callable

from ecfs.base.errors import Fault
from ecfs.targets import FaultyTarget, MemoryTarget, Outcome, Target
from ecfs.testing.target_contract import all_raise, raises


def test_every_call_is_numbered_and_can_fail() -> None:
    seen: list[tuple[int, str, str, int]] = []
    failing: list[Outcome] = [None]

    def plan(number: int, method: str, name: str, offset: int) -> Outcome:
        seen.append((number, method, name, offset))
        return failing[0]

    target: Target = FaultyTarget(MemoryTarget(), plan)
    calls: list[Callable[[], object]] = [
             lambda: target.create("a", b"x"), lambda: target.replace("b", b"x"),
             lambda: target.write("a", 3, [b"y"]), lambda: target.read("a", 2, 1),
             lambda: target.sync("a"), lambda: target.size("a"), lambda: target.truncate("a", 9),
             lambda: target.preallocate("a", 4, 1), lambda: target.punch("a", 5, 1),
             lambda: target.drop_cache("a", 6, 1), lambda: target.list_names("f"),
             lambda: target.sync_folder(""), lambda: target.space(), lambda: target.stored_len(),
             lambda: target.device(), lambda: target.remove("a")]
    for call in calls:
        call()
    assert [number for number, _, _, _ in seen] == list(range(len(calls)))
    assert [entry[1:] for entry in seen[:10]] == [
        ("create", "a", 0), ("replace", "b", 0), ("write", "a", 3), ("read", "a", 2),
        ("sync", "a", 0), ("size", "a", 0), ("truncate", "a", 9), ("preallocate", "a", 4),
        ("punch", "a", 5), ("drop_cache", "a", 6)]
    for fault in Fault:
        failing[0] = fault
        for call in calls:
            target.forget("a")
            if fault is not Fault.IO or call is not calls[4]:
                with raises(fault):
                    call()


def test_a_fault_means_that_nothing_was_done() -> None:
    inner = MemoryTarget()
    target = FaultyTarget(inner, lambda number, method, name, offset: Fault.IO)
    with raises(Fault.IO):
        target.create("a", b"x")
    assert inner.list_names() == []


def test_after_means_that_it_was_done() -> None:
    inner = MemoryTarget()
    target = FaultyTarget(inner, lambda number, method, name, offset: "after")
    all_raise(Fault.TIMEOUT, [
        lambda: target.create("a", b"x"), lambda: target.write("a", 1, [b"y"]),
        lambda: target.read("a", 0, 1)])
    assert inner.read("a", 0, 10) == b"xy"


def test_short_reads_and_torn_writes() -> None:
    inner = MemoryTarget()
    inner.create("a", b"0123")
    target = FaultyTarget(inner, lambda number, method, name, offset: "short")
    assert target.read("a", 0, 4) == b"01"
    with raises(Fault.IO):
        target.write("a", 0, [b"AB", b"CD"])
    assert inner.read("a", 0, 4) == b"AB23"


def test_reads_can_be_corrupted() -> None:
    inner = MemoryTarget()
    inner.create("a", b"0123")
    target = FaultyTarget(inner, corrupt=lambda name, offset, data: data[::-1])
    assert target.read("a", 0, 3) == b"210"
    assert inner.read("a", 0, 3) == b"012"


def test_a_failed_sync_stays_failed_until_forgotten() -> None:
    inner = MemoryTarget()
    inner.create("a", b"0")
    inner.write("a", 0, [b"1"])
    failing: list[Outcome] = [Fault.IO]
    target = FaultyTarget(inner, lambda number, method, name, offset: failing[0])
    with raises(Fault.IO):
        target.sync("a")
    failing[0] = None
    with raises(Fault.IO):
        target.sync("a")
    assert inner.unsynced() == [("write", "a", 0, 1)]
    target.forget("a")
    target.sync("a")
    assert inner.unsynced() == []


def test_calls_are_counted() -> None:
    target = FaultyTarget(MemoryTarget())
    target.create("a", b"x")
    target.read("a", 0, 1)
    target.forget("a")
    assert target.call_count == 2
