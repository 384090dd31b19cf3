"""The commands as a whole: which program was called, its verbs, and how it ends."""

import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from ecfs.cli.apart import done_apart
from ecfs.cli.audit import audit
from ecfs.cli.engine import SystemEngine
from ecfs.cli.features import version_text
from ecfs.cli.fsck import fsck
from ecfs.cli.fsck_helper import fsck_helper
from ecfs.cli.install_system import install_system
from ecfs.cli.linux import harden, raise_descriptor_limit, raise_file_length_limit
from ecfs.cli.logs import start_log
from ecfs.cli.mkfs import mkfs
from ecfs.cli.mount import mount
from ecfs.cli.mount_helper import mount_helper, umount_helper
from ecfs.cli.outcome import Family, concluded
from ecfs.cli.places import run_directory, state_dir
from ecfs.cli.salvage import salvage
from ecfs.cli.scrub import scrub
from ecfs.cli.status import status
from ecfs.cli.streams import settle_streams
from ecfs.cli.sync import sync
from ecfs.cli.target import target
from ecfs.cli.tools import Tools
from ecfs.cli.umount import umount


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(version_text())
        context.exit()


@click.group("ecfs", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and what this machine offers.",
)
def ecfs() -> None:
    """An encrypted, erasure-coded file system over directories that need not be trusted.

    POOL is a directory with an ecfs label, several joined by ':' ('\\:' is a colon in a name), the
    mount point of a mounted pool, or a pool file. See ecfs(1).
    """


for verb in (
    mkfs, mount, umount, sync, status, fsck, scrub, target, salvage, audit, install_system
):  # fmt: skip
    ecfs.add_command(verb)


def command_of(program: str) -> tuple[click.Command, Family]:
    """The command that a program name stands for, and its table of exit codes."""
    table: dict[str, tuple[click.Command, Family]] = {
        "mkfs.ecfs": (mkfs, Family.PLAIN),
        "fsck.ecfs": (fsck_helper, Family.FSCK),
        "mount.ecfs": (mount_helper, Family.MOUNT),
        "mount.fuse.ecfs": (mount_helper, Family.MOUNT),
        "umount.ecfs": (umount_helper, Family.MOUNT),
    }
    return table.get(program, (ecfs, Family.PLAIN))


def system_tools() -> Tools:
    """The real engine, run directory and log."""
    state = state_dir(os.environ, os.geteuid())
    run = run_directory()

    def log(name: str, *, log_file: str | None, to_stderr: bool = False) -> None:
        start_log(name, log_file=log_file, to_stderr=to_stderr, state_dir=state)

    return Tools(SystemEngine(state, run.path), run, state, log)


def run_command(program: str, arguments: Sequence[str], tools: Tools | None = None) -> int:
    """Runs one command line, by default with the tools of this system; returns its exit code, the
    user having been told of any error."""
    command, family = command_of(program)
    if command is ecfs and _verb_of(arguments) == "fsck":
        family = Family.FSCK
    name = program if command is not ecfs else "ecfs"

    def work() -> int:
        result = command.main(
            args=list(arguments),
            prog_name=name,
            standalone_mode=False,
            obj=tools or system_tools(),
        )
        return int(result or 0)

    return concluded(work, program=name, family=family, wants_json="--json" in arguments)


def _verb_of(arguments: Sequence[str]) -> str | None:
    return next((word for word in arguments if not word.startswith("-")), None)


def _serves_itself(arguments: Sequence[str]) -> bool:
    """Whether it is a mount in the foreground."""
    return _verb_of(arguments) == "mount" and any(
        word == "--foreground" or re.fullmatch(r"-\w*f\w*", word) for word in arguments)


def main() -> None:
    """All of `ecfs` and of the helpers; which of them, the program's name says."""
    settle_streams()
    # Before any secret is read: whatever the verb, and whatever it becomes.
    harden()
    raise_descriptor_limit()
    raise_file_length_limit()
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    work = partial(run_command, program, arguments)
    # Who serves in the foreground is to be the process that was started.
    sys.exit(work() if _serves_itself(arguments) else done_apart(work))
