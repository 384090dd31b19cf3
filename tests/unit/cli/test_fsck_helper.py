from pathlib import Path

import pytest

from ecfs.base.errors import UsageRefusal
from ecfs.cli.fsck_helper import read_arguments
from ecfs.cli.secret import SecretSource

NOWHERE = Path("/nonexistent/fstab")


@pytest.mark.parametrize(
    ("arguments", "depth", "force"),
    [
        (["/p"], None, False),
        (["-a", "/p"], "safe", False),
        (["-p", "-f", "/p"], "safe", True),
        (["-fy", "/p"], "yes", True),
        (["-n", "-C5", "-T", "-V", "-M", "-R", "/p"], "look", False),
        (["-y", "-C", "--", "/p"], "yes", False),
        (["-fC3", "-ap", "/p"], "safe", True),
    ],
)
def test_the_argument_forms_of_fsck(arguments: list[str], depth: str | None, force: bool) -> None:
    order = read_arguments(arguments, NOWHERE)
    assert (order.pool, order.depth, order.force) == ("/p", depth, force)
    assert not order.source.is_given


@pytest.mark.parametrize(
    "arguments",
    [[], ["/a", "/b"], ["-Q", "/p"], ["-Cx", "/p"], ["-ny", "/p"], ["--odd", "/p"], ["--passfile"]],
)
def test_other_forms_are_refused(arguments: list[str]) -> None:
    with pytest.raises(UsageRefusal):
        read_arguments(arguments, NOWHERE)


def test_a_pool_whose_name_begins_with_a_dash() -> None:
    assert read_arguments(["-n", "--", "-p"], NOWHERE).pool == "-p"


def test_the_passphrase_may_be_named() -> None:
    assert read_arguments(["--passfile=/f", "/p"], NOWHERE).source.passfile == "/f"
    assert read_arguments(["--keyfile", "/k", "/p"], NOWHERE).source.keyfile == "/k"


def test_at_boot_the_passphrase_is_found_through_fstab(tmp_path: Path) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text(
        "/p /other ext4 passfile=/wrong 0 0\n"
        "/p /mnt ecfs noauto,passfile=/right,x-odd 0 2\n"
        "/q /mnt2 fuse.ecfs defaults 0 2\n"
    )
    assert read_arguments(["-a", "/p"], fstab).source == SecretSource(passfile="/right")
    assert read_arguments(["-a", "/mnt"], fstab).source == SecretSource(passfile="/right")
    assert read_arguments(["-a", "/q"], fstab).source == SecretSource()
    assert read_arguments(["--passfile=/mine", "/p"], fstab).source.passfile == "/mine"


def test_at_boot_the_anchor_is_found_through_fstab(tmp_path: Path) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text("/p /mnt ecfs passfile=/right,anchor_dir=/media/key 0 2\n")
    for given in (["/p"], ["--passfile=/mine", "/p"]):
        assert read_arguments(given, fstab).wish.anchor_dir == "/media/key"
    assert read_arguments(["/q"], fstab).wish.anchor_dir is None
