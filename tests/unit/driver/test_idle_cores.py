"""When idle cores are kept from halting, and when they may again."""

import logging
import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ecfs.driver.idle_cores import (
    BURST_COUNT,
    BURST_NS_MAX,
    LATENCY_US,
    LOOK_COUNT_MIN,
    LOOK_EACH_S,
    POLLING_CORES_MAX,
    IdleCores,
    latency_to_ask_us,
)

LATENCY = 3


class StandingClock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        raise NotImplementedError


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "latency"
    path.touch()
    return path


@pytest.fixture
def cores(clock: StandingClock, device: Path) -> IdleCores:
    return IdleCores(clock, LATENCY, str(device))


def is_asked(device: Path) -> bool:
    """Whether this process has it open, which is what counts."""
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
             if os.path.lexists(f"/proc/self/fd/{fd}")]
    return str(device) in links


def serve(cores: IdleCores, count: int, clock: StandingClock, apart_ns: int) -> None:
    for _ in range(count):
        clock.now_ns += apart_ns
        cores.served()


async def test_a_burst_asks_and_its_end_takes_it_back(
        cores: IdleCores, clock: StandingClock, device: Path, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cores.run)
        serve(cores, BURST_COUNT - 1, clock, BURST_NS_MAX // BURST_COUNT)
        assert not is_asked(device)
        serve(cores, 1, clock, BURST_NS_MAX // BURST_COUNT)
        assert is_asked(device)
        assert device.read_bytes() == LATENCY_US.pack(LATENCY)
        await wait_all_tasks_blocked()
        await trio.sleep(LOOK_EACH_S / 2)
        for _ in range(3):
            serve(cores, LOOK_COUNT_MIN, clock, 1)
            await trio.sleep(LOOK_EACH_S)
            assert is_asked(device)
        serve(cores, LOOK_COUNT_MIN - 1, clock, 1)
        await trio.sleep(LOOK_EACH_S)
        assert not is_asked(device)
        serve(cores, 2 * BURST_COUNT, clock, 1)
        assert is_asked(device)
        await trio.sleep(3 * LOOK_EACH_S)
        assert not is_asked(device)
        nursery.cancel_scope.cancel()


def test_requests_now_and_then_do_not_ask(cores: IdleCores, clock: StandingClock,
                                          device: Path) -> None:
    serve(cores, 10 * BURST_COUNT, clock, BURST_NS_MAX // BURST_COUNT + 1)
    assert not is_asked(device)


async def test_the_end_takes_it_back(cores: IdleCores, clock: StandingClock, device: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cores.run)
        serve(cores, BURST_COUNT, clock, 1)
        assert is_asked(device)
        nursery.cancel_scope.cancel()
    assert not is_asked(device)


@pytest.mark.parametrize("kind", ["absent", "full"])
def test_who_may_not_ask_goes_on_without(kind: str, clock: StandingClock, tmp_path: Path,
                                         caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    device = "/dev/full" if kind == "full" else str(tmp_path / "absent")
    cores = IdleCores(clock, LATENCY, device)
    serve(cores, 4 * BURST_COUNT, clock, 1)
    assert not is_asked(Path(device))
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_who_need_not_ask_does_not(clock: StandingClock, device: Path) -> None:
    serve(IdleCores(clock, None, str(device)), 4 * BURST_COUNT, clock, 1)
    assert not device.read_bytes()


@pytest.mark.parametrize(("driver", "cores_count", "latency_us"), [
    ("haltpoll", 1, None), ("haltpoll", 2, 0), ("haltpoll", POLLING_CORES_MAX, 0),
    ("haltpoll", POLLING_CORES_MAX + 1, None),
    ("intel_idle", 1, None), ("intel_idle", 2, 1), ("intel_idle", 64, 1)])
def test_what_is_asked_for(driver: str, cores_count: int, latency_us: int | None,
                           tmp_path: Path) -> None:
    (tmp_path / "cpuidle").mkdir()
    (tmp_path / "cpuidle/current_driver").write_text(driver + "\n")
    for number, latency in enumerate([0, 1, 80]):
        state = tmp_path / f"cpu0/cpuidle/state{number}"
        state.mkdir(parents=True)
        (state / "latency").write_text(f"{latency}\n")
    assert latency_to_ask_us(tmp_path, cores_count=cores_count) == latency_us


def test_without_idle_states_there_is_nothing_to_ask_for(tmp_path: Path) -> None:
    assert latency_to_ask_us(tmp_path, cores_count=2) is None
    (tmp_path / "cpuidle").mkdir()
    (tmp_path / "cpuidle/current_driver").write_text("none\n")
    assert latency_to_ask_us(tmp_path, cores_count=2) is None
