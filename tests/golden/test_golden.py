"""What is stored today is what was stored before, byte for byte, and still opens."""

import re
from array import array
from pathlib import Path

import pytest

from ecfs.formats import (
    check_label,
    decode_claim,
    decode_commit,
    decode_directory,
    decode_heartbeat,
    decode_label,
    peek_column_header,
    record_hash,
    unpack_head,
)
from ecfs.formats.slots import SlotKind
from ecfs.keys import open_slots
from ecfs.metadata import PageMap
from ecfs.stripes import StripeOpener, UnitRun
from tests.golden import objects
from tests.golden.regenerate import FILES, main

MADE = objects.all_bytes()
DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"


def stored(name: str) -> bytes:
    return (FILES / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("name", sorted(MADE))
def test_encoding_gives_exactly_these_bytes(name: str) -> None:
    assert MADE[name] == stored(name)


def test_no_file_is_left_over() -> None:
    assert {path.stem for path in FILES.iterdir()} == set(MADE)


def test_the_label_opens_and_unlocks() -> None:
    label = check_label(decode_label(stored("label")), objects.label_mac)
    assert label == objects.label()
    master = open_slots(label.slots, objects.PASSPHRASE, SlotKind.PASSPHRASE, objects.POOL_ID)
    assert master.purpose("commit") == objects.MASTER.purpose("commit")
    [slot] = label.slots
    assert slot.salt + slot.wrapped + slot.commitment == stored("key-slot")


def test_boxes_open() -> None:
    keys = objects.box_keys
    assert decode_claim(stored("claim"), keys("claim"), 3) == objects.CLAIM
    assert decode_heartbeat(stored("heartbeat"), keys("heartbeat"), 3) == 12
    assert decode_commit(stored("commit-delta"), keys("commit"))[1] == objects.DELTA_COMMIT
    assert decode_commit(stored("commit-writes"), keys("commit"))[1] == objects.WRITES_COMMIT
    assert decode_commit(stored("commit-orders"), keys("commit"))[1] == objects.ORDERED_COMMIT
    assert decode_commit(stored("commit-checkpoint"), keys("commit"))[1] == objects.ROOT_COMMIT


def test_columns_directory_and_page_map_are_read() -> None:
    assert peek_column_header(stored("column-header")) == objects.COLUMN
    assert decode_directory(stored("directory")) == objects.NOTES
    chunk = PageMap.from_chunks([stored("page-map-chunk")], 4)
    assert tuple(chunk.place(page) for page in range(1, 5)) == objects.PLACES
    assert array("Q", objects.PLACES).tobytes()[:8] == (7 << 32).to_bytes(8, "little")


@pytest.mark.parametrize("prefix", objects.SEALINGS)
def test_the_stripe_opens(prefix: str) -> None:
    sealed = objects.stripe(prefix)
    master = objects.SEALINGS[prefix].master
    opener = StripeOpener(sealed.ref, master.segment(5, 3), objects.POOL_ID)
    records = [stored(f"{prefix}shard-{column}") for column in range(6)]
    header = opener.checked_header(records[5])
    bodies = [opener.checked_body(column, record, header)
              for column, record in enumerate(records)]
    assert b"".join(objects.SEALINGS[prefix].extents) == b"".join(
        opener.open_unit(unit.nonce, bodies[unit.shard][unit.offset : unit.end])
        for unit in objects.units(prefix))
    head = unpack_head(opener.open_unit(1 << 64, header[8:72]))
    assert head == opener.head(records[0])
    assert (head.order, head.extents_count, head.body_len) == (99, 2, sealed.ref.body_len)


def test_regenerating_refuses_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in FILES.iterdir()}
    assert main([]) == 2 and main(["--yes"]) == 2
    assert "none" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in FILES.iterdir()}


# -- the document --------------------------------------------------------------------------------

def dump(name: str, low: int, high: int) -> str:
    data = stored(name)[low:high]
    lines = [f"{low + at:06x}  {data[at : at + 16].hex(' ')}" for at in range(0, len(data), 16)]
    return "\n".join(lines)


def shown(units: list[UnitRun]) -> str:
    return "; ".join(f"shard {unit.shard} offset {unit.offset} length {unit.length}"
                     for unit in units)


NUMBERS = {
    "record-hash": lambda: record_hash(stored("commit-delta")).hex(),
    "stripe-digest": lambda: objects.stripe().ref.digest.hex(),
    "stripe-salt": lambda: objects.stripe().ref.salt.hex(),
    "hashed-stripe-digest": lambda: objects.stripe("hashed-").ref.digest.hex(),
    "hashed-stripe-salt": lambda: objects.stripe("hashed-").ref.salt.hex(),
    "short-stripe-digest": lambda: objects.stripe("short-").ref.digest.hex(),
    "short-body-len": lambda: str(objects.stripe("short-").ref.body_len),
    "short-starts": lambda: ", ".join(map(str, objects.stripe("short-").starts)),
    "short-units": lambda: shown(objects.units("short-")),
    "body-len": lambda: str(objects.stripe().ref.body_len),
    "record-len": lambda: str(objects.stripe().ref.record_len),
    "starts": lambda: ", ".join(map(str, objects.stripe().starts)),
    "units": lambda: shown(objects.units()),
    "commitment": lambda: objects.MASTER.commitment(objects.POOL_ID).hex(),
    "label-len": lambda: str(len(stored("label"))),
}


def test_dumps_in_the_document_are_the_files() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.findall(r"```golden ([a-z0-9-]+) (\d+) (\d+)\n(.*?)\n```", text, re.DOTALL)
    assert {name for name, *_ in found} >= {
        "label", "claim", "commit-delta", "column-header", "shard-0", "directory",
        "page-map-chunk", "key-slot", "heartbeat"}
    for name, low, high, body in found:
        right = dump(name, int(low), int(high))
        assert body == right, f"{name}:\n{right}"


def test_numbers_in_the_document_are_right() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    found = dict(re.findall(r"^\* ([a-z-]+): `([^`]*)`$", text, re.MULTILINE))
    assert set(found) == set(NUMBERS)
    for name, value in found.items():
        assert value == NUMBERS[name](), f"{name}: {NUMBERS[name]()}"
