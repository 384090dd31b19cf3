"""`fsck.ecfs`: what fsck(8) calls, with the arguments that it hands on."""

from collections.abc import Sequence
from pathlib import Path

import click

from ecfs import __version__
from ecfs.base.errors import UsageRefusal
from ecfs.cli.fsck import FsckOrder, depth_of, perform
from ecfs.cli.linux import parse_fstab
from ecfs.cli.mountopts import MountWish, parse
from ecfs.cli.secret import SecretSource
from ecfs.cli.tools import Tools

FSTAB = Path("/etc/fstab")
# Flags of fsck(8) itself, which it may hand on and which mean nothing to one file system.
_PASSED_OVER = frozenset("TMRAPNsl")


@click.command(
    "fsck.ecfs",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": True},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def fsck_helper(tools: Tools, /, arguments: tuple[str, ...]) -> int:
    """Check a pool, for fsck(8): [-a|-p|-n|-y] [-f] [--passfile FILE] POOL."""
    if "--help" in arguments or "-h" in arguments:
        click.echo(f"usage: fsck.ecfs {fsck_helper.help}")
        return 0
    if "-V" in arguments and len(arguments) == 1:
        click.echo(f"fsck.ecfs {__version__}")
        return 0
    order = read_arguments(arguments, FSTAB)
    tools.log("fsck.ecfs", log_file=None)
    return perform(tools, order)


def read_arguments(arguments: Sequence[str], fstab: Path) -> FsckOrder:
    """What fsck(8) asks for. Raises UsageRefusal.

    Short flags may be joined (`-fy`); `-C` may carry a descriptor. Without a source for the
    passphrase, the options of the pool's line in fstab(5) are looked at: at boot nobody can be
    asked. Where the anchor is stands there, too.
    """
    flags: set[str] = set()
    sources: dict[str, str] = {}
    pools: list[str] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            pools += waiting
            break
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if name not in ("passfile", "keyfile", "extpass"):
                raise UsageRefusal(f"unknown option {word}")
            if not equals and not waiting:
                raise UsageRefusal(f"{word} needs a value")
            sources[name] = value if equals else waiting.pop(0)
        elif word.startswith("-") and len(word) > 1:
            flags |= _short_flags(word)
        else:
            pools.append(word)
    if len(pools) != 1:
        raise UsageRefusal("name one pool to check")
    source = SecretSource(**sources)  # type: ignore[arg-type]
    at_boot = _wish_in_fstab(pools[0], fstab)
    return FsckOrder(
        pool=pools[0],
        source=at_boot.source(source),
        depth=depth_of(look="n" in flags, safe=bool(flags & {"a", "p"}), yes="y" in flags),
        force="f" in flags,
        wish=MountWish(anchor_dir=at_boot.anchor_dir),
    )


def _short_flags(word: str) -> set[str]:
    found = set()
    for index, letter in enumerate(word[1:], 1):
        if letter == "C":
            descriptor = word[index + 1 :]
            if descriptor and not descriptor.isdigit():
                raise UsageRefusal(f"-C takes the number of a descriptor, not {descriptor!r}")
            break
        if letter in "apnyf":
            found.add(letter)
        elif letter not in _PASSED_OVER and letter not in "Vr":
            raise UsageRefusal(f"unknown option -{letter}")
    return found


def _wish_in_fstab(pool: str, fstab: Path) -> MountWish:
    try:
        entries = parse_fstab(fstab.read_bytes())
    except OSError:
        return MountWish()
    for entry in entries:
        if entry.is_ecfs and pool in (entry.source, entry.mountpoint):
            return parse((entry.options,), sloppy=True)
    return MountWish()
