"""A pool in memory behind the engine's facade: it answers as told and remembers what was asked."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from ecfs.base.errors import EcfsError, NotAPool, WrongPassphrase
from ecfs.cli.engine import Engine, FsckDepth, Key, NewPool, OpenPool, Step, StepTaker
from ecfs.cli.mountopts import MountWish
from ecfs.cli.outcome import Json
from ecfs.cli.runtime import RunDirectory
from ecfs.cli.tools import Tools

POOL_ID = "ab" * 16
PASSPHRASE = b"correct horse"


def status_report(targets: tuple[str, ...], **changes: Any) -> Json:
    """`ecfs.status/1` of a healthy pool over these paths."""
    return {
        "schema": "ecfs.status/1",
        "authenticated": True,
        "pool_id": POOL_ID,
        "state": "healthy",
        "freshness": "proven",
        "epoch": 3,
        "commit": 71,
        "geometry": {"data": 1, "parity": 1},
        "targets": [
            {
                "id": f"{index:032x}",
                "name": f"t{index}",
                "path": path,
                "state": "online",
                "errors": {"io": 0, "tag": 0, "label": 0},
                "missed_bytes": 0,
                "size_bytes": 1 << 30,
                "free_bytes": 1 << 29,
            }
            for index, path in enumerate(targets)
        ],
        "damaged_paths": [],
        "audit": {
            "match": "matches",
            "text": "the log contains the line that commit 71 names",
            "log": "cd" * 16,
            "count": 5,
            "pool": {
                "commit": 71,
                "epoch": 3,
                "writer": "ef" * 16,
                "host": "here/0123",
                "log": "cd" * 16,
                "count": 4,
                "hash": "01" * 32,
            },
        },
        "advice": [],
        **changes,
    }


class FakePool:
    """An open pool. `serving` is set while it is mounted; `unmount` ends that."""

    def __init__(self, report: Json, asked: list[tuple[Any, ...]]) -> None:
        self.report = report
        self.asked = asked
        self.failure: BaseException | None = None
        self.serving = trio.Event()
        self.unmount = trio.Event()
        self.scrub_gate: trio.Event | None = None
        self.scrub_changes: Json = {}

    def status(self) -> Json:
        """The report that was given."""
        return self.report

    async def scrub(self, progress: StepTaker) -> Json:
        """Half, then all; waits in between for `scrub_gate`, if there is one."""
        self.asked.append(("scrub",))
        progress(Step(5, 10))
        await trio.lowlevel.checkpoint()
        if self.scrub_gate is not None:
            await self.scrub_gate.wait()
        if self.failure is not None:
            raise self.failure
        progress(Step(10, 10, 2, 0))
        return {
            "schema": "ecfs.scrub/1",
            "segments": 1,
            "stripes": 3,
            "checked_bytes": 10,
            "bad": 2,
            "mended": 2,
            "unreadable_stripes": 0,
            "damaged_paths": [],
            "not_read": [],
            **self.scrub_changes,
        }

    async def replace(self, old: str, new_path: str, progress: StepTaker) -> Json:
        """Done at once."""
        self.asked.append(("replace", old, new_path))
        progress(Step(4096, 4096))
        return {
            "schema": "ecfs.rebuild/1",
            "old_id": "0" * 32,
            "new_id": "1" * 32,
            "path": new_path,
            "shards": 7,
            "complete": True,
        }

    async def sync(self) -> None:
        """Nothing is ever unwritten here."""
        self.asked.append(("sync",))

    async def serve(self, mountpoint: str, wish: MountWish, ready: Callable[[], None]) -> None:
        """Serves nothing until `unmount`."""
        self.asked.append(("serve", mountpoint, wish))
        if self.failure is not None:
            raise self.failure
        self.serving.set()
        ready()
        await self.unmount.wait()


class FakeEngine:
    """The facade. A pool is where a directory has a file `label`."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.changes: dict[str, Any] = {}
        self.fsck_reports: list[Json] = []
        self.serve_failure: BaseException | None = None
        self.close_failure: BaseException | None = None
        self.open_gate: trio.Event | None = None
        self.pool: FakePool | None = None
        self.wish = MountWish()

    def _report(self, paths: tuple[str, ...]) -> Json:
        found = tuple(path for path in paths if os.path.exists(os.path.join(path, "label")))
        if not found:
            raise NotAPool(f"{', '.join(paths)}: no pool is there")
        return status_report(found, **self.changes)

    def _unlock(self, key: Key) -> None:
        if key.value != PASSPHRASE:
            raise WrongPassphrase("no key slot opens with this passphrase")

    async def make(self, order: NewPool) -> Json:
        """Writes the labels."""
        self.asked.append(("make", order))
        for path in order.paths:
            Path(path, "label").touch()
        return {
            "schema": "ecfs.mkfs/1",
            "pool_id": POOL_ID,
            "geometry": {"data": order.data, "parity": order.parity},
            "quorum": {"members": 5, "liars": 1},
            "warnings": ["two targets share a device"],
            "recovery_key": "AAAAA-BBBBB" if order.recovery_key else None,
        }

    async def peek(self, paths: tuple[str, ...]) -> Json:
        """Not authenticated."""
        return self._report(paths) | {"authenticated": False, "freshness": "not_proven"}

    @asynccontextmanager
    async def open(
        self, paths: tuple[str, ...], key: Key, wish: MountWish
    ) -> AsyncIterator[OpenPool]:
        """Opens with PASSPHRASE only."""
        self.asked.append(("open", paths, key.kind, wish))
        self._unlock(key)
        if self.open_gate is not None:
            await self.open_gate.wait()
        self.pool = FakePool(self._report(paths), self.asked)
        self.pool.failure = self.serve_failure
        self.pool.scrub_changes = self.changes.get("scrub", {})
        yield self.pool
        self.asked.append(("closed",))
        if self.close_failure is not None:
            raise self.close_failure

    async def check(
        self, paths: tuple[str, ...], key: Key, wish: MountWish, *, depth: FsckDepth, force: bool
    ) -> Json:
        """The next of `fsck_reports`, else clean."""
        self.asked.append(("check", depth, force))
        self.wish = wish
        self._unlock(key)
        self._report(paths)
        if self.fsck_reports:
            return self.fsck_reports.pop(0)
        return {"schema": "ecfs.fsck/1", "findings": [], "exit_bits": 0}

    async def salvage(
        self, paths: tuple[str, ...], key: Key, out_dir: Path, progress: StepTaker
    ) -> Json:
        """One file."""
        self._unlock(key)
        progress(Step(1, 1))
        (out_dir / "found").write_text("content")
        return {
            "schema": "ecfs.salvage/1",
            "files_count": 1,
            "bytes_count": 7,
            "incomplete": self.changes.get("incomplete", []),
        }


def no_log(name: str, *, log_file: str | None, to_stderr: bool = False) -> None:
    """Leaves the log of the test run alone."""


def fake_tools(engine: Engine, top: Path) -> Tools:
    """Tools with a run directory below `top`."""
    return Tools(engine, RunDirectory(top / "run"), top / "state", no_log)


class OddError(EcfsError):
    """An error of ours that no table knows."""

    id = "E-ODD"
