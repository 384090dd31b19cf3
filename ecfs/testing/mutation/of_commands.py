"""Mutants of the command line."""

from ecfs.testing.mutation.mutant import Mutant

_FILES = ("tests/unit/cli/test_unusable_files.py",)
_LOOKING = ("tests/unit/cli/test_looking.py",)
_BIND = ("tests/unit/cli/test_bind_mounts.py",)
_ENTRY = ("tests/unit/cli/test_entry.py",)
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
    Mutant("reading-needs-an-audit-log", "ecfs/volume/environment.py",
           "            if not reads_only:\n", "            if not audit_needed:\n",
           _LOOKING, also=(("        path = str(self.state_dir / AUDIT_LOG_NAME)\n",
                            "        path = str(self.state_dir / AUDIT_LOG_NAME)\n"
                            "        audit_needed = False\n"),)),
    Mutant("writing-goes-on-without-an-audit-log", "ecfs/volume/opening.py",
           "environment.journal(reads_only=options.read_only)",
           "environment.journal(reads_only=True)", _LOOKING),
    Mutant("pool-made-before-its-audit-log", "ecfs/volume/entry.py",
           "    environment.journal().close()\n", "", _LOOKING),
    Mutant("reading-notes-targets-or-fails", "ecfs/volume/opening.py",
           "                    needed=not options.read_only)", "                    needed=True)",
           _LOOKING),
    Mutant("state-of-a-look-is-read-only", "ecfs/cli/engine.py",
           "status(only_looked_at=self._transport is None)", "status(only_looked_at=False)",
           _LOOKING),
    Mutant("state-of-a-read-only-mount-is-healthy", "ecfs/cli/engine.py",
           "status(only_looked_at=self._transport is None)", "status(only_looked_at=True)",
           _LOOKING),
    Mutant("epoch-of-who-only-reads-is-none", "ecfs/volume/opened.py",
           "return self.epoch or (", "return self.epoch if self.epoch == 0 else (", _LOOKING),
    Mutant("nobody-asked-to-write-hides-why-nobody-can", "ecfs/volume/opening.py",
           "    elif members_online < quorum.commit:\n",
           "    elif not options.read_only and members_online < quorum.commit:\n", _LOOKING),
    Mutant("bind-mount-waits-for-the-pool", "ecfs/cli/umount.py",
           "        if serving and (left := _places_of(record.device)):\n            _tell",
           "        if serving and not (left := _places_of(record.device)):\n            _tell",
           _BIND),
    Mutant("mount-with-bind-mounts-called-closed", "ecfs/cli/umount.py",
           "is_bind=record.mountpoint != place)", "is_bind=True)", _BIND),
    Mutant("mount-found-by-its-path-alone", "ecfs/cli/runtime.py",
           "if record.device == mount.device and record.is_alive]",
           "if record.mountpoint == place and record.is_alive]", _BIND),
    Mutant("renamed-folder-synced-where-it-was", "ecfs/cli/whose.py",
           "    return replace(record, mountpoint=here[0])\n", "    return record\n", _BIND),
    Mutant("stranger-taken-for-who-was-there-before", "ecfs/cli/runtime.py",
           "return None if record is not None and record.is_alive and record.device else record",
           "return record", _BIND),
    Mutant("interrupted-while-it-is-loaded", "ecfs/cli/entry.py",
           "        signal.signal(signal.SIGINT, signal.SIG_DFL)\n", "        pass\n", _ENTRY),
    Mutant("ignored-interruption-heeded", "ecfs/cli/entry.py",
           "    heeds = signal.getsignal(signal.SIGINT) is signal.default_int_handler\n",
           "    heeds = True\n", _ENTRY),
    Mutant("key-that-cannot-be-read-a-bug", "ecfs/cli/secret.py",
           "    except OSError as error:\n        raise KeyUnreadable(",
           "    except ZeroDivisionError as error:\n        raise KeyUnreadable(", _FILES),
)
