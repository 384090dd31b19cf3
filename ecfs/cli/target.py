"""`ecfs target`: what is done to one target of a pool."""

import os
from typing import Any

import click
import trio

from ecfs.base.paths import real_path
from ecfs.cli.control_client import ask, status_of
from ecfs.cli.engine import Engine, Key, StepTaker
from ecfs.cli.mountopts import MountWish
from ecfs.cli.outcome import Json, print_json
from ecfs.cli.params import POOL, TARGET, anchor_dir_option, json_option, log_file_option
from ecfs.cli.pool import check_apart, resolve
from ecfs.cli.progress import shown
from ecfs.cli.secret import SecretSource, recovery_option, secret_options
from ecfs.cli.text import plural, printable
from ecfs.cli.tools import Tools
from ecfs.cli.whose import mounted_as


@click.group("target")
def target() -> None:
    """Do something to one target of a pool."""


@target.command("replace")
@anchor_dir_option
@json_option
@secret_options
@recovery_option
@log_file_option
@click.argument("pool", type=POOL)
@click.argument("old", type=TARGET)
@click.argument("new", type=TARGET)
@click.pass_obj
def replace(
    tools: Tools,
    /,
    anchor_dir: str | None,
    as_json: bool,
    log_file: str | None,
    pool: str,
    old: str,
    new: str,
    **sources: Any,
) -> int:
    """Rebuild the lost target OLD of POOL (its name, id or path) in the empty directory NEW.

    NEW may be OLD's own path.
    """
    tools.log("ecfs target replace", log_file=log_file)
    source = SecretSource(**sources)
    spec = resolve(pool, tools.run)
    record = mounted_as(spec, tools)
    lost = os.path.abspath(old) if os.sep in old else old
    if record is not None and os.sep not in old and _is_path(old, status_of(record)):
        # Of where the command is typed, and not of the process that serves.
        lost = os.path.abspath(old)
    place = os.path.abspath(new)
    if record is not None:
        check_apart([place], record.mountpoint)
        with shown("rebuild") as progress:
            report = ask(record, {"request": "replace", "old": lost, "new": place}, progress)
    else:
        key, wish = Key(source.kind, source.read()), MountWish(anchor_dir=anchor_dir)
        with shown("rebuild") as progress:
            report = trio.run(
                _replaced, tools.engine, spec.paths, key, wish, lost, place, progress
            )
    if as_json:
        print_json(report)
    else:
        for line in rebuild_lines(report):
            click.echo(line)
    return 0 if report["complete"] else 1


def _is_path(old: str, status: Json) -> bool:
    """Whether a word is a target's path, and no target's name."""
    targets = status["targets"]
    if any(target["name"] == old for target in targets):
        return False
    return real_path(old) in {real_path(target["path"]) for target in targets if target["path"]}


async def _replaced(
    engine: Engine,
    paths: tuple[str, ...],
    key: Key,
    wish: MountWish,
    old: str,
    new_path: str,
    progress: StepTaker,
) -> Json:
    async with engine.open(paths, key, wish) as pool:
        return await pool.replace(old, new_path, progress)


def rebuild_lines(report: Json) -> list[str]:
    """`ecfs.rebuild/1` as text."""
    lines = [f"rebuilt {plural(report['shards'], 'shard')} in {printable(report['path'])}"]
    if report["complete"] and not report["shards"] and not report.get("began", True):
        lines = [f"the rebuild in {printable(report['path'])} was complete already"]
    if not report["complete"]:
        lines.append("not everything could be rebuilt; see ecfs status")
    return lines
