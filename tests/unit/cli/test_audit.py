"""`ecfs audit`: lines, the chain, the pool's word, exit codes."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ecfs.base.errors import UsageRefusal
from ecfs.cli.audit import BREAK, audit_lines, since_time
from ecfs.cli.main import run_command
from ecfs.cli.tools import Tools
from ecfs.observe import AuditLog, Event, EventKind
from tests.unit.cli.fakes import POOL_ID, FakeEngine, status_report
from tests.unit.observe.test_audit import WALL_NS

Capture = pytest.CaptureFixture[str]
Targets = tuple[str, str]
NOW_NS = 1_764_028_800 * 10**9


class StepClock:
    """A minute later at each look."""

    def __init__(self) -> None:
        self.now_ns = WALL_NS

    def wall_ns(self) -> int:
        self.now_ns += 60 * 10**9
        return self.now_ns

    def monotonic_ns(self) -> int:
        return 0


@pytest.fixture
def path(tools: Tools) -> Path:
    """A log of five lines: two about the pool, two about none, one about another."""
    tools.state_dir.mkdir()
    path = tools.state_dir / "audit.jsonl"
    log = AuditLog(str(path), StepClock())
    for number, pool in enumerate([None, bytes.fromhex(POOL_ID), b"x" * 16, None,
                                   bytes.fromhex(POOL_ID)]):
        log.append(Event(EventKind.SHARD_BAD, f"line\x1b {number}", expected="a", got="b"),
                   left_out_count=number // 4, pool=pool)
    log.close()
    return path


def run(tools: Tools, *arguments: str) -> int:
    return run_command("ecfs", ["audit", *arguments], tools)


def report(tools: Tools, capsys: Capture, *arguments: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert run(tools, "--json", *arguments) == code
    return json.loads(capsys.readouterr().out)


def test_lines_are_shown_and_the_chain_is_checked(
        tools: Tools, path: Path, capsys: Capture) -> None:
    assert run(tools) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 6
    assert out[0].split()[:4] == ["1", "2023-11-14T22:14:20.123456Z", "warning", "shard-bad:"]
    assert "expected a, got b" in out[0] and "\x1b" not in "".join(out)
    assert "1 more of this kind" in out[4]
    assert "5 lines, chain whole, head" in out[5]
    assert run(tools, "--verify") == 0
    assert capsys.readouterr().out.splitlines() == out[5:]


def test_the_report_in_json(tools: Tools, path: Path, capsys: Capture) -> None:
    told = report(tools, capsys)
    assert next(iter(told)) == "schema" and told["schema"] == "ecfs.audit/1"
    assert (told["first"], told["count"], told["chain"], told["pool"]) == (1, 5, "whole", None)
    assert [line["seq"] for line in told["lines"]] == [1, 2, 3, 4, 5]
    assert told["lines"][0]["severity"] == "warning"
    assert len(told["head"]) == 64 and len(told["log"]) == 32
    assert "lines" not in report(tools, capsys, "--verify")


def test_only_lines_since_a_time_are_shown_but_all_are_checked(
        tools: Tools, path: Path, capsys: Capture) -> None:
    told = report(tools, capsys, "--since", "2023-11-14T22:17:00")
    assert [line["seq"] for line in told["lines"]] == [4, 5]
    assert report(tools, capsys, "--since", "1m")["lines"] == []
    path.write_bytes(path.read_bytes().replace(b"line\\u001b 1", b"line\\u001b 7"))
    assert report(tools, capsys, "--since", "1m", code=1)["chain"] == "broken"


def test_a_broken_chain_is_an_error_and_is_marked_where_it_breaks(
        tools: Tools, path: Path, capsys: Capture) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert run(tools) == 1
    out = capsys.readouterr().out.splitlines()
    assert "after number 2" in out[-1] and "see ecfs-audit(1)" in out[-1]
    assert out[2] == BREAK
    assert [line.split()[0] for line in out[:-1]] == ["1", "2", "----", "4", "5"]
    told = report(tools, capsys, code=1)
    assert [line["broken_before"] for line in told["lines"]] == [False, False, True, False]
    assert (told["first"], told["count"]) == (1, 5)
    later = report(tools, capsys, "--since", "2023-11-14T22:18:00", code=1)
    assert [line["seq"] for line in later["lines"]] == [4, 5]


def test_a_log_whose_beginning_is_gone_shows_what_is_left(
        tools: Tools, path: Path, capsys: Capture) -> None:
    """The state directory was removed while a pool was mounted, which went on writing."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[3:]))
    for _ in range(2):
        log = AuditLog(str(path), StepClock())
        log.append(Event(EventKind.CLAIMED, "later"))
        log.close()
    told = report(tools, capsys, code=1)
    assert [line["seq"] for line in told["lines"]] == [4, 5, 6, 7]
    assert [line["broken_before"] for line in told["lines"]] == [True, False, False, False]
    assert (told["chain"], told["first"], told["count"]) == ("broken", 4, 7)


def test_what_never_was_a_line_of_ours_is_shown_as_it_is(
        tools: Tools, path: Path, capsys: Capture) -> None:
    with path.open("ab") as file:
        file.write(b'{"seq": null, "kind": ["x"], "time": 7}\n{}\n')
    assert run(tools) == 1
    out = capsys.readouterr().out.splitlines()
    assert out.count(BREAK) == 2 and "None" in out[-2]


def test_no_log_yet_is_no_error(tools: Tools, capsys: Capture) -> None:
    assert run(tools) == 0
    assert "no audit log yet" in capsys.readouterr().out
    tools.state_dir.mkdir()
    assert report(tools, capsys)["count"] == 0


def test_a_log_that_is_no_file_is_an_error_with_an_id(
        tools: Tools, path: Path, capsys: Capture) -> None:
    path.unlink()
    path.mkdir()
    assert run(tools) == 1
    assert capsys.readouterr().err.rstrip().endswith("[E-AUDIT]")


def test_with_a_pool_its_lines_and_its_word(
        tools: Tools, engine: FakeEngine, path: Path, targets: Targets, passfile: str,
        capsys: Capture) -> None:
    told = report(tools, capsys, "--passfile", passfile, targets[0])
    assert engine.asked[0][3].read_only
    assert [line["seq"] for line in told["lines"]] == [1, 2, 4, 5]
    assert (told["pool"]["pool_id"], told["pool"]["match"]) == (POOL_ID, "matches")
    assert told["pool"]["pool"]["host"] == "here/0123"
    assert run(tools, "--passfile", passfile, targets[0]) == 0
    assert "contains the line" in capsys.readouterr().out


@pytest.mark.parametrize(("match", "code"), [
    ("matches", 0), ("missing", 1), ("other_log", 1), ("other_client", 0), ("not_recorded", 0),
    ("not_kept", 1)])
def test_what_is_missing_from_the_log_is_an_error(
        tools: Tools, engine: FakeEngine, path: Path, targets: Targets, passfile: str, match: str,
        code: int, capsys: Capture) -> None:
    engine.changes = {"audit": status_report(targets)["audit"] | {"match": match, "text": "told"}}
    assert run(tools, "--verify", "--passfile", passfile, targets[0]) == code
    out = capsys.readouterr().out
    assert ("ALARM: told" in out) == (match in ("missing", "other_log"))


def test_refusals_of_the_pool_have_their_codes(
        tools: Tools, path: Path, targets: Targets, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong\n")
    assert run(tools, "--passfile", str(tmp_path / "wrong"), targets[0]) == 10
    assert run(tools, "--passfile", str(tmp_path / "wrong"), str(tmp_path / "t*x")) == 11


def test_times(tools: Tools) -> None:
    now = datetime.fromtimestamp(NOW_NS / 1e9, UTC)
    assert (now - since_time("2h", NOW_NS)).total_seconds() == 7200
    assert (now - since_time(" 3w ", NOW_NS)).days == 21
    assert since_time("2026-11-25", NOW_NS) == datetime(2026, 11, 25, tzinfo=UTC)
    assert since_time("2026-11-25T10:00+02:00", NOW_NS) == datetime(2026, 11, 25, 8, tzinfo=UTC)
    for bad in ("", "yesterday", "2x", "-3d", "999999w", "9999999s"):
        with pytest.raises(UsageRefusal):
            since_time(bad, NOW_NS)
    assert run(tools, "--since", "yesterday") == 2


def test_a_log_whose_beginning_was_put_aside_says_from_where_on() -> None:
    told = {"path": "/x", "chain": "whole", "count": 900, "first": 300, "head": "a" * 64,
            "pool": None, "lines": [], "lines_left_out": 7}
    assert audit_lines(told) == [f"/x: 900 lines from number 300 on, chain whole, head {'a' * 16}"]
