"""`ecfs salvage`: files out of the log when the metadata is lost."""

import os
from pathlib import Path
from typing import Any

import click
import trio

from ecfs.base.errors import EcfsError, InUse, UsageRefusal
from ecfs.cli.engine import Engine, Key, StepTaker
from ecfs.cli.outcome import Json, print_json
from ecfs.cli.params import POOL, TARGET, json_option, log_file_option
from ecfs.cli.pool import check_apart, resolve
from ecfs.cli.progress import shown
from ecfs.cli.secret import SecretSource, recovery_option, secret_options
from ecfs.cli.text import format_size, plural, printable
from ecfs.cli.tools import Tools
from ecfs.cli.whose import mounted_as

INCOMPLETE_SHOWN_MAX = 20


@click.command("salvage")
@json_option
@secret_options
@recovery_option
@log_file_option
@click.argument("pool", type=POOL)
@click.argument("outdir", type=TARGET)
@click.pass_obj
def salvage(
    tools: Tools, /, as_json: bool, log_file: str | None, pool: str, outdir: str, **sources: Any
) -> int:
    """Copy what can be read of POOL's files into the empty directory OUTDIR, without metadata."""
    tools.log("ecfs salvage", log_file=log_file)
    source = SecretSource(**sources)
    spec = resolve(pool, tools.run)
    record = mounted_as(spec, tools)
    if record is not None:
        raise InUse(f"the pool is mounted at {record.mountpoint}; copy from there, or unmount it")
    check_apart(spec.paths, outdir, what="directory", advice="give another one, where no target is")
    out_dir = _empty_directory(outdir)
    key = Key(source.kind, source.read())
    with shown("salvage") as progress:
        report = trio.run(_salvaged, tools.engine, spec.paths, key, out_dir, progress)
    if as_json:
        print_json(report)
    else:
        for line in salvage_lines(report):
            click.echo(line)
    return 1 if report.get("incomplete") or report.get("lost_stripes") else 0


async def _salvaged(
    engine: Engine, paths: tuple[str, ...], key: Key, out_dir: Path, progress: StepTaker
) -> Json:
    return await engine.salvage(paths, key, out_dir, progress)


def _empty_directory(path: str) -> Path:
    """The directory, made if it is not there. Raises UsageRefusal if there is something in it,
    EcfsError where it cannot be had."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        with os.scandir(path) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        raise EcfsError(
            f"{path} cannot be used: {error.strerror}; give a directory that salvage can write to"
        ) from error
    if not empty:
        raise UsageRefusal(f"{path} is not empty; salvage writes into an empty directory")
    return Path(path).absolute()


def salvage_lines(report: Json) -> list[str]:
    """`ecfs.salvage/1` as text."""
    incomplete = report.get("incomplete", [])
    size = format_size(report.get("bytes_count", 0))
    lines = [f"salvaged {plural(report.get('files_count', 0), 'file')}, {size}"]
    if report.get("from_log"):
        lines.append(
            "the metadata could not be read everywhere: files were put together from the log"
        )
    if report.get("lost_stripes"):
        lines.append(f"{plural(report['lost_stripes'], 'stripe')} could not tell what they held")
    if incomplete:
        lines.append(f"{plural(len(incomplete), 'file')} incomplete:")
        lines += [f"  {printable(path)}" for path in incomplete[:INCOMPLETE_SHOWN_MAX]]
        if len(incomplete) > INCOMPLETE_SHOWN_MAX:
            lines.append(f"  and {len(incomplete) - INCOMPLETE_SHOWN_MAX} more; --json lists all")
    return lines
