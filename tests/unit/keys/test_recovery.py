"""The printed recovery key: round trips, tolerance, and which typos it names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecfs.base.errors import Bug, UsageRefusal
from ecfs.keys import parse_recovery_key, recovery, recovery_key_text

SECRETS = st.binary(min_size=32, max_size=32)
SECRET = bytes(range(100, 132))
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@given(SECRETS)
def test_round_trip(secret: bytes) -> None:
    text = recovery_key_text(secret)
    assert re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{5}-){13}[0-9A-HJKMNP-TV-Z]{5}", text)
    assert parse_recovery_key(text) == secret


def test_known_answers() -> None:
    """Pinned: people hold such sheets of paper."""
    assert recovery_key_text(bytes(32)).split("-")[:3] == ["00001", "00002", "00003"]
    assert recovery_key_text(SECRET) == (
        "CHJPH-CSV83-D5N6V-PV3DR-DSQQF-0WBJ3-EDT7V-AXKQS-F1WQT-MYVW5-FNZ7Q-Z0412-GA1G0-EADYE")


def test_tolerant_reading() -> None:
    text = recovery_key_text(SECRET)
    for written in (text.lower(), text.replace("-", ""), text.replace("-", " "),
                    text.replace("-", "\n"), f"  {text}\r\n", text.replace("-", " \u2013 "),
                    text.replace("0", "o").replace("1", "l"), text.replace("1", "I")):
        assert parse_recovery_key(written) == SECRET


def test_every_single_typo_is_named() -> None:
    text = recovery_key_text(SECRET)
    for at, right in enumerate(text):
        for wrong in ALPHABET + "U*\u00df":
            if right == "-" or wrong == right or len(wrong.upper()) != 1:
                continue
            typed = text[:at] + wrong + text[at + 1 :]
            with pytest.raises(UsageRefusal, match=rf"mistyped in group {at // 6 + 1}$"):
                parse_recovery_key(typed)


def test_swapped_neighbours_and_groups_are_named() -> None:
    text = recovery_key_text(SECRET)
    for at in range(len(text) - 1):
        one, two = text[at], text[at + 1]
        if one == two or "-" in (one, two):
            continue
        with pytest.raises(UsageRefusal, match=rf"group {at // 6 + 1}$"):
            parse_recovery_key(text[:at] + two + one + text[at + 2 :])
    groups = text.split("-")
    groups[3], groups[8] = groups[8], groups[3]
    with pytest.raises(UsageRefusal, match="groups 4, 9"):
        parse_recovery_key("-".join(groups))


def test_one_key_has_one_text() -> None:
    """The four bits that are left over must be zero, even under a check that fits them."""
    groups = recovery_key_text(SECRET).split("-")
    payload = recovery._number(groups[12])
    groups[12] = recovery._group(12, payload | 1)
    assert groups[12] != recovery._group(12, payload)
    with pytest.raises(UsageRefusal, match=r"group 13$"):
        parse_recovery_key("-".join(groups))


@given(SECRETS, SECRETS, st.integers(0, 13))
def test_groups_of_two_keys_do_not_mix(secret: bytes, other: bytes, place: int) -> None:
    groups = recovery_key_text(secret).split("-")
    foreign = recovery_key_text(other).split("-")[place]
    if groups[place] != foreign:
        groups[place] = foreign
        with pytest.raises(UsageRefusal, match="last group"):
            parse_recovery_key("-".join(groups))


def test_lengths() -> None:
    text = recovery_key_text(SECRET)
    with pytest.raises(UsageRefusal, match=r"69 characters instead of 70; look at group 3"):
        parse_recovery_key(text[:13] + text[14:])
    with pytest.raises(UsageRefusal, match=r"65 characters instead of 70$"):
        parse_recovery_key(text[:-6])
    with pytest.raises(UsageRefusal, match="0 characters"):
        parse_recovery_key(" - ")
    with pytest.raises(Bug):
        recovery_key_text(bytes(31))


def test_the_secret_is_not_in_the_message() -> None:
    text = recovery_key_text(SECRET)
    for typed in ("Z" + text[1:], text[:-1], text + "0"):
        with pytest.raises(UsageRefusal) as caught:
            parse_recovery_key(typed)
        assert not any(group in str(caught.value) for group in text.split("-"))


@given(st.text(max_size=90))
def test_any_text_is_answered(text: str) -> None:
    with pytest.raises(UsageRefusal):
        parse_recovery_key(text)
