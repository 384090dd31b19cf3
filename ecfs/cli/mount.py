"""`ecfs mount`: opens a pool and serves it at a directory."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
import trio

from ecfs.base.errors import BadMountPoint, InUse
from ecfs.base.memory import keep_heap
from ecfs.base.paths import real_path
from ecfs.cli.daemon import Report, in_background
from ecfs.cli.engine import Key
from ecfs.cli.linux import check_can_mount, harden, is_server_dead, mount_at
from ecfs.cli.logs import check_log_file
from ecfs.cli.mountopts import MountWish, completed, parse
from ecfs.cli.outcome import Json
from ecfs.cli.params import MOUNTPOINT, POOL, log_file_option
from ecfs.cli.pool import check_apart, resolve
from ecfs.cli.secret import SecretSource, recovery_option, secret_options
from ecfs.cli.serving import MountPlan, MountService
from ecfs.cli.text import printable
from ecfs.cli.tools import Tools
from ecfs.cli.umount import detach


@dataclass(frozen=True)
class MountOrder:
    """A mount as it was asked for."""

    pool: str
    mountpoint: str
    source: SecretSource
    wish: MountWish
    foreground: bool = False
    log_file: str | None = None


DEAD_PATIENCE_S = 2.0


@click.command("mount")
@secret_options
@recovery_option
@click.option(
    "-o",
    "words",
    metavar="OPT,...",
    multiple=True,
    help="Mount options; see ecfs-mount(1).",
    shell_complete=lambda context, parameter, incomplete: completed(incomplete),
)
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground, log to stderr.")
@log_file_option
@click.argument("pool", type=POOL)
@click.argument("mountpoint", type=MOUNTPOINT)
@click.pass_obj
def mount(
    tools: Tools,
    /,
    words: tuple[str, ...],
    foreground: bool,
    log_file: str | None,
    pool: str,
    mountpoint: str,
    **sources: Any,
) -> int:
    """Mount the pool POOL at the empty directory MOUNTPOINT.

    Returns once the file system is usable; it is served by a process in the background.
    """
    order = MountOrder(
        pool=pool,
        mountpoint=mountpoint,
        source=SecretSource(**sources),
        wish=parse(words),
        foreground=foreground,
        log_file=log_file,
    )
    return perform(tools, order)


def perform(tools: Tools, order: MountOrder) -> int:
    """Mounts; raises what stands against it. Returns 0 once usable, or at its end in foreground."""
    spec = resolve(order.pool, tools.run)
    if spec.mounted is not None:
        raise InUse(
            f"the pool is mounted already, at {spec.mounted.mountpoint} by the process "
            f"{spec.mounted.pid} here; use that mount, or unmount it first"
        )
    mountpoint = checked_mountpoint(order.mountpoint)
    check_apart(spec.paths, mountpoint)
    log_file = order.log_file or order.wish.log_file
    log_path = None if log_file is None else os.path.abspath(log_file)
    _check_outside(mountpoint, {
        "the state directory": str(tools.state_dir), "the run directory": str(tools.run.path),
        "anchor_dir": order.wish.anchor_dir, "the log file": log_path})
    if log_path is not None:
        # Before anybody is asked for a passphrase.
        check_log_file(log_path)
    check_can_mount()
    source = order.wish.source(order.source)
    key = Key(source.kind, source.read())

    def work(report: Report) -> None:
        harden()
        keep_heap()
        tools.log("ecfs", log_file=log_path, to_stderr=order.foreground)
        plan = MountPlan(spec.paths, mountpoint, key, order.wish, report)
        trio.run(MountService(tools.engine, plan, tools.run).serve)

    if order.foreground:
        work(tell_state)
    else:
        tell_state(in_background(work))
    return 0


def tell_state(status: Json) -> None:
    """On standard error, what the user should know of a pool that is not in its best state. One
    with all its targets may have something to say, too: that its audit log was cut."""
    state, advice = status.get("state", "healthy"), status.get("advice", [])
    if state == "healthy" and not advice:
        return
    lines = [f"ecfs: the pool is {state.replace('_', ' ')}{', but:' if state == 'healthy' else ''}"]
    lines += [f"  {printable(told)}" for told in advice]
    try:
        click.echo("\n".join(lines), err=True)
    except OSError:
        # That nobody listens is no reason to end a mount that works.
        pass


def checked_mountpoint(path: str) -> str:
    """The real path of an empty directory without a mount of ours. Raises BadMountPoint."""
    real = os.path.realpath(path)
    present = mount_at(real)
    if present is not None and present.is_ecfs and is_server_dead(real):
        # The process that served it was killed; what it had acknowledged is in the pool. Who was
        # at work in it gets errors now, and lets go in a moment.
        detach(real, patience_s=DEAD_PATIENCE_S)
    elif present is not None and present.is_ecfs:
        raise BadMountPoint(f"{path}: a pool is mounted there already; unmount it first")
    try:
        with os.scandir(real) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        raise BadMountPoint(f"{path}: {_reason(error)}") from error
    if not empty:
        raise BadMountPoint(f"{path} is not empty; mount at an empty directory")
    return real


def _check_outside(mountpoint: str, places: Mapping[str, str | None]) -> None:
    """BadMountPoint where the process that serves the mount would write into the mount itself, and
    so wait for itself."""
    for name, path in places.items():
        if path is not None and os.path.commonpath([real_path(path), mountpoint]) == mountpoint:
            raise BadMountPoint(
                f"{name}, {path}, lies below the mount point {mountpoint}, and ecfs would wait for "
                "itself; mount somewhere else, or see ecfs(1) for how to put it elsewhere"
            )


def _reason(error: OSError) -> str:
    reasons: dict[type[OSError], str] = {
        FileNotFoundError: "there is no such directory; make it first",
        NotADirectoryError: "it is not a directory",
    }
    return reasons.get(type(error), error.strerror or str(error))
