"""`ecfs sync`: what was written to a mounted pool is durable when it returns."""

import click

from ecfs.base.errors import UsageRefusal
from ecfs.cli.control_client import ask
from ecfs.cli.linux import write_pages
from ecfs.cli.outcome import print_json
from ecfs.cli.params import POOL, json_option
from ecfs.cli.pool import resolve
from ecfs.cli.tools import Tools
from ecfs.cli.whose import mounted_as


@click.command("sync")
@json_option
@click.argument("pool", type=POOL)
@click.pass_obj
def sync(tools: Tools, /, as_json: bool, pool: str) -> int:
    """Return when all that was written to POOL, which is mounted, is durable.

    The kernel does not tell a FUSE server of sync(1).
    """
    record = mounted_as(resolve(pool, tools.run), tools)
    if record is None:
        raise UsageRefusal(f"{pool} is not mounted")
    # What was written to mapped memory is still the kernel's.
    write_pages(record.mountpoint)
    report = ask(record, {"request": "sync"})
    if as_json:
        print_json(report)
    return 0
