import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecfs.base.errors import UsageRefusal
from ecfs.cli.text import format_duration, format_size, parse_size, plural, printable, typed


@pytest.mark.parametrize(
    ("text", "length"),
    [("0", 0), ("4096", 4096), ("64K", 65536), ("1m", 1 << 20), ("2GiB", 2 << 30), ("1T", 1 << 40)],
)
def test_sizes_are_read_in_powers_of_1024(text: str, length: int) -> None:
    assert parse_size(text) == length


@pytest.mark.parametrize("text", ["", "-1", "1.5G", "G", "1X", "1 0", "9" * 40, "٣K"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageRefusal, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (3 << 30, "3.0 GiB"),
        (1 << 50, "1.0 PiB"),
    ],
)
def test_sizes_are_written_with_a_unit(length: int, text: str) -> None:
    assert format_size(length) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.text())
def test_nothing_printable_commands_a_terminal(text: str) -> None:
    shown = printable(text)
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)


def test_ordinary_text_stays_as_it_is() -> None:
    assert printable("Füße \udcff") == "Füße \udcff"
    assert printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\x0a"


@pytest.mark.parametrize(
    "name", ["plain", "two words", "it's", "a\nb\\n'", "Füße", "\udcff \x1b", "-"]
)
def test_what_is_typed_names_the_same(name: str) -> None:
    shown = typed(name)
    assert printable(shown) == shown and "\udcff" not in shown
    done = subprocess.run(["bash", "-c", f"printf %s {shown}"], stdout=subprocess.PIPE, check=True)
    assert done.stdout == os.fsencode(name)


def test_plural() -> None:
    assert [plural(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
