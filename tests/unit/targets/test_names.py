import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecfs.base.errors import Bug
from ecfs.targets import check_name
from ecfs.targets.names import is_plain, is_temporary, split_name


@pytest.mark.parametrize("name", [
    "label.0000000a.00000001", "claim.1", "heartbeat.1", "commits.1",
    "segments/ab/00000001-00000000000000ab.col", "a", "-", "a" * 250])
def test_our_names(name: str) -> None:
    assert check_name(name) == name


@given(st.text())
def test_what_passes_stays_inside(name: str) -> None:
    try:
        check_name(name)
    except Bug:
        return
    for part in name.split("/"):
        assert part and not part.startswith(".") and len(part) <= 250
        assert set(part) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
        assert not is_temporary(part)


def test_parts() -> None:
    assert split_name("a") == ("", "a")
    assert split_name("segments/ab/c") == ("segments/ab", "c")
    assert is_plain("ab") and not is_plain("a/b") and not is_plain("..") and not is_plain("a\n")
    assert is_temporary(".tmp-label.1.1")
