"""Mutants of the command line."""

from ecfs.testing.mutation.mutant import Mutant

_FILES = ("tests/unit/cli/test_unusable_files.py",)
_DEAD = ("tests/unit/cli/test_dead_mounts.py",)

COMMAND_MUTANTS = (
    Mutant("mount-point-asked-for-access", "ecfs/cli/params.py",
           "MOUNTPOINT = _AnyPath()", "MOUNTPOINT = click.Path()", _DEAD),
    Mutant("server-just-killed-taken-for-a-strangers", "ecfs/cli/linux.py",
           "_SERVER_GONE = (errno.ENOTCONN, errno.ECONNABORTED)", "_SERVER_GONE = ()", _DEAD),
    Mutant("log-file-opened-at-its-first-line", "ecfs/cli/logs.py",
           "        check_log_file(log_file)\n", "", _FILES),
    Mutant("mount-looks-at-its-log-file-last", "ecfs/cli/mount.py",
           "        check_log_file(log_path)\n", "        pass\n", _FILES),
    Mutant("full-disk-of-a-log-told-on-standard-error", "ecfs/cli/logs.py",
           "        if not isinstance(sys.exc_info()[1], OSError):\n", "        if sys:\n", _FILES),
    Mutant("key-that-cannot-be-read-a-bug", "ecfs/cli/secret.py",
           "    except OSError as error:\n        raise KeyUnreadable(",
           "    except ZeroDivisionError as error:\n        raise KeyUnreadable(", _FILES),
)
