"""`ecfs fsck`: checks a pool that is not mounted; the exit status is that of fsck(8)."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click
import trio

from ecfs.base.errors import InUse, UsageRefusal
from ecfs.cli.engine import Engine, FsckDepth, Key
from ecfs.cli.mountopts import MountWish
from ecfs.cli.outcome import Json, print_json
from ecfs.cli.params import POOL, anchor_dir_option, json_option, log_file_option
from ecfs.cli.pool import resolve
from ecfs.cli.secret import SecretSource, recovery_option, secret_options
from ecfs.cli.text import plural, printable
from ecfs.cli.tools import Tools
from ecfs.cli.whose import mounted_as


@dataclass(frozen=True)
class FsckOrder:
    """A check as it was asked for. Without a depth, a terminal is asked and a script only looks."""

    pool: str
    source: SecretSource
    depth: FsckDepth | None
    force: bool
    as_json: bool = False
    wish: MountWish = field(default_factory=MountWish)


@click.command("fsck")
@click.option("-n", "look", is_flag=True, help="Only look; the default without a terminal.")
@click.option("-p", "-a", "safe", is_flag=True, help="Make safe repairs without asking.")
@click.option("-y", "yes", is_flag=True, help="Make all repairs, also those that give data up.")
@click.option("-f", "force", is_flag=True, help="Check everything, even when marked clean.")
@click.option(
    "--accept-rollback", is_flag=True, help="Check it though it is older than what was seen here."
)
@anchor_dir_option
@json_option
@secret_options
@recovery_option
@log_file_option
@click.argument("pool", type=POOL)
@click.pass_obj
def fsck(
    tools: Tools,
    /,
    look: bool,
    safe: bool,
    yes: bool,
    force: bool,
    accept_rollback: bool,
    anchor_dir: str | None,
    as_json: bool,
    log_file: str | None,
    pool: str,
    **sources: Any,
) -> int:
    """Check POOL, which must not be mounted; the exit status has the bits of fsck(8)."""
    tools.log("ecfs fsck", log_file=log_file)
    order = FsckOrder(
        pool=pool,
        source=SecretSource(**sources),
        depth=depth_of(look=look, safe=safe, yes=yes),
        force=force,
        as_json=as_json,
        wish=MountWish(accept_rollback=accept_rollback, anchor_dir=anchor_dir),
    )
    return perform(tools, order)


def depth_of(*, look: bool, safe: bool, yes: bool) -> FsckDepth | None:
    """How deep the flags let fsck go. Raises UsageRefusal if they contradict each other."""
    chosen: list[FsckDepth] = []
    if look:
        chosen.append("look")
    if safe:
        chosen.append("safe")
    if yes:
        chosen.append("yes")
    if len(chosen) > 1:
        raise UsageRefusal("give one of -n, -p (or -a) and -y")
    return chosen[0] if chosen else None


def perform(tools: Tools, order: FsckOrder, answer: Callable[[], str] | None = None) -> int:
    """Checks; returns the bits of fsck(8). Raises InUse for a mounted pool.

    `answer` asks the user what to do about findings; by default it does so on a terminal, if there
    is one on both sides.
    """
    spec = resolve(order.pool, tools.run)
    record = mounted_as(spec, tools)
    if record is not None:
        raise InUse(f"the pool is mounted at {record.mountpoint}; unmount it to check it")
    key = Key(order.source.kind, order.source.read())

    def checked(depth: FsckDepth) -> Json:
        report = trio.run(_checked, tools.engine, spec.paths, key, depth, order)
        if order.as_json:
            print_json(report)
        else:
            for line in fsck_lines(report):
                click.echo(line)
        return report

    report = checked(order.depth or "look")
    if order.depth is None and not order.as_json and _is_open(report):
        depth = _asked_depth(answer)
        if depth is not None:
            report = checked(depth)
    return int(report["exit_bits"])


def _is_open(report: Json) -> bool:
    return any(_is_left(finding) for finding in report["findings"])


def _asked_depth(answer: Callable[[], str] | None) -> FsckDepth | None:
    if answer is None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return None
        answer = _ask
    choices: dict[str, FsckDepth] = {"s": "safe", "y": "yes"}
    return choices.get(answer().strip().lower()[:1])


def _ask() -> str:
    question = "Repair? s: what is safe, y: also what gives data up, n: nothing [n]"
    text: str = click.prompt(question, default="n", show_default=False)
    return text


async def _checked(
    engine: Engine, paths: tuple[str, ...], key: Key, depth: FsckDepth, order: FsckOrder
) -> Json:
    return await engine.check(paths, key, order.wish, depth=depth, force=order.force)


def fsck_lines(report: Json) -> list[str]:
    """`ecfs.fsck/1` as text."""
    lines = []
    for finding in report["findings"]:
        path = finding.get("path")
        where = f" {printable(path)}:" if path else ""
        lines.append(f"{finding['id']}:{where} {printable(finding['description'])}{_mark(finding)}")
    open_count = sum(_is_left(finding) for finding in report["findings"])
    if open_count:
        lines.append(f"{plural(open_count, 'finding')} not repaired")
    elif any(finding["repaired"] for finding in report["findings"]):
        lines.append("all findings are repaired")
    else:
        lines.append("clean" if report.get("full", True) else "clean, by a quick look (-f for all)")
    return lines


def _mark(finding: Json) -> str:
    if finding["repaired"]:
        return " (repaired)"
    if finding.get("harmless"):
        return " (harmless)"
    return " (a repair gives something up)" if finding.get("gives_up") else ""


def _is_left(finding: Json) -> bool:
    """Whether a finding is an error that is still there."""
    return not (finding["repaired"] or finding.get("harmless"))
