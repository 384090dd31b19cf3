import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from ecfs.base.errors import EcfsError, TooFewReachable
from ecfs.cli.control import CONNECTIONS_MAX, REQUEST_LEN_MAX, ControlServer, listening
from ecfs.cli.control_client import ask, status_of
from ecfs.cli.engine import Step
from ecfs.cli.runtime import MountRecord
from ecfs.cli.tools import Tools
from tests.unit.cli.fakes import POOL_ID, FakePool, status_report


@pytest.fixture
def pool() -> FakePool:
    return FakePool(status_report(("/a", "/b")), [])


@pytest.fixture
def record(tools: Tools) -> MountRecord:
    return tools.run.record_here(POOL_ID, "/mnt", ("/a", "/b"))


@asynccontextmanager
async def served(pool: FakePool, record: MountRecord) -> AsyncIterator[None]:
    async with listening(Path(record.socket)) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(ControlServer(pool).run, listener)
        yield
        nursery.cancel_scope.cancel()


async def asked(record: MountRecord, request: Any, taker: Any = None) -> Any:
    return await trio.to_thread.run_sync(lambda: ask(record, request, taker, 10.0))


@asynccontextmanager
async def connected(record: MountRecord) -> AsyncIterator[trio.SocketStream]:
    async with await trio.open_unix_socket(record.socket) as stream:
        yield stream


async def answers(stream: trio.SocketStream) -> list[Any]:
    """All lines until the server hangs up."""
    content = b""
    async for part in stream:
        content += part
    return [json.loads(line) for line in content.splitlines()]


async def test_requests_are_answered(pool: FakePool, record: MountRecord) -> None:
    async with served(pool, record):
        assert await trio.to_thread.run_sync(status_of, record) == pool.report
        assert await asked(record, {"request": "sync"}) == {"schema": "ecfs.sync/1"}
        replaced = await asked(record, {"request": "replace", "old": "t0", "new": "/n"})
        assert replaced["schema"] == "ecfs.rebuild/1"
    assert pool.asked == [("sync",), ("replace", "t0", "/n")]


async def test_the_socket_is_for_its_owner_alone_and_goes_away(
    pool: FakePool, record: MountRecord
) -> None:
    Path(record.socket).touch()
    async with served(pool, record):
        mode = os.lstat(record.socket).st_mode
        assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
    assert not os.path.lexists(record.socket)


async def test_a_long_path_is_no_hindrance(pool: FakePool, tools: Tools) -> None:
    deep = tools.run.path / ("d" * 120)
    deep.mkdir()
    record = MountRecord(POOL_ID, 1, 1, "", "/mnt", str(deep / "s.sock"), ())
    async with served(pool, record):
        assert (await asked(record, {"request": "status"}))["pool_id"] == POOL_ID


async def test_progress_streams_before_the_result(pool: FakePool, record: MountRecord) -> None:
    steps: list[Step] = []
    async with served(pool, record):
        report = await asked(record, {"request": "scrub"}, steps.append)
    assert report["mended"] == 2
    assert steps[0] == Step(5, 10)


async def test_a_refusal_keeps_its_id_and_code(pool: FakePool, record: MountRecord) -> None:
    pool.failure = TooFewReachable("three are gone")
    async with served(pool, record):
        with pytest.raises(EcfsError, match="three are gone") as refused:
            await asked(record, {"request": "scrub"})
        assert (refused.value.id, refused.value.exit_code) == ("E-TOO-FEW-REACHABLE", 12)
        assert (await asked(record, {"request": "status"}))["pool_id"] == POOL_ID


@pytest.mark.parametrize(
    "line",
    [
        b"{}\n",
        b'{"request": "format"}\n',
        b'{"request": "replace", "old": 1}\n',
        b"[]\n",
        b"\xff\n",
        b"[" * 60_000 + b"\n",
        b'{"request": "sync"}\n{"request": "sync"}\n',
        b"x" * (REQUEST_LEN_MAX + 1),
    ],
)
async def test_nonsense_is_refused(pool: FakePool, record: MountRecord, line: bytes) -> None:
    async with served(pool, record), connected(record) as stream:
        await stream.send_all(line)
        [answer] = await answers(stream)
    assert answer["error"]["id"] == "E-USAGE"
    assert pool.asked == []


async def test_whoever_hangs_up_stops_the_work(pool: FakePool, record: MountRecord) -> None:
    pool.scrub_gate = trio.Event()
    async with served(pool, record):
        async with connected(record) as stream:
            await stream.send_all(b'{"request": "scrub"}\n')
            await stream.receive_some(1)
        # A second one is let in only when the first was cancelled.
        pool.scrub_gate.set()
        with trio.fail_after(10):
            while True:
                try:
                    assert (await asked(record, {"request": "scrub"}))["bad"] == 2
                    break
                except EcfsError:
                    continue


async def test_one_long_piece_of_work_at_a_time(pool: FakePool, record: MountRecord) -> None:
    pool.scrub_gate = trio.Event()
    async with served(pool, record), connected(record) as stream:
        await stream.send_all(b'{"request": "scrub"}\n')
        await stream.receive_some(1)
        with pytest.raises(EcfsError, match="already under way"):
            await asked(record, {"request": "replace", "old": "a", "new": "b"})
        pool.scrub_gate.set()


async def test_silent_connections_do_not_pile_up(
    pool: FakePool, record: MountRecord, autojump_clock: trio.testing.MockClock
) -> None:
    async with served(pool, record):
        silent = [await trio.open_unix_socket(record.socket) for _ in range(CONNECTIONS_MAX)]
        async with connected(record) as stream:
            await stream.send_all(b'{"request": "status"}\n')
            [answer] = await answers(stream)
        assert answer["result"]["pool_id"] == POOL_ID
        for stream in silent:
            await stream.aclose()


async def test_a_server_that_is_gone_is_told(record: MountRecord) -> None:
    with pytest.raises(EcfsError, match="does not answer"):
        await asked(record, {"request": "status"})
