"""The recovery key as text to be printed: 14 groups of five characters.

The alphabet is Crockford's base32 (no I, L, O, U; read back, I and L are 1 and O is 0). Groups 1
to 13 hold four characters each of the 256 bits, most significant first, with four zero bits at the
end; group 14 holds the first 20 bits of the key's BLAKE3. The fifth character of each group is
its own check: the sum in GF(2^5) of alpha^(i+1) times character i, plus the number of the group.
It finds every single wrong character and every swap of two unlike neighbours, and names the group.
"""

import hmac
import re

from blake3 import blake3

from ecfs.base.errors import Bug, UsageRefusal

SECRET_LEN = 32
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = {**{letter: value for value, letter in enumerate(_ALPHABET)}, "O": 0, "I": 1, "L": 1}
_GROUP_LEN = 5
_PAYLOAD_LEN = _GROUP_LEN - 1
_GROUPS_COUNT = 14
_GROUP_BITS = 5 * _PAYLOAD_LEN
_SPARE_BITS = (_GROUPS_COUNT - 1) * _GROUP_BITS - 8 * SECRET_LEN
_POLYNOMIAL = 0b100101


def recovery_key_text(secret: bytes) -> str:
    """The 32 bytes of `secret` as 14 groups joined by dashes."""
    if len(secret) != SECRET_LEN:
        raise Bug(f"a recovery key of {len(secret)} bytes")
    number = int.from_bytes(secret, "big") << _SPARE_BITS
    shifts = range((_GROUPS_COUNT - 2) * _GROUP_BITS, -1, -_GROUP_BITS)
    payloads = [number >> shift & (1 << _GROUP_BITS) - 1 for shift in shifts]
    return "-".join(_group(place, payload)
                    for place, payload in enumerate([*payloads, _checksum(secret)]))


def parse_recovery_key(text: str) -> bytes:
    """The 32 bytes back, whatever case, spaces or dashes; UsageRefusal names a mistyped group."""
    words = [word for word in re.split(r"[\s\-_.\u2010-\u2015]+", text.upper()) if word]
    letters = "".join(words)
    if len(letters) != _GROUPS_COUNT * _GROUP_LEN:
        raise UsageRefusal(_length_complaint(words, len(letters)))
    groups = [letters[at : at + _GROUP_LEN] for at in range(0, len(letters), _GROUP_LEN)]
    wrong = [place for place, group in enumerate(groups) if not _plausible(place, group)]
    if wrong:
        raise UsageRefusal(f"the recovery key is mistyped in {_places(wrong)}")
    number = 0
    for group in groups[:-1]:
        number = number << _GROUP_BITS | _number(group)
    spare = number & (1 << _SPARE_BITS) - 1
    if spare:
        raise UsageRefusal(f"the recovery key is mistyped in {_places([_GROUPS_COUNT - 2])}")
    secret = (number >> _SPARE_BITS).to_bytes(SECRET_LEN, "big")
    claimed = _number(groups[-1]).to_bytes(3, "big")
    if not hmac.compare_digest(claimed, _checksum(secret).to_bytes(3, "big")):
        raise UsageRefusal("the recovery key does not match its last group: more than one "
                           "character is mistyped, compare every group")
    return secret


def _group(place: int, payload: int) -> str:
    values = [payload >> shift & 31 for shift in range(_GROUP_BITS - 5, -1, -5)]
    return "".join(_ALPHABET[value] for value in (*values, _check(place, values)))


def _check(place: int, values: list[int]) -> int:
    total = place + 1
    for i, value in enumerate(values):
        for _ in range(i + 1):
            value <<= 1
            if value & 32:
                value ^= _POLYNOMIAL
        total ^= value
    return total


def _plausible(place: int, group: str) -> bool:
    if any(letter not in _READ_AS for letter in group):
        return False
    values = [_READ_AS[letter] for letter in group]
    return _check(place, values[:_PAYLOAD_LEN]) == values[_PAYLOAD_LEN]


def _number(group: str) -> int:
    number = 0
    for letter in group[:_PAYLOAD_LEN]:
        number = number << 5 | _READ_AS[letter]
    return number


def _checksum(secret: bytes) -> int:
    return int.from_bytes(blake3(secret).digest()[:3], "big") >> 24 - _GROUP_BITS


def _places(places: list[int]) -> str:
    numbers = ", ".join(str(place + 1) for place in places)
    return f"group {numbers}" if len(places) == 1 else f"groups {numbers}"


def _length_complaint(words: list[str], count: int) -> str:
    uneven = [place for place, word in enumerate(words) if len(word) != _GROUP_LEN]
    where = f"; look at {_places(uneven)}" if len(words) == _GROUPS_COUNT and uneven else ""
    return (f"a recovery key has {_GROUPS_COUNT} groups of {_GROUP_LEN} characters, "
            f"this one has {count} characters instead of {_GROUPS_COUNT * _GROUP_LEN}{where}")
