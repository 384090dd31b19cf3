"""The oracle lets through what may be, and nothing else."""

from collections.abc import Callable

import pytest

from ecfs.testing.oracle import Oracle, Wrong
from ecfs.testing.trees import Kind, Seen

PAGE = 4096


def tree(**files: bytes) -> dict[bytes, Seen]:
    """Plain files, each an inode of its own."""
    return {name.encode(): Seen(Kind.FILE, number, data)
            for number, (name, data) in enumerate(files.items())}


def check_only(oracle: Oracle, allowed: list[dict[bytes, Seen]],
               wrong: list[dict[bytes, Seen]]) -> None:
    """Of these trees those that are allowed pass."""
    for found in allowed:
        oracle.check(found)
    for found in wrong:
        with pytest.raises(Wrong):
            oracle.check(found)


def test_what_was_fsynced_is_there() -> None:
    oracle = Oracle()
    oracle.create(b"a")
    oracle.write(b"a", 0, b"new")
    check_only(oracle, [tree(), tree(a=b""), tree(a=b"new")], [tree(a=b"ne"), tree(b=b"new")])
    oracle.fsync(b"a")
    check_only(oracle, [tree(a=b"new")], [tree(), tree(a=b""), tree(a=b"new", b=b"")])


def test_writes_appear_in_their_order() -> None:
    oracle = Oracle(tree(a=b"......"))
    oracle.write(b"a", 0, b"11")
    oracle.write(b"a", 2, b"22")
    oracle.write(b"a", 8, b"33")
    check_only(oracle, [tree(a=b"......"), tree(a=b"11...."), tree(a=b"1122.."),
                        tree(a=b"1122..\0\x0033")],
               [tree(a=b"..22.."), tree(a=b"1....."), tree(a=b"1122..\0\0"), tree(a=b"")])


def test_files_are_independent_but_for_the_order_of_names() -> None:
    oracle = Oracle(tree(a=b"a", b=b"b"))
    oracle.write(b"a", 0, b"A")
    oracle.write(b"b", 0, b"B")
    oracle.fsync(b"b")
    check_only(oracle, [tree(a=b"a", b=b"B"), tree(a=b"A", b=b"B")], [tree(a=b"a", b=b"b")])
    oracle.rename(b"a", b"c")
    oracle.write(b"c", 0, b"+")
    check_only(oracle, [tree(a=b"A", b=b"B"), tree(c=b"A", b=b"B"), tree(c=b"+", b=b"B")],
               [tree(a=b"+", b=b"B"), tree(b=b"B"), tree(a=b"A", b=b"B", c=b"A")])


def test_names_appear_as_a_prefix() -> None:
    oracle = Oracle(tree(a=b"a"))
    oracle.mkdir(b"d")
    oracle.rename(b"a", b"d/a")
    oracle.unlink(b"d/a")
    folder = {b"d": Seen(Kind.DIRECTORY, 50)}
    moved = folder | {b"d/a": Seen(Kind.FILE, 9, b"a")}
    check_only(oracle, [tree(a=b"a"), tree(a=b"a") | folder, moved, folder],
               [tree(), moved | tree(a=b"a"), {b"d/a": moved[b"d/a"]}])
    oracle.fsync_dir()
    check_only(oracle, [folder], [moved, tree(a=b"a") | folder])
    oracle.rmdir(b"d")
    check_only(oracle, [folder, {}], [moved])


def test_a_new_size_is_a_change_of_names() -> None:
    oracle = Oracle(tree(a=b"123456"))
    oracle.truncate(b"a", 3)
    oracle.create(b"b")
    check_only(oracle, [tree(a=b"123456"), tree(a=b"123"), tree(a=b"123", b=b"")],
               [tree(a=b"123456", b=b""), tree(a=b"1234")])
    oracle.committed()
    check_only(oracle, [tree(a=b"123", b=b"")], [tree(a=b"123456", b=b""), tree(a=b"123")])
    oracle.truncate(b"a", 5)
    oracle.write(b"a", 4, b"x")
    check_only(oracle, [tree(a=b"123", b=b""), tree(a=b"123\0\0", b=b""),
                        tree(a=b"123\0x", b=b"")], [tree(a=b"12345", b=b"")])


def test_a_size_comes_without_the_bytes_that_were_never_flushed() -> None:
    oracle = Oracle(tree(a=b""))
    oracle.write(b"a", 0, b"12345")
    oracle.truncate(b"a", 2)
    oracle.committed()
    check_only(oracle, [tree(a=b"\0\0"), tree(a=b"12")], [tree(a=b""), tree(a=b"12345")])


def test_a_rename_over_another_brings_the_bytes() -> None:
    oracle = Oracle(tree(old=b"old"))
    oracle.create(b"new")
    oracle.write(b"new", 0, b"new bytes")
    oracle.rename(b"new", b"old")
    check_only(oracle, [tree(old=b"old"), tree(old=b"old", new=b""),
                        tree(old=b"old", new=b"new bytes"), tree(old=b"new bytes")],
               [tree(old=b""), tree(), tree(new=b"new bytes"), tree(old=b"new")])
    oracle.write(b"old", 0, b"NEW")
    oracle.committed()
    check_only(oracle, [tree(old=b"new bytes"), tree(old=b"NEW bytes")],
               [tree(old=b""), tree(old=b"old")])


def test_a_rename_to_a_free_name_does_not() -> None:
    oracle = Oracle(tree())
    oracle.create(b"new")
    oracle.write(b"new", 0, b"new bytes")
    oracle.rename(b"new", b"other")
    oracle.fsync_dir()
    check_only(oracle, [tree(other=b""), tree(other=b"new bytes")], [tree(new=b""), tree()])


def test_hard_links_are_one_file() -> None:
    oracle = Oracle(tree(a=b"1"))
    oracle.link(b"a", b"b")
    oracle.write(b"b", 0, b"2")
    oracle.fsync(b"a")
    one, other = Seen(Kind.FILE, 1, b"2"), Seen(Kind.FILE, 2, b"2")
    check_only(oracle, [{b"a": one, b"b": one}], [{b"a": one, b"b": other}, tree(a=b"2")])
    oracle.rename(b"a", b"b")
    check_only(oracle, [{b"a": one, b"b": one}], [tree(b=b"2"), tree(a=b"2")])
    oracle.unlink(b"a")
    check_only(oracle, [{b"a": one, b"b": one}, tree(b=b"2")], [tree(a=b"2")])


def test_links_and_kinds() -> None:
    oracle = Oracle()
    oracle.symlink(b"there", b"s")
    oracle.create(b"p", Kind.OTHER)
    oracle.sync()
    good = {b"s": Seen(Kind.SYMLINK, 1, b"there"), b"p": Seen(Kind.OTHER, 2)}
    check_only(oracle, [good], [good | {b"s": Seen(Kind.SYMLINK, 1, b"here")},
                                good | {b"p": Seen(Kind.DIRECTORY, 2)}])


def test_directories_move_with_what_is_in_them() -> None:
    oracle = Oracle()
    oracle.mkdir(b"d")
    oracle.create(b"d/a")
    oracle.create(b"dd")
    oracle.mkdir(b"e")
    oracle.sync()
    oracle.rename(b"d", b"e/f")
    assert set(oracle.now()) == {b"e", b"e/f", b"e/f/a", b"dd"}
    oracle.exchange(b"e/f", b"dd")
    assert set(oracle.now()) == {b"e", b"e/f", b"dd", b"dd/a"}
    oracle.withdraw()
    assert set(oracle.now()) == {b"e", b"e/f", b"e/f/a", b"dd"}


@pytest.mark.parametrize("act", [
    lambda oracle: oracle.create(b"b"),
    lambda oracle: oracle.write(b"a", 0, b"+"),
    lambda oracle: oracle.truncate(b"a", 0),
    lambda oracle: oracle.rename(b"a", b"b"),
    lambda oracle: oracle.unlink(b"a"),
])
def test_what_was_refused_leaves_nothing(act: Callable[[Oracle], None]) -> None:
    oracle = Oracle(tree(a=b"1", c=b"2"))
    oracle.write(b"c", 0, b"3")
    act(oracle)
    oracle.withdraw()
    oracle.check_live(tree(a=b"1", c=b"3"))
    check_only(oracle, [tree(a=b"1", c=b"2"), tree(a=b"1", c=b"3")],
               [tree(c=b"3"), tree(a=b"", c=b"3"), tree(a=b"+", c=b"3")])


def test_an_acknowledgement_covers_what_was_done_before_its_call() -> None:
    oracle = Oracle(tree(a=b"1"))
    oracle.write(b"a", 0, b"2")
    called = oracle.mark()
    oracle.write(b"a", 0, b"3")
    oracle.create(b"b")
    oracle.fsync(b"a", called)
    check_only(oracle, [tree(a=b"2"), tree(a=b"3"), tree(a=b"2", b=b""), tree(a=b"3", b=b"")],
               [tree(a=b"1"), tree(a=b"1", b=b"")])


def test_a_program_sees_the_newest() -> None:
    oracle = Oracle(tree(a=b"1"))
    oracle.write(b"a", 0, b"2")
    oracle.check_live(tree(a=b"2"))
    with pytest.raises(Wrong):
        oracle.check_live(tree(a=b"1"))


def test_what_was_found_is_the_new_base() -> None:
    oracle = Oracle(tree(a=b"1"))
    oracle.write(b"a", 0, b"2")
    oracle.create(b"b")
    oracle.settle(tree(a=b"2"))
    check_only(oracle, [tree(a=b"2")], [tree(a=b"1"), tree(a=b"2", b=b"")])


def test_torn_pages() -> None:
    old, new = b"o" * (3 * PAGE + 7), b"n" * (5 * PAGE + 9)
    oracle = Oracle(tree(a=old))
    oracle.write(b"a", 0, new)
    mixed = new[:PAGE] + old[PAGE:2 * PAGE] + new[2 * PAGE:4 * PAGE]
    with pytest.raises(Wrong):
        oracle.check(tree(a=mixed))
    for found in (old, new, mixed, old[: 3 * PAGE + 7].ljust(5 * PAGE + 9, b"\0")):
        oracle.check(tree(a=found), torn=True)
    for found in (new[:PAGE], mixed + b"n", b"x" + mixed[1:], mixed[:PAGE + 1] + new[PAGE + 1:]):
        with pytest.raises(Wrong):
            oracle.check(tree(a=found), torn=True)


def test_the_difference_can_be_read() -> None:
    oracle = Oracle(tree(a=b"1", b=b"2"))
    oracle.unlink(b"b")
    oracle.create(b"c")
    with pytest.raises(Wrong) as caught:
        oracle.check(tree(a=b"3", c=b""))
    assert str(caught.value) == (
        "not a state that may be; the likest has all up to #1 create 'c', but:\n"
        "  b'a' is 1 bytes 33..33, expected one of 1 bytes 31..31")
