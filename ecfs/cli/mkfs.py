"""`ecfs mkfs`: makes a pool over directories."""

import os
from pathlib import Path
from typing import Any

import click
import trio

from ecfs.base.errors import EcfsError, InUse, TooFewTargets, UsageRefusal
from ecfs.base.limits import (
    DATA_SHARDS_MAX,
    KDF_MEMORY_CAP_KIB,
    KDF_MEMORY_DEFAULT_KIB,
    KDF_MEMORY_FLOOR_KIB,
    KDF_PASSES_CAP,
    KDF_PASSES_DEFAULT,
    KDF_PASSES_FLOOR,
    PARITY_SHARDS_MAX,
)
from ecfs.base.units import KIB
from ecfs.cli.engine import Key, NewPool
from ecfs.cli.linux import holders
from ecfs.cli.outcome import Json, print_json
from ecfs.cli.params import TARGET, json_option, log_file_option
from ecfs.cli.pool import check_pool_file, distinct, join_targets, write_pool_file
from ecfs.cli.secret import SecretSource, secret_options
from ecfs.cli.streams import OutputFailed
from ecfs.cli.text import format_size, parse_size, printable, typed
from ecfs.cli.tools import Tools


@click.command("mkfs")
@click.option(
    "--data",
    type=click.IntRange(1, DATA_SHARDS_MAX),
    required=True,
    help="Data shards a stripe (k): this many targets are enough to read.",
)
@click.option(
    "--parity",
    type=click.IntRange(1, PARITY_SHARDS_MAX),
    required=True,
    help="Parity shards a stripe (m): this many targets may be lost.",
)
@secret_options
@click.option("--pool-file", metavar="FILE", help="Write the targets' paths to FILE, to name POOL.")
@click.option("--force", is_flag=True, help="Overwrite a pool that is there; its data is lost.")
@click.option("--recovery-key", is_flag=True, help="Make a recovery key, to keep on paper.")
@click.option("--kdf-memory", metavar="SIZE", help="Memory of one passphrase try (64M and up).")
@click.option(
    "--kdf-passes",
    type=click.IntRange(KDF_PASSES_FLOOR, KDF_PASSES_CAP),
    default=KDF_PASSES_DEFAULT,
    show_default=True,
    help="Passes over that memory.",
)
@json_option
@log_file_option
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True, type=TARGET)
@click.pass_obj
def mkfs(
    tools: Tools,
    /,
    data: int,
    parity: int,
    pool_file: str | None,
    force: bool,
    recovery_key: bool,
    kdf_memory: str | None,
    kdf_passes: int,
    as_json: bool,
    log_file: str | None,
    targets: tuple[str, ...],
    **sources: Any,
) -> int:
    """Make a pool over the directories TARGET, at least DATA + PARITY of them."""
    tools.log("ecfs mkfs", log_file=log_file)
    paths = distinct(targets)
    if len(paths) < data + parity:
        raise TooFewTargets(
            f"{data}+{parity} needs at least {data + parity} targets and {len(paths)} were given; "
            "give more, or choose a smaller geometry"
        )
    places = tuple(os.path.realpath(path) for path in paths)
    record = tools.run.with_target(places)
    if record is not None:
        raise InUse(f"a pool on these targets is mounted at {record.mountpoint}; unmount it first")
    # Root is not kept out by the locks of other users' mounts.
    if force and (users := holders(*places, only_open=True)):
        used = next((path for path in places if holders(path, only_open=True)), places[0])
        raise InUse(f"{used} is in use by {', '.join(users)}; unmount the pool there first")
    if pool_file is not None:
        check_pool_file(Path(pool_file), paths)
    memory_kib = kdf_memory_kib(kdf_memory, machine_memory_len())
    source = SecretSource(**sources)
    order = NewPool(
        paths=paths,
        data=data,
        parity=parity,
        key=Key(source.kind, source.read(confirm=True)),
        kdf_memory_kib=memory_kib,
        kdf_passes=kdf_passes,
        force=force,
        recovery_key=recovery_key,
    )
    made = trio.run(tools.engine.make, order)
    try:
        if as_json:
            print_json(made)
        else:
            _tell(made)
    except OutputFailed as error:
        raise ResultLost(_untold(made, error)) from error
    if pool_file is not None:
        # After the recovery key is out, which nothing shows a second time.
        try:
            write_pool_file(Path(pool_file), paths)
        except OSError as error:
            raise EcfsError(
                f"the pool {made['pool_id']} was made, but its pool file {pool_file} could not be "
                f"written: {error.strerror}. Write it yourself, one path per line, or name the "
                "targets"
            ) from error
    if not as_json:
        pool = pool_file or join_targets(paths)
        click.echo(f"mount it with: ecfs mount {typed(pool)} MOUNTPOINT")
    return 0


class ResultLost(EcfsError):
    """What a command has made could not be told."""

    id = OutputFailed.id


def _untold(made: Json, error: OutputFailed) -> str:
    told = f"{error}; the pool {made['pool_id']} was made all the same"
    if made.get("recovery_key"):
        told += (", but nobody has seen its recovery key and nothing shows it again: make the pool "
                 "anew with --force, or do without one")
    return told


def machine_memory_len() -> int:
    """The machine's memory, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def kdf_memory_kib(text: str | None, machine_len: int) -> int:
    """The memory of the key derivation in KiB, within floor and cap. Raises UsageRefusal."""
    if text is None:
        return KDF_MEMORY_DEFAULT_KIB
    cap_kib = min(KDF_MEMORY_CAP_KIB, machine_len // 2 // KIB)
    memory_kib = parse_size(text) // KIB
    if not KDF_MEMORY_FLOOR_KIB <= memory_kib <= cap_kib:
        raise UsageRefusal(
            f"--kdf-memory {text} is out of range: {format_size(KDF_MEMORY_FLOOR_KIB * KIB)} to "
            f"{format_size(cap_kib * KIB)} on this machine"
        )
    return memory_kib


def _tell(made: Json) -> None:
    click.echo(f"made pool {made['pool_id']}: {geometry_text(made['geometry'])}")
    if (quorum := made.get("quorum")) is not None:
        click.echo(f"quorum: {_quorum_text(quorum)}")
    for warning in made.get("warnings", []):
        click.echo(f"ecfs: warning: {printable(warning)}", err=True)
    if made.get("recovery_key"):
        click.echo(f"recovery key (write it down, keep it apart): {made['recovery_key']}")


def geometry_text(geometry: Json) -> str:
    """`4+2: any 4 of 6 shards are enough`."""
    data, parity = geometry["data"], geometry["parity"]
    return f"{data}+{parity}, any {data} of the {data + parity} shards of a stripe are enough"


def _quorum_text(quorum: Any) -> str:
    if isinstance(quorum, dict):
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in quorum.items())
    return str(quorum)
