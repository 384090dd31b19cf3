"""`ecfs scrub`: reads every shard of everything and mends what is bad."""

from typing import Any

import click
import trio

from ecfs.cli.control_client import ask
from ecfs.cli.engine import Engine, Key, StepTaker
from ecfs.cli.mountopts import MountWish
from ecfs.cli.outcome import Json, print_json
from ecfs.cli.params import POOL, anchor_dir_option, json_option, log_file_option
from ecfs.cli.pool import resolve
from ecfs.cli.progress import shown
from ecfs.cli.secret import SecretSource, recovery_option, secret_options
from ecfs.cli.text import format_size, plural, printable
from ecfs.cli.tools import Tools
from ecfs.cli.whose import mounted_as


@click.command("scrub")
@anchor_dir_option
@json_option
@secret_options
@recovery_option
@log_file_option
@click.argument("pool", type=POOL)
@click.pass_obj
def scrub(
    tools: Tools,
    /,
    anchor_dir: str | None,
    as_json: bool,
    log_file: str | None,
    pool: str,
    **sources: Any,
) -> int:
    """Read every shard of everything in POOL and mend what is bad, mounted or not."""
    tools.log("ecfs scrub", log_file=log_file)
    source = SecretSource(**sources)
    spec = resolve(pool, tools.run)
    record = mounted_as(spec, tools)
    if record is not None:
        with shown("scrub") as progress:
            report = ask(record, {"request": "scrub"}, progress)
    else:
        key, wish = Key(source.kind, source.read()), MountWish(anchor_dir=anchor_dir)
        with shown("scrub") as progress:
            report = trio.run(_scrubbed, tools.engine, spec.paths, key, wish, progress)
    if as_json:
        print_json(report)
    else:
        for line in scrub_lines(report):
            click.echo(line)
    return 0 if is_whole(report) else 1


async def _scrubbed(
    engine: Engine, paths: tuple[str, ...], key: Key, wish: MountWish, progress: StepTaker
) -> Json:
    async with engine.open(paths, key, wish) as pool:
        return await pool.scrub(progress)


def is_whole(report: Json) -> bool:
    """Whether everything is good now, or was mended."""
    return not report["unreadable_stripes"] and report["bad"] <= report["mended"]


def scrub_lines(report: Json) -> list[str]:
    """`ecfs.scrub/1` as text."""
    lines = [
        f"scrubbed {format_size(report['checked_bytes'])} in "
        f"{plural(report['segments'], 'segment')}: {report['bad']} bad, {report['mended']} mended"
    ]
    if report["unreadable_stripes"]:
        count = plural(report["unreadable_stripes"], "stripe")
        lines.append(f"{count} cannot be read: more shards are gone than parity can replace")
    lines += [f"  damaged: {printable(path)}" for path in report["damaged_paths"]]
    if report.get("not_read"):
        names = ", ".join(map(printable, report["not_read"]))
        lines.append(f"not there, so neither read nor mended: {names}; see ecfs status")
    return lines
