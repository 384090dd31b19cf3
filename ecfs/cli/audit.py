"""`ecfs audit`: what this machine's audit log says, and whether it is whole."""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import trio

from ecfs.base.errors import Damage, UsageRefusal
from ecfs.base.limits import AUDIT_LINES_SHOWN_MAX
from ecfs.base.world import SystemClock
from ecfs.cli.control_client import status_of
from ecfs.cli.engine import Engine, Key
from ecfs.cli.mountopts import MountWish
from ecfs.cli.outcome import Json, print_json
from ecfs.cli.params import POOL, anchor_dir_option, json_option, log_file_option
from ecfs.cli.pool import resolve
from ecfs.cli.secret import SecretSource, recovery_option, secret_options
from ecfs.cli.text import plural, printable
from ecfs.cli.tools import Tools
from ecfs.cli.whose import mounted_as
from ecfs.observe import AUDIT_LOG_NAME, SEVERITIES, AuditLine, walk

SCHEMA = "ecfs.audit/1"
ALARMING_MATCHES = ("missing", "other_log")
UNPROVEN_MATCHES = (*ALARMING_MATCHES, "not_kept")
_SHOWN = ("seq", "time", "pool", "kind", "message", "target", "segment", "offset", "expected",
          "got")  # fmt: skip
BREAK = (
    "  ---- the chain breaks here: the line above may have been changed, lines between may be "
    "missing ----"
)
_AGO = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SEVERITY_OF = {str(kind): str(severity) for kind, severity in SEVERITIES.items()}


@dataclass(slots=True)
class LogRead:
    """What a walk along the chain came to. `first` and `count` are the numbers of the oldest and
    the newest line; `broken` says where the chain breaks, empty when it does not."""

    log: str = ""
    first: int = 0
    count: int = 0
    head: str = ""
    broken: str = ""
    left_out_count: int = 0
    lines: deque[Json] = field(default_factory=lambda: deque(maxlen=AUDIT_LINES_SHOWN_MAX))


@click.command("audit")
@click.option("--verify", is_flag=True, help="Only check the chain; show no lines.")
@click.option("--since", metavar="TIME", help="Show lines from TIME on: 2h, 7d, 2026-11-25T10:00.")
@anchor_dir_option
@json_option
@secret_options
@recovery_option
@log_file_option
@click.argument("pool", type=POOL, required=False)
@click.pass_obj
def audit(
    tools: Tools,
    /,
    verify: bool,
    since: str | None,
    anchor_dir: str | None,
    as_json: bool,
    log_file: str | None,
    pool: str | None,
    **sources: Any,
) -> int:
    """Show this machine's audit log and check that nothing was taken out of it.

    With POOL, the lines about that pool, and whether the log contains the line that the newest
    commit of the pool names: so a log that was cut or rewritten is noticed.
    """
    tools.log("ecfs audit", log_file=log_file)
    begin = None if since is None else since_time(since, SystemClock().wall_ns())
    source = SecretSource(**sources)
    status = None if pool is None else _status(tools, pool, source, anchor_dir)
    wanted = _chosen(begin, None if status is None else status["pool_id"])
    read = read_log(tools.state_dir / AUDIT_LOG_NAME, wanted)
    report = report_of(tools.state_dir / AUDIT_LOG_NAME, read, status)
    if verify:
        del report["lines"]
    if as_json:
        print_json(report)
    else:
        for line in audit_lines(report):
            click.echo(line)
    return 0 if is_whole(report) else 1


def _status(tools: Tools, pool: str, source: SecretSource, anchor_dir: str | None) -> Json:
    spec = resolve(pool, tools.run)
    record = mounted_as(spec, tools)
    if record is not None:
        return status_of(record)
    key = Key(source.kind, source.read())
    return trio.run(_opened, tools.engine, spec.paths, key, anchor_dir)


async def _opened(
    engine: Engine, paths: tuple[str, ...], key: Key, anchor_dir: str | None
) -> Json:
    wish = MountWish(read_only=True, anchor_dir=anchor_dir)
    async with engine.open(paths, key, wish) as pool:
        return pool.status()


def since_time(text: str, now_ns: int) -> datetime:
    """The time that `--since` means: some seconds, minutes, hours, days, weeks ago, or a date or
    time of ISO 8601, in UTC unless it names a zone. UsageRefusal."""
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            now = datetime.fromtimestamp(now_ns / 1e9, UTC)
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise UsageRefusal(
            f"--since {text}: give an age such as 2h or 7d, or a time such as 2026-11-25T10:00"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _chosen(begin: datetime | None, pool_id: str | None) -> Callable[[Json], bool]:
    def chosen(record: Json) -> bool:
        if pool_id is not None and record.get("pool") not in (None, pool_id):
            return False
        return begin is None or _time_of(record) >= begin

    return chosen


def _time_of(record: Json) -> datetime:
    try:
        return datetime.fromisoformat(str(record.get("time")))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def read_log(path: Path, chosen: Callable[[Json], bool]) -> LogRead:
    """Walks along the whole chain and keeps the newest of the chosen lines, also those from a
    break on. A log that is not there is an empty one. Raises AuditError when a file cannot be read.
    """
    read = LogRead()
    if not path.parent.is_dir() or not any(path.parent.glob(path.name + "*")):
        return read

    def note_break(damage: Damage) -> None:
        read.broken = read.broken or str(damage)

    for line in walk(str(path), note_break):
        read.first = read.first or line.seq
        read.log, read.count, read.head = line.log, line.seq, line.hash
        # Where it breaks is always shown: it says why the rest may not be believed.
        if chosen(line.record) or line.broken_before:
            read.left_out_count += len(read.lines) == AUDIT_LINES_SHOWN_MAX
            read.lines.append(_shown(line))
    return read


def _shown(line: AuditLine) -> Json:
    kind = str(line.record.get("kind"))
    shown = {name: line.record.get(name) for name in _SHOWN}
    more = {"left_out": line.record.get("left_out", 0), "torn_before": "torn" in line.record,
            "broken_before": line.broken_before}
    return {**shown, "severity": _SEVERITY_OF.get(kind, "unknown"), **more}


def report_of(path: Path, read: LogRead, status: Json | None) -> Json:
    """`ecfs.audit/1`."""
    evidence = None if status is None else {"pool_id": status["pool_id"], **status["audit"]}
    return {
        "schema": SCHEMA,
        "path": str(path),
        "log": read.log or None,
        "first": read.first,
        "count": read.count,
        "head": read.head or None,
        "chain": "broken" if read.broken else "whole",
        "broken": read.broken or None,
        "pool": evidence,
        "lines_left_out": read.left_out_count,
        "lines": list(read.lines),
    }


def is_whole(report: Json) -> bool:
    """Whether the chain holds and, where a pool was asked, fits what the pool says of it."""
    evidence = report["pool"]
    fits = evidence is None or evidence["match"] not in UNPROVEN_MATCHES
    return report["chain"] == "whole" and fits


def audit_lines(report: Json) -> list[str]:
    """`ecfs.audit/1` as text."""
    lines = []
    if report.get("lines") and report["lines_left_out"]:
        lines.append(f"({plural(report['lines_left_out'], 'older line')} left out)")
    for shown in report.get("lines", []):
        if shown["broken_before"]:
            lines.append(BREAK)
        lines.append(_line(shown))
    path = printable(report["path"])
    if report["chain"] == "broken":
        lines.append(f"the chain is broken: {printable(report['broken'])}; see ecfs-audit(1)")
    elif not report["count"]:
        lines.append(f"no audit log yet in {path}")
    else:
        kept = f" from number {report['first']} on" if report["first"] > 1 else ""
        lines.append(
            f"{path}: {plural(report['count'], 'line')}{kept}, chain whole, "
            f"head {report['head'][:16]}"
        )
    evidence = report["pool"]
    if evidence is not None:
        sign = "ALARM: " if evidence["match"] in ALARMING_MATCHES else ""
        lines.append(f"pool {evidence['pool_id']}: {sign}{printable(evidence['text'])}")
    return lines


def _line(shown: Json) -> str:
    told = f"{shown['time']} {shown['severity']:<7} {shown['kind']}: {shown['message']}"
    if shown["expected"] or shown["got"]:
        told += f" (expected {shown['expected'] or '-'}, got {shown['got'] or '-'})"
    if shown["left_out"]:
        told += f" ({shown['left_out']} more of this kind before)"
    if shown["torn_before"]:
        told += " (after a line that a crash tore)"
    return f"{printable(str(shown['seq'])):>6} {printable(told)}"
