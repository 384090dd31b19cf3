"""`ecfs install-system`: makes mount(8), fsck(8), man(1) and the shells know ecfs, or forget it."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from ecfs.base.errors import EcfsError

HELPERS = ("mount.ecfs", "mount.fuse.ecfs", "umount.ecfs", "fsck.ecfs", "mkfs.ecfs")
MARK = "installed by ecfs install-system"
_HEAD_LEN = 512


@dataclass(frozen=True)
class Link:
    """A symbolic link to be at `path`. Ours if it leads to a program of the same name."""

    path: Path
    leads_to: Path

    def is_ours(self) -> bool:
        """Whether what stands at `path` was put there by us."""
        return self.path.is_symlink() and os.path.basename(os.readlink(self.path)) in HELPERS

    def install(self) -> None:
        """Makes the link."""
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(self.leads_to)


@dataclass(frozen=True)
class Text:
    """A file to be at `path`. Ours if our mark stands near its beginning."""

    path: Path
    content: str

    def is_ours(self) -> bool:
        """Whether what stands at `path` was put there by us."""
        if self.path.is_symlink() or not self.path.is_file():
            return False
        with self.path.open("rb") as file:
            return MARK.encode() in file.read(_HEAD_LEN)

    def install(self) -> None:
        """Writes the file; whole, or not at all."""
        temporary = self.path.with_name(f".{self.path.name}.new")
        temporary.write_text(self.content)
        temporary.chmod(0o644)
        temporary.rename(self.path)


Item = Link | Text


@click.command("install-system")
@click.option(
    "--prefix",
    metavar="DIR",
    type=click.Path(file_okay=False, readable=False),
    help="Use DIR/sbin and DIR/share in place of /sbin and /usr/local/share.",
)
@click.option("--remove", is_flag=True, help="Take away what an earlier call put in place.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.pass_context
def install_system(context: click.Context, prefix: str | None, remove: bool, dry_run: bool) -> int:
    """Link the helpers of mount(8) and fsck(8) and copy manual pages and completions into place."""
    sbin = Path(prefix).absolute() / "sbin" if prefix else Path("/sbin")
    share = Path(prefix).absolute() / "share" if prefix else Path("/usr/local/share")
    items: list[Item] = [*helper_links(sbin), *manual_pages(share / "man")]
    items += completions(context.find_root().command, share)
    for item in items:
        try:
            if remove:
                _take_away(item, dry_run)
            else:
                _put(item, dry_run)
        except OSError as error:
            verb = "removed" if remove else "installed"
            raise EcfsError(
                f"{item.path} cannot be {verb}: {error.strerror}; "
                "do it as root, or below a directory of your own with --prefix DIR"
            ) from error
    return 0


def _put(item: Item, dry_run: bool) -> None:
    if os.path.lexists(item.path) and not item.is_ours():
        raise EcfsError(f"{item.path} is there and is not ours; move it away first")
    target = f" -> {item.leads_to}" if isinstance(item, Link) else ""
    if not dry_run:
        item.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        item.install()
    click.echo(f"{'would install' if dry_run else 'installed'} {item.path}{target}")


def _take_away(item: Item, dry_run: bool) -> None:
    if item.is_ours():
        if not dry_run:
            item.path.unlink()
        click.echo(f"{'would remove' if dry_run else 'removed'} {item.path}")


def programs() -> Path:
    """The directory with the installed commands. Raises EcfsError if ecfs was not installed."""
    for place in (Path(sys.executable).parent, Path(sys.argv[0]).absolute().parent):
        if all((place / name).is_file() for name in HELPERS):
            return place
    raise EcfsError("the helper commands are not installed; install ecfs with pip first")


def helper_links(sbin: Path) -> list[Link]:
    """The links that mount(8), umount(8), fsck(8) and mkfs(8) look for."""
    place = programs()
    return [Link(sbin / name, place / name) for name in HELPERS]


def manual_sources() -> list[Path]:
    """The manual pages that came with this program."""
    package = Path(__file__).parent
    for place in (package / "man", package.parent.parent / "man"):
        pages = sorted(place.glob("*.[1578]"))
        if pages:
            return pages
    raise EcfsError("the manual pages did not come with this installation")


def manual_pages(man: Path) -> list[Text]:
    """Copies of the manual pages, each with our mark on top."""
    return [
        Text(
            man / f"man{page.suffix[1:]}" / page.name,
            f'.\\" {MARK}\n{page.read_text()}',
        )
        for page in manual_sources()
    ]


def completions(command: click.Command, share: Path) -> list[Text]:
    """Completion scripts for bash, zsh and fish; each asks the `ecfs` command itself."""
    places: list[tuple[type[ShellComplete], Path]] = [
        (BashComplete, share / "bash-completion" / "completions" / "ecfs"),
        (ZshComplete, share / "zsh" / "site-functions" / "_ecfs"),
        (FishComplete, share / "fish" / "vendor_completions.d" / "ecfs.fish"),
    ]
    found = []
    for kind, path in places:
        shell = kind(command, {}, "ecfs", "_ECFS_COMPLETE")
        script = shell.source_template % shell.source_vars()
        # zsh wants `#compdef` on the first line, so the mark goes below it.
        first, _, rest = script.lstrip("\n").partition("\n")
        found.append(Text(path, f"{first}\n# {MARK}\n{rest}\n"))
    return found
