"""`ecfs umount`: unmounts a pool and returns when everything is durable."""

import errno
import os
import subprocess
import time

import click

from ecfs.base.errors import EcfsError, UsageRefusal
from ecfs.base.fuse import HELPER
from ecfs.cli.linux import (
    Mount,
    holders,
    is_server_dead,
    mount_at,
    mounts_of,
    server_of,
    unmount,
    wait_for_exit,
)
from ecfs.cli.outcome import Failure, RemoteFailure
from ecfs.cli.params import MOUNTPOINT
from ecfs.cli.runtime import MountRecord, RunDirectory
from ecfs.cli.tools import Tools

DETACH_AGAIN_S = 0.02
CLOSED_AGAIN_S = 0.25
LINGER_S = 2.0
"""A process that has closed its pool needs some milliseconds to end."""


DIED = (
    "ecfs: the process that served this mount had died; "
    "what was fsynced is safe, and the next mount takes up from there"
)


class InUseNow(EcfsError):
    """Somebody has something open in the mount."""


@click.command("umount")
@click.argument("mountpoint", type=MOUNTPOINT)
@click.pass_obj
def umount(tools: Tools, /, mountpoint: str) -> int:
    """Unmount the pool at MOUNTPOINT; returns when everything is durable."""
    return perform(tools.run, mountpoint)


def perform(run: RunDirectory, mountpoint: str) -> int:
    """Unmounts; raises EcfsError where it is busy or not everything could be written.

    A bind mount of a pool goes alone: the pool stays mounted elsewhere, and that is told.
    """
    place = os.path.realpath(mountpoint)
    present = mount_at(place)
    record = run.serving(place, present)
    serving = record is not None and record.is_alive
    if present is None or not present.is_ecfs:
        if record is None:
            raise UsageRefusal(f"{mountpoint}: no pool is mounted there")
        if serving and (moved := _places_of(record.device)):
            raise UsageRefusal(
                f"{mountpoint}: no pool is mounted there; the one that was is at {moved} now")
    elif record is None:
        _detach_strangers(present)
        return 0
    else:
        detach(place)
        if serving and (left := _places_of(record.device)):
            _tell_left(mountpoint, left, is_bind=record.mountpoint != place)
            return 0
    if serving:
        _wait_until_closed(run, record)
    _tell_outcome(run, record, died=not serving)
    return 0


def _places_of(device: str) -> str:
    """Where a mount is, as words; empty where it is not mounted here."""
    return ", ".join(mount.mountpoint for mount in mounts_of(device)) if device else ""


def _tell_left(mountpoint: str, left: str, *, is_bind: bool) -> None:
    """Of a bind mount this is all that was asked for; who named the mount itself, waits for what is
    durable, and that is not so before the last bind mount is gone: EcfsError."""
    told = f"{mountpoint} is unmounted; the pool is still mounted at {left}"
    if not is_bind:
        raise EcfsError(f"{told}; unmount that as well before the disks are taken away")
    click.echo(f"ecfs: {told}", err=True)


def _detach_strangers(mount: Mount) -> None:
    """Unmounts what another user mounted, whose records are not ours to read."""
    server, is_dead = server_of(mount), is_server_dead(mount.mountpoint)
    detach(mount.mountpoint)
    if left := _places_of(mount.device):
        _tell_left(mount.mountpoint, left, is_bind=True)
        return
    if is_dead:
        click.echo(DIED, err=True)
        return
    if server is None:
        click.echo(
            "ecfs: unmounted; which process served it is not known here. Before the disks are "
            "taken away, wait until it has ended: it may still be writing",
            err=True,
        )
        return
    wait_for_exit(*server)


def _wait_until_closed(run: RunDirectory, record: MountRecord) -> None:
    """Until the process has ended, or has taken its record back: then everything is durable, though
    a call on a target that hangs may keep the process from ending."""
    while not wait_for_exit(record.pid, record.process_start, CLOSED_AGAIN_S):
        left = run.read(record)
        if left is None or left.pid != record.pid or left.failed is not None:
            if not wait_for_exit(record.pid, record.process_start, LINGER_S):
                click.echo(
                    f"ecfs: unmounted; the process {record.pid} that served it ends when a target "
                    "that does not answer lets go of it",
                    err=True,
                )
            return


def _tell_outcome(run: RunDirectory, record: MountRecord, *, died: bool) -> None:
    left = run.read(record)
    if left is None or left.pid != record.pid:
        return
    run.remove(record)
    if left.failed is not None:
        failed = Failure(
            left.failed["id"],
            "unmounted, but not everything could be written: " + left.failed["message"],
            left.failed["exit_code"],
        )
        raise RemoteFailure(failed)
    if died:
        click.echo(DIED, err=True)
        return
    raise EcfsError(
        "unmounted, but the process that served the mount died before it had closed the pool; "
        "what was fsynced is safe, see its log"
    )


def detach(place: str, *, patience_s: float = 0.0) -> None:
    """Takes the mount out of the tree. Raises EcfsError if it is in use, and still is after
    `patience_s` seconds."""
    until = time.monotonic() + patience_s
    while True:
        try:
            _detach(place)
            return
        except InUseNow:
            if time.monotonic() >= until:
                raise
        time.sleep(DETACH_AGAIN_S)


def _detach(place: str) -> None:
    if os.geteuid() == 0:
        try:
            unmount(place)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise _busy(place) from error
            raise EcfsError(f"{place} cannot be unmounted: {error.strerror}") from error
        return
    result = subprocess.run(
        [HELPER, "-u", "--", place],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if result.returncode != 0:
        if "busy" in result.stderr:
            raise _busy(place)
        raise EcfsError(result.stderr.strip() or f"{HELPER} could not unmount {place}")


def _busy(place: str) -> InUseNow:
    users = holders(place)
    who = f" by {', '.join(users)}" if users else ""
    return InUseNow(f"{place} is in use{who}; close what is open there and try again")
