"""`ecfs sync`: what was written to a mounted pool is durable when it returns."""

import os

import click

from ecfs.base.errors import UsageRefusal
from ecfs.cli.control_client import ask
from ecfs.cli.linux import write_pages
from ecfs.cli.outcome import print_json
from ecfs.cli.params import json_option
from ecfs.cli.tools import Tools


@click.command("sync")
@json_option
@click.argument("mountpoint", type=click.Path())
@click.pass_obj
def sync(tools: Tools, /, as_json: bool, mountpoint: str) -> int:
    """Return when all that was written to the pool at MOUNTPOINT is durable.

    The kernel does not tell a FUSE server of sync(1).
    """
    place = os.path.realpath(mountpoint)
    record = tools.run.at_mountpoint(place)
    if record is None or not record.is_alive:
        raise UsageRefusal(f"{mountpoint}: no pool is mounted there")
    # What was written to mapped memory is still the kernel's.
    write_pages(place)
    report = ask(record, {"request": "sync"})
    if as_json:
        print_json(report)
    return 0
