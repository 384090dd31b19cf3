"""Mutants of the command line."""

from ecfs.testing.mutation.mutant import Mutant

_DEAD = ("tests/unit/cli/test_dead_mounts.py",)

COMMAND_MUTANTS = (
    Mutant("mount-point-asked-for-access", "ecfs/cli/params.py",
           "MOUNTPOINT = _AnyPath()", "MOUNTPOINT = click.Path()", _DEAD),
    Mutant("server-just-killed-taken-for-a-strangers", "ecfs/cli/linux.py",
           "_SERVER_GONE = (errno.ENOTCONN, errno.ECONNABORTED)", "_SERVER_GONE = ()", _DEAD),
)
