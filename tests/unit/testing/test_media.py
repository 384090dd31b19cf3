"""What may survive a crash: any part of what was not synced, and all that was."""

from ecfs.testing.crashes.media import Digests, Entry, Image, Medium, What, survivors


def left_by(medium: Medium, *entries: Entry) -> list[dict[str, bytes]]:
    """The files of everything that may be left."""
    found, _ = survivors(medium, entries, Digests(), "seed")
    return [one.image.files() for one in found.found.values()]


def write(data: bytes, number: int = 0, file: int = 1) -> Entry:
    """A write."""
    return Entry(What.WRITE, file, number=number, data=data)


def test_each_subset_of_what_was_not_synced() -> None:
    begin = Medium(Image.of({"f": b"...."}))
    left = left_by(begin, write(b"1"), write(b"2", 1), write(b"3", 3))
    assert sorted(one["f"] for one in left) == sorted(
        [b"....", b"1...", b".2..", b"...3", b"12..", b"1..3", b".2.3", b"12.3"])


def test_what_was_synced_stays() -> None:
    begin = Medium(Image.of({"f": b"...."}))
    left = left_by(begin, write(b"1"), Entry(What.SYNC, 1), write(b"2", 1))
    # The power may go before the sync, too, but then nothing came after it.
    assert sorted(one["f"] for one in left) == sorted([b"....", b"1...", b"12.."])
    _, after = survivors(begin, [write(b"1"), Entry(What.SYNC, 1)], Digests(), "seed")
    assert left_by(after) == [{"f": b"1..."}]


def test_bytes_and_names_are_apart() -> None:
    made = [Entry(What.NAME, 7, "g"), write(b"x", file=7)]
    left = left_by(Medium(Image.of({})), *made)
    assert sorted(left, key=repr) == sorted([{}, {"g": b""}, {"g": b"x"}], key=repr)
    left = left_by(Medium(Image.of({})), *made, Entry(What.SYNC, 7))
    assert {} in left and {"g": b"x"} in left
    left = left_by(Medium(Image.of({"d/f": b"1"})), Entry(What.UNNAME, name="d/f"),
                   Entry(What.SYNC_FOLDER, name="d"))
    assert sorted(left, key=repr) == [{"d/f": b"1"}, {}]


def test_a_replaced_file_is_old_or_new() -> None:
    begin = Medium(Image.of({"f": b"old"}))
    left = left_by(begin, Entry(What.NAME, 9, "f", data=b"new one"),
                   Entry(What.SYNC_FOLDER, name=""))
    assert sorted(one["f"] for one in left) == [b"new one", b"old"]


def test_the_last_write_may_be_torn() -> None:
    left = left_by(Medium(Image.of({"f": b""})), write(b"x" * 4096))
    assert sorted(len(one["f"]) for one in left) == [0, 512, 2048, 3584, 4096]


def test_sizes() -> None:
    begin = Medium(Image.of({"f": b"123456"}))
    left = left_by(begin, Entry(What.SIZE, 1, number=2), Entry(What.GROW, 1, number=4))
    assert {one["f"] for one in left} == {b"12", b"123456", b"12\0\0"}


def test_digests_tell_names_and_bytes_apart() -> None:
    known = Digests()
    images = [Image.of({"a": b"1"}), Image.of({"a": b"2"}), Image.of({"b": b"1"}),
              Image.of({"a": b"1", "b": b"1"}), Image.of({})]
    assert len({image.digest(known) for image in images}) == len(images)
    assert Image.of({"a": b"1", "b": b"2"}).digest(known) == (
        Image.of({"b": b"2", "a": b"1"}).digest(known))
