"""`mount.ecfs` and `umount.ecfs`: what mount(8) and umount(8) call."""

import click

from ecfs.base.errors import UsageRefusal
from ecfs.cli.linux import enter_mount_namespace
from ecfs.cli.mount import MountOrder, perform
from ecfs.cli.mountopts import parse
from ecfs.cli.params import MOUNTPOINT, POOL
from ecfs.cli.secret import SecretSource
from ecfs.cli.tools import Tools
from ecfs.cli.umount import perform as perform_umount


@click.command("mount.ecfs")
@click.option("-s", "sloppy", is_flag=True, help="Pass over unknown mount options.")
@click.option("-f", "fake", is_flag=True, help="Check the arguments, mount nothing.")
@click.option("-n", "_no_mtab", is_flag=True, help="Accepted; there is no mtab to write.")
@click.option("-v", "verbose", is_flag=True, help="Say what was done.")
@click.option("-N", "namespace", metavar="NS", help="Mount in this mount namespace.")
@click.option("-t", "_fs_type", metavar="TYPE", help="Accepted; the type is ecfs.")
@click.option("-o", "words", metavar="OPT,...", multiple=True, help="Mount options.")
@click.argument("source", type=POOL)
@click.argument("directory", type=MOUNTPOINT)
@click.pass_obj
def mount_helper(
    tools: Tools,
    /,
    sloppy: bool,
    fake: bool,
    _no_mtab: bool,
    verbose: bool,
    namespace: str | None,
    _fs_type: str | None,
    words: tuple[str, ...],
    source: str,
    directory: str,
) -> int:
    """Mount the pool SOURCE at DIRECTORY, for mount(8); passfile= and its like are in OPT."""
    wish = parse(words, sloppy=sloppy)
    if fake:
        return 0
    if namespace is not None:
        enter_mount_namespace(namespace)
    result = perform(tools, MountOrder(source, directory, SecretSource(), wish))
    if verbose:
        click.echo(f"mounted {source} at {directory}")
    return result


@click.command("umount.ecfs")
@click.option("-n", "_no_mtab", is_flag=True, help="Accepted; there is no mtab to write.")
@click.option("-v", "verbose", is_flag=True, help="Say what was done.")
@click.option("-f", "force", is_flag=True, help="Refused: what is not durable would be lost.")
@click.option("-l", "lazy", is_flag=True, help="Refused: it would not wait for durability.")
@click.option("-r", "_read_only", is_flag=True, help="Accepted; a busy mount is only reported.")
@click.option("-N", "namespace", metavar="NS", help="Unmount in this mount namespace.")
@click.option("-t", "_fs_type", metavar="TYPE", help="Accepted; the type is ecfs.")
@click.argument("directory", type=MOUNTPOINT)
@click.pass_obj
def umount_helper(
    tools: Tools,
    /,
    _no_mtab: bool,
    verbose: bool,
    force: bool,
    lazy: bool,
    _read_only: bool,
    namespace: str | None,
    _fs_type: str | None,
    directory: str,
) -> int:
    """Unmount the pool at DIRECTORY, for umount(8); returns when everything is durable."""
    if force or lazy:
        raise UsageRefusal("a pool is unmounted when all of it is durable; use neither -f nor -l")
    if namespace is not None:
        enter_mount_namespace(namespace)
    result = perform_umount(tools.run, directory)
    if verbose:
        click.echo(f"unmounted {directory}")
    return result
