"""`ecfs status`: how a pool is."""

from typing import Any

import click
import trio

from ecfs.cli.control_client import status_of
from ecfs.cli.engine import Engine, Key
from ecfs.cli.mountopts import MountWish
from ecfs.cli.outcome import Json, print_json
from ecfs.cli.params import POOL, anchor_dir_option, json_option, log_file_option
from ecfs.cli.pool import resolve
from ecfs.cli.secret import SecretSource, recovery_option, secret_options
from ecfs.cli.text import format_size, plural, printable
from ecfs.cli.tools import Tools
from ecfs.cli.whose import mounted_as

PATHS_SHOWN_MAX = 20


@click.command("status")
@anchor_dir_option
@json_option
@secret_options
@recovery_option
@log_file_option
@click.argument("pool", type=POOL)
@click.pass_obj
def status(
    tools: Tools,
    /,
    anchor_dir: str | None,
    as_json: bool,
    log_file: str | None,
    pool: str,
    **sources: Any,
) -> int:
    """Show the state of POOL and of its targets.

    A mounted pool is asked itself. Otherwise, without a key, this is what the labels claim.
    """
    tools.log("ecfs status", log_file=log_file)
    source = SecretSource(**sources)
    spec = resolve(pool, tools.run)
    record = mounted_as(spec, tools)
    if record is not None:
        report = status_of(record)
    elif source.is_given:
        key = Key(source.kind, source.read())
        report = trio.run(_opened, tools.engine, spec.paths, key, anchor_dir)
    else:
        report = trio.run(tools.engine.peek, spec.paths)
    if as_json:
        print_json(report)
    else:
        for line in status_lines(report):
            click.echo(line)
    return 0


async def _opened(
    engine: Engine, paths: tuple[str, ...], key: Key, anchor_dir: str | None
) -> Json:
    wish = MountWish(read_only=True, anchor_dir=anchor_dir)
    async with engine.open(paths, key, wish) as pool:
        return pool.status()


def status_lines(report: Json) -> list[str]:
    """`ecfs.status/1` as text."""
    geometry = report.get("geometry") or {}
    lines = [
        f"pool       {report['pool_id']}",
        f"state      {report['state'].replace('_', ' ')}",
        f"freshness  {report['freshness'].replace('_', ' ')}",
        f"geometry   {geometry.get('data')}+{geometry.get('parity')}",
        f"epoch      {report['epoch']}, commit {report['commit']}",
    ]
    if "transport" in report:
        lines.append(f"transport  {report['transport']}")
    if not report.get("authenticated", True):
        lines.append("This is what the labels claim; without the key nothing of it is proven.")
    audit = report.get("audit")
    if audit:
        match = audit["match"].replace("_", " ")
        lines.append(f"audit log  {plural(audit['count'], 'line')}, {match}")
    lines.append("")
    lines += _table([_target_row(target) for target in report["targets"]])
    damaged = report.get("damaged_paths", [])
    if damaged:
        lines += ["", f"{plural(len(damaged), 'damaged file')}:"]
        lines += [f"  {printable(path)}" for path in damaged[:PATHS_SHOWN_MAX]]
        if len(damaged) > PATHS_SHOWN_MAX:
            lines.append(f"  and {len(damaged) - PATHS_SHOWN_MAX} more; --json lists them all")
    if report.get("advice"):
        lines += ["", *(printable(advice) for advice in report["advice"])]
    return lines


_HEAD = ["TARGET", "STATE", "IO", "TAG", "LABEL", "MISSED", "SIZE", "FREE", "PATH"]


def _target_row(target: Json) -> list[str]:
    errors = target.get("errors") or {}
    # Labels alone do not tell, nor does who is away.
    size, free = target.get("size_bytes") or None, target.get("free_bytes")
    lengths = [target.get("missed_bytes"), size, None if size is None else free]
    return [
        printable(str(target.get("name") or target["id"])),
        str(target["state"]),
        *(str(errors.get(kind, 0)) for kind in ("io", "tag", "label")),
        *("-" if length is None else format_size(length) for length in lengths),
        printable(target.get("path") or "-"),
    ]


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in [_HEAD, *rows]) for column in range(len(_HEAD))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [_HEAD, *rows]
    ]
