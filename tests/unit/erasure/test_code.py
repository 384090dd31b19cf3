"""The code against independent arithmetic, every loss pattern, and its contract."""

import random
import threading
from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecfs.base.errors import Bug, EcfsError, Unreadable
from ecfs.base.limits import COLUMN_LEN_MAX
from ecfs.erasure import Code, Geometry
from ecfs.erasure.native import Isal, library_paths, load_isal

Reference = Callable[[list[bytes], int], list[bytes]]

ODD_LENGTHS = [*range(1, 70), 95, 127, 128, 129, 191, 255, 256, 257, 511, 1023, 4095, 4097]


def loadable() -> list[str]:
    """The copies of ISA-L on this machine; the one in the wheel is always there."""
    paths = []
    for path in library_paths():
        try:
            Isal(path)
        except EcfsError:
            continue
        paths.append(path)
    return paths


def random_data(geometry: Geometry, body_len: int, seed: int = 1) -> bytes:
    return random.Random(f"{geometry} {body_len} {seed}").randbytes(geometry.data * body_len)


def split(data: bytes, body_len: int) -> list[bytes]:
    return [data[at : at + body_len] for at in range(0, len(data), body_len)]


def code_word(code: Code, body_len: int, seed: int = 1) -> list[bytes]:
    """All bodies of a stripe of random data."""
    data = random_data(code.geometry, body_len, seed)
    return split(data, body_len) + [bytes(body) for body in code.encode(data, body_len)]


@pytest.mark.parametrize("path", loadable())
@pytest.mark.parametrize(("data", "parity"), [(1, 1), (4, 2), (3, 3), (16, 4), (16, 8), (5, 7)])
def test_parity_is_the_mathematics_of_the_format(path: str, data: int, parity: int,
                                                 reference: Reference) -> None:
    code = Code(Geometry(data, parity), Isal(path))
    for body_len in (1, 7, 31, 32, 33, 64, 200):
        bodies = split(random_data(code.geometry, body_len), body_len)
        assert code.encode(b"".join(bodies), body_len) == reference(bodies, parity)


@pytest.mark.parametrize("path", loadable())
def test_short_and_odd_lengths(path: str, reference: Reference) -> None:
    code = Code(Geometry(3, 2), Isal(path))
    whole = code_word(code, max(ODD_LENGTHS))
    assert whole[3:] == reference(whole[:3], 2)
    for body_len in ODD_LENGTHS:
        bodies = [body[:body_len] for body in whole]
        assert code.encode(b"".join(bodies[:3]), body_len) == bodies[3:]
        present = {i: bodies[i] for i in (1, 3, 4)}
        assert code.reconstruct(present, [0, 2], body_len) == {0: bodies[0], 2: bodies[2]}


@pytest.mark.parametrize("parity", range(1, 5))
@pytest.mark.parametrize("data", range(1, 17))
def test_every_loss_pattern(data: int, parity: int) -> None:
    code = Code(Geometry(data, parity))
    body_len = 5
    bodies = code_word(code, body_len)
    for count in range(1, parity + 1):
        for lost in combinations(range(data + parity), count):
            present = {i: body for i, body in enumerate(bodies) if i not in lost}
            assert code.reconstruct(present, lost, body_len) == {i: bodies[i] for i in lost}


@pytest.mark.parametrize(("data", "parity"), [(1, 8), (8, 8), (16, 8), (12, 5)])
def test_wide_parity_sampled(data: int, parity: int) -> None:
    code = Code(Geometry(data, parity))
    bodies = code_word(code, 9)
    chooser = random.Random(7)
    for _ in range(300):
        kept = chooser.sample(range(data + parity), data)
        lost = [i for i in range(data + parity) if i not in kept]
        assert code.reconstruct({i: bodies[i] for i in kept}, lost, 9) == {
            i: bodies[i] for i in lost}


@given(st.data())
def test_any_k_shards_give_any_shard(draw: st.DataObject) -> None:
    geometry = Geometry(draw.draw(st.integers(1, 16)), draw.draw(st.integers(0, 8)))
    code = Code(geometry)
    body_len = draw.draw(st.integers(1, 300))
    bodies = code_word(code, body_len, draw.draw(st.integers(0, 1000)))
    indexes = st.integers(0, geometry.shards - 1)
    present = draw.draw(st.sets(indexes, min_size=geometry.data))
    wanted = draw.draw(st.lists(indexes))
    assert code.reconstruct({i: bodies[i] for i in present}, wanted, body_len) == {
        i: bodies[i] for i in wanted}


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("shift", [0, 1, 3])
def test_any_buffer_at_any_alignment(kind: type, shift: int) -> None:
    code = Code(Geometry(4, 2))
    body_len = 1000
    bodies = code_word(code, body_len)
    padded = kind(bytes(shift) + b"".join(bodies[:4]) + bytes(9))
    view = memoryview(padded)[shift : shift + 4 * body_len]
    assert code.encode(view, body_len) == bodies[4:]
    out = bytearray(shift + 2 * body_len + 5)
    code.encode_into(view, memoryview(out)[shift : shift + 2 * body_len], body_len)
    assert out == bytes(shift) + b"".join(bodies[4:]) + bytes(5)
    present = {i: memoryview(body) for i, body in enumerate(bodies) if i not in (1, 2)}
    assert code.reconstruct(present, [2, 1], body_len) == {1: bodies[1], 2: bodies[2]}


def test_nothing_stays_pinned() -> None:
    code = Code(Geometry(2, 1))
    data, parity = bytearray(b"abcdef"), bytearray(3)
    code.encode(data, 3)
    code.encode_into(data, parity, 3)
    present = {0: data[:3], 2: parity}
    rebuilt = code.reconstruct(present, [1], 3)
    for buffer in (data, parity, rebuilt[1], present[0]):
        assert isinstance(buffer, bytearray)
        buffer.append(0)
    with pytest.raises(Bug):
        code.encode(data, 3)
    data.append(0)


def test_without_parity() -> None:
    code = Code(Geometry(3, 0))
    assert code.encode(b"abcdef", 2) == []
    code.encode_into(b"abcdef", bytearray(), 2)
    assert code.reconstruct({0: b"ab", 1: b"cd", 2: b"ef"}, [1], 2) == {1: b"cd"}


def test_too_few_shards_are_unreadable() -> None:
    code = Code(Geometry(4, 2))
    bodies = code_word(code, 16)
    with pytest.raises(Unreadable):
        code.reconstruct({i: bodies[i] for i in (0, 2, 5)}, [1], 16)
    assert code.reconstruct({i: bodies[i] for i in (0, 1, 2, 5)}, [], 16) == {}


def test_wrong_arguments_are_bugs() -> None:
    code = Code(Geometry(4, 2))
    good = {i: bytes(8) for i in range(4)}
    spaced = memoryview(bytearray(64))[::2]
    calls: list[Callable[[], object]] = [
        lambda: code.encode(bytes(31), 8),
        lambda: code.encode(bytes(33), 8),
        lambda: code.encode(b"", 0),
        lambda: code.encode(b"", -1),
        lambda: code.encode(b"", COLUMN_LEN_MAX + 1),
        lambda: code.encode(spaced, 8),
        lambda: code.encode_into(bytes(32), bytearray(15), 8),
        lambda: code.encode_into(bytes(32), memoryview(bytes(16)), 8),
        lambda: code.reconstruct({**good, 3: bytes(7)}, [4], 8),
        lambda: code.reconstruct({**good, 6: bytes(8)}, [4], 8),
        lambda: code.reconstruct(good, [6], 8),
        lambda: code.reconstruct(good, [-1], 8),
    ]
    for call in calls:
        with pytest.raises(Bug):
            call()


def test_one_code_in_many_threads() -> None:
    code = Code(Geometry(6, 3))
    body_len = 20_000
    words = [code_word(code, body_len, seed) for seed in range(4)]
    wrong: list[int] = []

    def work(seed: int) -> None:
        chooser = random.Random(seed)
        for _ in range(60):
            word = words[chooser.randrange(4)]
            lost = chooser.sample(range(9), 3)
            present = {i: word[i] for i in range(9) if i not in lost}
            parity = code.encode(b"".join(word[:6]), body_len)
            if parity != word[6:] or code.reconstruct(present, lost, body_len) != {
                    i: word[i] for i in lost}:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_missing_library_is_said_clearly() -> None:
    with pytest.raises(EcfsError, match=r"libisal2.*no-such-library\.so"):
        load_isal(["no-such-library.so"])
    with pytest.raises(EcfsError, match="ec_init_tables"):
        load_isal(["libc.so.6"])
    assert isinstance(load_isal(["no-such-library.so", library_paths()[-1]]), Isal)


def test_without_the_wheel_only_the_system_library_is_tried(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecfs.erasure.native.find_spec", lambda name: None)
    assert library_paths() == ["libisal.so.2"]


def test_tables_of_another_matrix_are_a_bug() -> None:
    """A wrong count of sources or outputs would read and write past their ends."""
    library = load_isal()
    tables = library.tables([b"\1\2", b"\3\4"])
    for sources, outputs in ((1, 2), (2, 1), (3, 2)):
        with pytest.raises(Bug, match="another shape"):
            library.multiply(tables, [0] * sources, [0] * outputs, 1)


def test_a_code_says_its_geometry() -> None:
    assert repr(Code(Geometry(4, 2))) == "Code(4+2)"


def test_golden_parity() -> None:
    """Pinned for ever, since such bytes are on disks; computed with `reedsolo`."""
    code = Code(Geometry(4, 2))
    assert [body.hex() for body in code.encode(bytes(range(32)), 8)] == [
        "74543414f4d4b494", "69492909e9c9a989"]
