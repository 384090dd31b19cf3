import io

from ecfs.cli.engine import Step
from ecfs.cli.progress import LineProgress, percent, shown


class StoppedClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_ns = 0

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


def test_lines_come_now_and_then_with_the_time_that_is_left() -> None:
    clock = StoppedClock()
    lines: list[str] = []
    take = LineProgress("scrub", lines.append, clock)
    take(Step(0, 1 << 30))
    for second in range(1, 31):
        clock.now_ns = second * 1_000_000_000
        take(Step(second << 20, 1 << 30, mended_count=second // 20, bad_count=second // 10))
    assert lines == [
        "scrub: 0% (0 B of 1.0 GiB)",
        "scrub: 0% (10.0 MiB of 1.0 GiB), 16 min 54 s left, 1 not mended",
        "scrub: 1% (20.0 MiB of 1.0 GiB), 16 min 44 s left, 1 mended, 1 not mended",
        "scrub: 2% (30.0 MiB of 1.0 GiB), 16 min 34 s left, 1 mended, 2 not mended",
    ]


def test_no_time_is_foretold_from_next_to_nothing() -> None:
    clock = StoppedClock()
    lines: list[str] = []
    take = LineProgress("salvage", lines.append, clock)
    for done_len in (2, 1 << 20):
        clock.now_ns += 11_000_000_000
        take(Step(done_len, 44 << 20))
    assert lines == ["salvage: 0% (2 B of 44.0 MiB)",
                     "salvage: 2% (1.0 MiB of 44.0 MiB), 15 min 46 s left"]


def test_percents_reach_100_only_at_the_end() -> None:
    assert [percent(Step(done, 1000)) for done in (0, 999, 1000, 1001)] == [0, 99, 100, 100]
    assert percent(Step(0, 0)) == 100


def test_without_a_terminal_plain_lines_are_written() -> None:
    stream = io.StringIO()
    with shown("rebuild", stream=stream) as take:
        take(Step(1, 2))
    assert stream.getvalue() == "rebuild: 50% (1 B of 2 B)\n"


def test_on_a_terminal_a_bar_is_drawn() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with shown("scrub", stream=stream) as take:
        take(Step(1 << 20, 2 << 20, mended_count=3))
        take(Step(2 << 20, 2 << 20, mended_count=4))
    assert "100%" in stream.getvalue()
    assert "4 mended" in stream.getvalue()
