"""Where the passphrase or key comes from: a file, a command, a descriptor, a key file, a prompt."""

import getpass
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Literal

import click

from ecfs.base.errors import Bug, EcfsError, KeyUnreadable, UsageRefusal
from ecfs.base.limits import KEY_SECRET_LEN_MAX

PASSPHRASE_LEN_MAX = 4096
KEY_FILE_LEN_MAX = KEY_SECRET_LEN_MAX

Kind = Literal["passphrase", "key_file", "recovery"]
Prompt = Callable[[str], str]


@dataclass(frozen=True)
class SecretSource:
    """The options that say where a secret is. At most one of the four sources is set."""

    passfile: str | None = None
    extpass: str | None = None
    passfd: int | None = None
    keyfile: str | None = None
    recovery: bool = False

    def __post_init__(self) -> None:
        given = [self.passfile, self.extpass, self.passfd, self.keyfile]
        if sum(source is not None for source in given) > 1:
            raise UsageRefusal("give one of --passfile, --extpass, --passfd and --keyfile")
        if self.recovery and self.keyfile is not None:
            raise UsageRefusal("--recovery and --keyfile are two different keys; give one")

    @property
    def is_given(self) -> bool:
        """Whether a source was named, so that nobody has to be asked."""
        sources = (self.passfile, self.extpass, self.passfd, self.keyfile)
        return any(source is not None for source in sources)

    @property
    def kind(self) -> Kind:
        """What the bytes are."""
        if self.keyfile is not None:
            return "key_file"
        return "recovery" if self.recovery else "passphrase"

    def read(self, *, confirm: bool = False, prompt: Prompt | None = None) -> bytes:
        """The secret's bytes; asks (twice with `confirm`) if no source was named."""
        if self.keyfile is not None:
            return _key_file(self.keyfile)
        if self.passfile is not None:
            with _opened(self.passfile, "passphrase", "passfile") as file:
                value = first_line(file)
        elif self.extpass is not None:
            value = _from_command(self.extpass)
        elif self.passfd is not None:
            try:
                with os.fdopen(self.passfd, "rb") as file:
                    value = first_line(file)
            except OSError as error:
                raise UsageRefusal(f"--passfd {self.passfd}: {error.strerror}") from error
        else:
            value = _asked(self.recovery, confirm, prompt or _ask_on_terminal)
        if not value:
            raise UsageRefusal(f"the {_noun(self.recovery)} is empty")
        return value


def _noun(recovery: bool) -> str:
    return "recovery key" if recovery else "passphrase"


@contextmanager
def _opened(path: str, noun: str, option: str) -> Iterator[IO[bytes]]:
    """The file for reading; what goes wrong there becomes KeyUnreadable."""
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise KeyUnreadable(
            f"{path}: the {noun} cannot be read: {error.strerror}; check the path and its "
            f"permissions, or give another --{option}"
        ) from error


def first_line(file: IO[bytes]) -> bytes:
    """The bytes before the first line feed. Raises UsageRefusal past PASSPHRASE_LEN_MAX of them."""
    line = file.readline(PASSPHRASE_LEN_MAX + 2)
    line = line.removesuffix(b"\n")
    if len(line) > PASSPHRASE_LEN_MAX:
        raise UsageRefusal(f"the passphrase is longer than {PASSPHRASE_LEN_MAX} bytes")
    return line


def _key_file(path: str) -> bytes:
    with _opened(path, "key", "keyfile") as file:
        content = file.read(KEY_FILE_LEN_MAX + 1)
    if len(content) > KEY_FILE_LEN_MAX:
        raise UsageRefusal(f"{path}: a key file has at most {KEY_FILE_LEN_MAX} bytes")
    if not content:
        raise UsageRefusal(f"{path}: the key file is empty")
    return content


def _from_command(command: str) -> bytes:
    with subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise Bug("a pipe was asked for")
        line = first_line(process.stdout)
        process.stdout.read()
        status = process.wait()
    if status != 0:
        raise EcfsError(f"the --extpass command failed with status {status}")
    return line


def _asked(recovery: bool, confirm: bool, prompt: Prompt) -> bytes:
    noun = _noun(recovery)
    value = prompt(f"{noun.capitalize()}: ")
    if confirm and prompt(f"{noun.capitalize()} again: ") != value:
        raise UsageRefusal("the two passphrases differ; nothing was done")
    return value.encode(errors="surrogateescape")


def _ask_on_terminal(question: str) -> str:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise UsageRefusal(
            "there is no terminal to ask on; use --passfile, --extpass, --passfd or --keyfile"
        ) from None
    try:
        return getpass.getpass(question)
    except EOFError:
        raise click.Abort from None


def secret_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say where the secret is; the command takes them as `**sources`."""
    options = (
        click.option("--passfile", metavar="FILE", help="Read the passphrase's line from FILE."),
        click.option("--extpass", metavar="COMMAND", help="Run COMMAND; its first line is it."),
        click.option("--passfd", metavar="N", type=int, help="Read the line from descriptor N."),
        click.option("--keyfile", metavar="FILE", help="Use the bytes of FILE as the key."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def recovery_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--recovery`, for the verbs that open a pool that exists."""
    return click.option(
        "--recovery", is_flag=True, help="What is given is the printed recovery key."
    )(function)
