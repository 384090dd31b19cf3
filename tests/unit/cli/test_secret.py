import os
from pathlib import Path

import pytest

from ecfs.base.errors import EcfsError, UsageRefusal
from ecfs.cli.secret import SecretSource


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"one\ntwo\n", b"one"), (b"no end", b"no end"), (b" a\xff\r\n", b" a\xff\r")],
)
def test_the_first_line_of_a_file_without_its_line_feed(
    tmp_path: Path, content: bytes, value: bytes
) -> None:
    (tmp_path / "p").write_bytes(content)
    source = SecretSource(passfile=str(tmp_path / "p"))
    assert (source.kind, source.read()) == ("passphrase", value)


def test_the_first_line_of_a_command() -> None:
    assert SecretSource(extpass="echo 'a b'; echo c").read() == b"a b"


def test_a_command_that_fails_gives_no_passphrase() -> None:
    with pytest.raises(EcfsError, match="status 3"):
        SecretSource(extpass="echo half; exit 3").read()


def test_a_descriptor_is_read_and_closed() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"through a pipe\nrest")
    os.close(writing)
    assert SecretSource(passfd=reading).read() == b"through a pipe"
    with pytest.raises(UsageRefusal, match="passfd"):
        SecretSource(passfd=reading).read()


def test_a_key_file_counts_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"\n\0key\n")
    source = SecretSource(keyfile=str(tmp_path / "k"))
    assert (source.kind, source.read(confirm=True)) == ("key_file", b"\n\0key\n")


@pytest.mark.parametrize("content", [b"", b"x" * ((1 << 20) + 1)])
def test_a_key_file_has_bounds(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "k").write_bytes(content)
    with pytest.raises(UsageRefusal, match="key file"):
        SecretSource(keyfile=str(tmp_path / "k")).read()


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 5000])
def test_a_passphrase_has_bounds(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(UsageRefusal, match="passphrase is"):
        SecretSource(passfile=str(tmp_path / "p")).read()


def test_one_source_at_most() -> None:
    with pytest.raises(UsageRefusal, match="give one of"):
        SecretSource(passfile="a", passfd=3)
    with pytest.raises(UsageRefusal, match="two different keys"):
        SecretSource(keyfile="a", recovery=True)


def test_the_user_is_asked_once_or_twice() -> None:
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return "sécret\udcff"

    assert SecretSource().read(prompt=answer) == "sécret".encode() + b"\xff"
    assert asked == ["Passphrase: "]
    SecretSource().read(prompt=answer, confirm=True)
    assert asked[1:] == ["Passphrase: ", "Passphrase again: "]
    assert SecretSource(recovery=True).kind == "recovery"
    SecretSource(recovery=True).read(prompt=answer)
    assert asked[-1] == "Recovery key: "


def test_two_different_answers_are_refused() -> None:
    answers = iter(["one", "two"])
    with pytest.raises(UsageRefusal, match="differ"):
        SecretSource().read(confirm=True, prompt=lambda _: next(answers))
