"""What the verbs ask of the rooms below, and the one place that calls them.

The verbs know `Engine` and `OpenPool`; reports reach them as the JSON documents of the contracts.
The rooms are imported when they are first needed: `ecfs umount` has no use for a database.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import click

from ecfs.cli.mountopts import MountWish
from ecfs.cli.outcome import Json
from ecfs.cli.secret import Kind
from ecfs.cli.text import printable

if TYPE_CHECKING:
    from ecfs.volume import Environment, OpenOptions, Secret, Volume


@dataclass(frozen=True)
class Key:
    """What opens a pool: its kind and its bytes."""

    kind: Kind
    value: bytes = field(repr=False)


@dataclass(frozen=True)
class NewPool:
    """What mkfs was asked for. `kdf_memory_kib` in KiB; `kdf_passes` is a count."""

    paths: tuple[str, ...]
    data: int
    parity: int
    key: Key
    kdf_memory_kib: int
    kdf_passes: int
    force: bool
    recovery_key: bool


@dataclass(frozen=True)
class Step:
    """How far a long piece of work has come; lengths in bytes. What was mended was bad before."""

    done_len: int
    total_len: int
    mended_count: int = 0
    bad_count: int = 0


StepTaker = Callable[[Step], None]
FsckDepth = Literal["look", "safe", "yes"]


class OpenPool(Protocol):
    """An open pool."""

    def status(self) -> Json:
        """`ecfs.status/1`."""
        ...

    async def scrub(self, progress: StepTaker) -> Json:
        """Reads every shard of everything and mends; `ecfs.scrub/1`."""
        ...

    async def replace(self, old: str, new_path: str, progress: StepTaker) -> Json:
        """Rebuilds a lost target in an empty directory; `ecfs.rebuild/1`."""
        ...

    async def sync(self) -> None:
        """Returns when all that was written before is durable."""
        ...

    async def serve(self, mountpoint: str, wish: MountWish, ready: Callable[[], None]) -> None:
        """Mounts and serves until unmounted; unmounts when cancelled."""
        ...


class Engine(Protocol):
    """The rooms below, as the verbs see them."""

    async def make(self, order: NewPool) -> Json:
        """Makes a pool; `ecfs.mkfs/1`."""
        ...

    async def peek(self, paths: tuple[str, ...]) -> Json:
        """What the labels claim, without a key; `ecfs.status/1` with `authenticated` false."""
        ...

    def open(
        self, paths: tuple[str, ...], key: Key, wish: MountWish
    ) -> AbstractAsyncContextManager[OpenPool]:
        """Opens a pool; closes it, everything durable, on the way out."""
        ...

    async def check(
        self, paths: tuple[str, ...], key: Key, wish: MountWish, *, depth: FsckDepth, force: bool
    ) -> Json:
        """The passes of fsck; `ecfs.fsck/1`."""
        ...

    async def salvage(
        self, paths: tuple[str, ...], key: Key, out_dir: Path, progress: StepTaker
    ) -> Json:
        """Files out of the log when the metadata is lost; `ecfs.salvage/1`."""
        ...


def _relayed(progress: StepTaker) -> Callable[[Any], None]:
    """A callback for the rooms below, which have a progress of their own."""

    def relay(theirs: Any) -> None:
        progress(Step(theirs.done_len, theirs.total_len, theirs.mended_count, theirs.bad_count))

    return relay


class SystemEngine:
    """The real rooms, on this machine."""

    def __init__(self, state_dir: Path, run_dir: Path) -> None:
        self._state_dir = state_dir
        self._run_dir = run_dir
        self._warned: set[str] = set()

    def _environment(self, *, polls: bool = True) -> "Environment":
        from ecfs.volume import Environment

        return Environment.system(state_dir=self._state_dir, run_dir=self._run_dir, polls=polls,
                                  warn=self._warn)

    def _warn(self, text: str) -> None:
        """On standard error, once: a verb may open a pool several times."""
        if text not in self._warned:
            self._warned.add(text)
            click.echo(f"ecfs: warning: {printable(text)}", err=True)

    async def make(self, order: NewPool) -> Json:
        """Makes a pool."""
        from ecfs.erasure import Geometry
        from ecfs.keys import KdfParameters
        from ecfs.volume import PoolOrder, create_pool

        made = await create_pool(
            PoolOrder(
                paths=order.paths,
                geometry=Geometry(data=order.data, parity=order.parity),
                secret=_secret(order.key),
                kdf=KdfParameters(memory_kib=order.kdf_memory_kib, passes=order.kdf_passes),
                force=order.force,
                recovery_key=order.recovery_key,
            ),
            self._environment(),
        )
        return made.to_json()

    async def peek(self, paths: tuple[str, ...]) -> Json:
        """What the labels claim."""
        from ecfs.volume import peek_pool

        status = await peek_pool(paths, self._environment())
        return status.to_json()

    @asynccontextmanager
    async def open(
        self, paths: tuple[str, ...], key: Key, wish: MountWish
    ) -> AsyncIterator[OpenPool]:
        """Opens a pool with mending on."""
        from ecfs.repair import MendingQueue
        from ecfs.volume import open_volume

        secret, environment = _secret(key), self._environment(polls=wish.polls)
        queue = MendingQueue()
        async with open_volume(paths, secret, environment, _options(wish), queue) as volume:
            yield SystemPool(volume)

    async def check(
        self, paths: tuple[str, ...], key: Key, wish: MountWish, *, depth: FsckDepth, force: bool
    ) -> Json:
        """The passes of fsck."""
        from ecfs.repair import FsckMode, check_pool

        mode = {"look": FsckMode.LOOK, "safe": FsckMode.SAFE, "yes": FsckMode.YES}[depth]
        report = await check_pool(
            paths, _secret(key), self._environment(), _options(wish), mode=mode, force=force
        )
        return report.to_json()

    async def salvage(
        self, paths: tuple[str, ...], key: Key, out_dir: Path, progress: StepTaker
    ) -> Json:
        """Files out of the log."""
        from ecfs.repair import salvage

        report = await salvage(
            paths, _secret(key), self._environment(), out_dir, progress=_relayed(progress)
        )
        return report.to_json()


class SystemPool:
    """An open volume."""

    def __init__(self, volume: "Volume") -> None:
        self._volume = volume
        self._transport: str | None = None

    def status(self) -> Json:
        """The volume's own view, and how it is mounted if it is."""
        report = self._volume.status(only_looked_at=self._transport is None).to_json()
        if self._transport is not None:
            report["transport"] = self._transport
        return report

    async def scrub(self, progress: StepTaker) -> Json:
        """A scrub of everything."""
        from ecfs.repair import scrub

        report = await scrub(self._volume, progress=_relayed(progress))
        return report.to_json()

    async def replace(self, old: str, new_path: str, progress: StepTaker) -> Json:
        """A rebuild of one target."""
        from ecfs.repair import replace_target

        report = await replace_target(self._volume, old, new_path, progress=_relayed(progress))
        return report.to_json()

    async def sync(self) -> None:
        """Flushes and commits everything."""
        await self._volume.fsync(None)

    async def serve(self, mountpoint: str, wish: MountWish, ready: Callable[[], None]) -> None:
        """Mounts through the driver."""
        from ecfs.driver import MountOptions, Transport, serve

        options = MountOptions(
            read_only=wish.read_only,
            allow_other=wish.allow_other,
            flags=frozenset(wish.kernel_words),
            transport=Transport(wish.transport),
            relatime=wish.relatime,
            polls=wish.polls,
        )
        self._transport = wish.transport
        await serve(self._volume, mountpoint, options, ready=ready)


def _secret(key: Key) -> "Secret":
    from ecfs.keys import parse_recovery_key
    from ecfs.volume import Secret

    if key.kind == "recovery":
        return Secret(key.kind, parse_recovery_key(key.value.decode(errors="replace")))
    return Secret(key.kind, key.value)


def _options(wish: MountWish) -> "OpenOptions":
    from ecfs.volume import OpenOptions

    lengths: dict[str, Any] = {
        "block_cache_len": wish.block_cache_len,
        "write_back_len": wish.write_back_len,
    }
    return OpenOptions(
        read_only=wish.read_only,
        accept_rollback=wish.accept_rollback,
        anchor_always=wish.anchor_always,
        anchor_dir=None if wish.anchor_dir is None else Path(wish.anchor_dir),
        **{name: length for name, length in lengths.items() if length is not None},
    )
