"""Fields that this version does not know are passed over: who needs them known sets a feature bit.
"""

from typing import Any

import msgpack
import pytest

from ecfs.base.errors import Damage
from ecfs.formats import (
    CLAIM,
    COMMIT,
    BoxKind,
    check_label,
    decode_claim,
    decode_commit,
    decode_label,
)
from ecfs.formats.box import open_box, seal_box
from ecfs.testing.fuzzing.label_formats import sealed_label
from ecfs.testing.fuzzing.material import EPOCH, FRESH, box_keys, golden, label_mac


def inside(kind: BoxKind, name: str) -> dict[str, Any]:
    value = msgpack.unpackb(open_box(kind, box_keys(kind.purpose), golden(name))[1])
    assert isinstance(value, dict)
    return value


def boxed(kind: BoxKind, value: dict[str, Any]) -> bytes:
    return seal_box(kind, box_keys(kind.purpose), epoch=EPOCH, seq=43,
                    payload=msgpack.packb(value), fresh=FRESH)


def test_commits_and_roots() -> None:
    value = inside(COMMIT, "commit-checkpoint")
    known = decode_commit(golden("commit-checkpoint"), box_keys("commit"))[1]
    more = value | {"later": [1], "checkpoint": value["checkpoint"] | {"later": {"a": b"b"}}}
    assert decode_commit(boxed(COMMIT, more), box_keys("commit"))[1] == known


def test_claims() -> None:
    more = inside(CLAIM, "claim") | {"later": 1}
    known = decode_claim(golden("claim"), box_keys("claim"), EPOCH)
    assert decode_claim(boxed(CLAIM, more), box_keys("claim"), EPOCH) == known


def test_labels() -> None:
    known = check_label(decode_label(golden("label")), label_mac)
    body = msgpack.unpackb(decode_label(golden("label")).body) | {"later": 1}
    packed = msgpack.packb(body)
    assert check_label(decode_label(sealed_label(packed, label_mac(packed))), label_mac) == known


@pytest.mark.parametrize("field", ["parent", "pages", "clean", "page_count"])
def test_a_field_that_is_known_may_not_be_missing(field: str) -> None:
    value = inside(COMMIT, "commit-checkpoint")
    del value[field]
    with pytest.raises(Damage):
        decode_commit(boxed(COMMIT, value), box_keys("commit"))
