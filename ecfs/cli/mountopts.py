"""The words after `-o`: ours, the kernel's, and those that mount(8) keeps for itself."""

import os
from dataclasses import dataclass, field
from typing import Any

from ecfs.base.errors import UsageRefusal
from ecfs.base.units import MIB
from ecfs.cli.secret import SecretSource
from ecfs.cli.text import parse_size

KERNEL_WORDS = frozenset(
    ["dev", "nodev", "suid", "nosuid", "exec", "noexec"],
).union(["noatime", "nodiratime", "sync", "async", "dirsync"])
# Those of mount(8), and one that asks for what is so anyway.
MOUNT_WORDS = frozenset(
    ["defaults", "auto", "noauto", "nofail", "_netdev", "silent", "loud"],
).union(
    ["user", "nouser", "users", "owner", "group"],
    ["norelatime"],
)
ACCESS_WORDS = ("relatime", "atime", "diratime", "strictatime")
SECRET_WORDS = ("passfile", "keyfile", "extpass")
TRANSPORTS = ("raw", "pyfuse3")
OWN_WORDS = (
    *("ro", "rw", "allow_other", "accept_rollback", "relatime", "nopoll"),
    *("anchor=always", "anchor=lazy", "cache=", "write_back=", "log_file=", "transport=raw"),
    *("transport=pyfuse3", "anchor_dir="),
)
CACHE_LEN_MIN = 1 * MIB


@dataclass(frozen=True)
class MountWish:
    """What the options of a mount ask for. Lengths are bytes; None means the default."""

    read_only: bool = False
    allow_other: bool = False
    accept_rollback: bool = False
    anchor_always: bool = False
    anchor_dir: str | None = None
    block_cache_len: int | None = None
    write_back_len: int | None = None
    kernel_words: tuple[str, ...] = ()
    log_file: str | None = None
    transport: str = "raw"
    relatime: bool = False
    polls: bool = True
    secrets: dict[str, str] = field(default_factory=dict)

    def source(self, given: SecretSource) -> SecretSource:
        """Where the secret is: the command line counts, else `-o passfile=` and its like."""
        if given.is_given or not self.secrets:
            return given
        return SecretSource(
            passfile=self.secrets.get("passfile"),
            keyfile=self.secrets.get("keyfile"),
            extpass=self.secrets.get("extpass"),
            recovery=given.recovery,
        )


def parse(words: tuple[str, ...], *, sloppy: bool = False) -> MountWish:
    """Reads `-o` arguments, each a comma-joined list. Raises UsageRefusal naming an unknown word.

    With `sloppy` unknown words are passed over, as `mount -s` asks.
    """
    settings: dict[str, Any] = {}
    kernel: list[str] = []
    secrets: dict[str, str] = {}
    for word in (word for joined in words for word in joined.split(",") if word):
        name, _, value = word.partition("=")
        if word in KERNEL_WORDS:
            kernel.append(word)
        elif name in SECRET_WORDS and value:
            secrets[name] = value
        elif (setting := _own_word(name, value)) is not None:
            settings.update(setting)
        elif not (word in MOUNT_WORDS or _is_foreign(name) or sloppy):
            raise UsageRefusal(_unknown(name, word))
    return MountWish(kernel_words=tuple(kernel), secrets=secrets, **settings)


def _unknown(name: str, word: str) -> str:
    if word == "remount":
        return ("a mounted pool cannot be given other options; unmount it, and mount it again with "
                "those")
    known = [one for one in OWN_WORDS if one.startswith(f"{name}=") and one != f"{name}="]
    return f"{word!r} is not a mount option; give {' or '.join(known)}" if known else (
        f"unknown mount option {word!r}")


def completed(incomplete: str) -> list[str]:
    """What the shell may offer for a comma-joined list of which the last word is not finished."""
    before, comma, begun = incomplete.rpartition(",")
    words = (*OWN_WORDS, *(f"{name}=" for name in SECRET_WORDS), *sorted(KERNEL_WORDS))
    return [before + comma + word for word in words if word.startswith(begun)]


def _is_foreign(name: str) -> bool:
    """Words that other programs keep in fstab(5) for themselves."""
    return name.startswith(("x-", "X-")) or name == "comment"


def _own_word(name: str, value: str) -> dict[str, Any] | None:
    """The setting that one of our words stands for; None if it is not ours."""
    flags = {
        "ro": {"read_only": True},
        "rw": {"read_only": False},
        "allow_other": {"allow_other": True},
        "accept_rollback": {"accept_rollback": True},
        "nopoll": {"polls": False},
        **{word: {"relatime": True} for word in ACCESS_WORDS},
    }
    if not value:
        return flags.get(name)
    if name == "anchor" and value in ("always", "lazy"):
        return {"anchor_always": value == "always"}
    if name == "transport" and value in TRANSPORTS:
        return {"transport": value}
    if name == "anchor_dir":
        return {"anchor_dir": os.path.abspath(value)}
    if name == "cache":
        return {"block_cache_len": _length(name, value)}
    if name == "write_back":
        return {"write_back_len": _length(name, value)}
    if name == "log_file":
        return {"log_file": value}
    return None


def _length(name: str, value: str) -> int:
    try:
        length = parse_size(value)
    except UsageRefusal as error:
        raise UsageRefusal(f"mount option {name}: {error}") from error
    if length < CACHE_LEN_MIN:
        raise UsageRefusal(f"{name}={value} is too small; the least is 1M")
    return length
