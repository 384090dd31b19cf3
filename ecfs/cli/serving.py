"""The process that serves a mount: opens, publishes itself, listens, unmounts on a signal."""

import logging
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from ecfs.base.paths import real_path
from ecfs.cli.control import ControlServer, listening
from ecfs.cli.engine import Engine, Key, OpenPool
from ecfs.cli.linux import mount_at
from ecfs.cli.mountopts import MountWish
from ecfs.cli.outcome import Json, failure_of
from ecfs.cli.pool import check_apart
from ecfs.cli.runtime import MountRecord, RunDirectory

LOG = logging.getLogger("ecfs")


@dataclass(frozen=True)
class MountPlan:
    """What to mount where; all paths are absolute.

    `ready` gets the pool's state and advice once the file system is usable.
    """

    paths: tuple[str, ...]
    mountpoint: str
    key: Key
    wish: MountWish
    ready: Callable[[Json], None]


class MountService:
    """One mount, from opening the pool to closing it.

    No lock: its fields are touched by tasks of one event loop only, and never across an await.
    """

    def __init__(self, engine: Engine, plan: MountPlan, run: RunDirectory) -> None:
        self._engine = engine
        self._plan = plan
        self._run = run
        self._record: MountRecord | None = None
        self._usable = False
        self._stopping = False
        self._stoppable: trio.CancelScope | None = None

    async def serve(self) -> None:
        """Serves until the file system is unmounted, from outside or by SIGTERM, SIGINT, SIGHUP.

        Everything is durable when it returns. Where closing fails after the mount was usable, the
        record in the run directory says so to `ecfs umount`.
        """
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, signals)
                self._may_stop(nursery.cancel_scope)
                try:
                    await self._open_and_serve()
                except BaseException as error:
                    if self._record is not None and self._usable:
                        self._run.mark_failed(self._record, failure_of(error).to_json())
                        self._record = None
                    raise
                finally:
                    if self._record is not None:
                        self._run.remove(self._record)
                nursery.cancel_scope.cancel()

    async def _watch(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            LOG.info("%s: unmounting", signal.Signals(number).name)
            self._stopping = True
            if self._stoppable is not None:
                self._stoppable.cancel()

    def _may_stop(self, scope: trio.CancelScope) -> None:
        """From now on a signal cancels this scope."""
        self._stoppable = scope
        if self._stopping:
            scope.cancel()

    async def _open_and_serve(self) -> None:
        plan = self._plan
        async with self._engine.open(plan.paths, plan.key, plan.wish) as pool:
            self._record = self._record_of(pool.status())
            # Closing, on the way out, lies outside of what a signal cancels.
            with trio.CancelScope() as scope:
                self._may_stop(scope)
                await self._serve_open(pool, self._record)
            LOG.info("%s is unmounted; closing the pool", plan.mountpoint)

    def _record_of(self, status: Json) -> MountRecord:
        known = [target["path"] for target in status["targets"] if target.get("path")]
        check_apart(known, self._plan.mountpoint)
        real = dict.fromkeys(real_path(path) for path in (*self._plan.paths, *known))
        return self._run.record_here(status["pool_id"], self._plan.mountpoint, tuple(real))

    def _note_device(self, record: MountRecord) -> None:
        """By its device the mount is found at other places, too."""
        mount = mount_at(record.mountpoint)
        if mount is not None and mount.is_ecfs:
            self._record = replace(record, device=mount.device)
            self._run.write(self._record)

    async def _serve_open(self, pool: OpenPool, record: MountRecord) -> None:
        def usable() -> None:
            self._note_device(record)
            self._usable = True
            LOG.info("pool %s is mounted at %s", record.pool_id, record.mountpoint)
            status = pool.status()
            self._plan.ready({"state": status["state"], "advice": status.get("advice", [])})

        self._run.prepare()
        async with listening(Path(record.socket)) as listener:
            self._run.write(record)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ControlServer(pool).run, listener)
                await pool.serve(record.mountpoint, self._plan.wish, usable)
                nursery.cancel_scope.cancel()
