"""Mutants of who may do what on a mount, of what a mount asks of the machine, and of what it has at
hand for who looks names up."""

from ecfs.testing.mutation.mutant import Mutant

_ALONE = ("tests/posix/test_root_alone.py",)
_AHEAD = ("tests/unit/namespace/test_names_ahead.py",)
_CORES = ("tests/unit/driver/test_idle_cores.py",)
_ASKED = ("tests/unit/driver/test_requests.py",)
_PAST = ("tests/posix/test_past_the_cache.py",)
_TOLD = ("tests/unit/driver/test_kernel_transport.py",)
_TRANSPORT = "ecfs/driver/kernel_transport.py"
_IDLE = "ecfs/driver/idle_cores.py"

DRIVER_MUTANTS = (
    Mutant("names-ahead-outlive-a-change", "ecfs/namespace/names_ahead.py",
           "            self._walks.clear()\n", "            pass\n", _AHEAD),
    Mutant("names-ahead-of-another-directory", "ecfs/namespace/names_ahead.py",
           "self._walks.get(parent)", "next(iter(self._walks.values()), None)", _AHEAD),
    Mutant("what-was-looked-up-outlives-a-change", "ecfs/namespace/names_ahead.py",
           "        if (database.change_count, database.undo_count) == self._version:\n",
           "        if database:\n", _AHEAD),
    Mutant("what-was-looked-up-in-another-directory", "ecfs/namespace/names_ahead.py",
           "if asked_name == name and asked_parent == parent:", "if asked_name == name:", _AHEAD),
    Mutant("names-ahead-though-nobody-wants-them", "ecfs/namespace/names_ahead.py",
           "if name <= walk.last or 2 * walk.used_count < len(walk.rows):",
           "if name <= walk.last:", _AHEAD),
    Mutant("names-ahead-of-all-directories", "ecfs/namespace/names_ahead.py",
           "            if len(self._walks) >= DIRECTORIES_MAX:\n",
           "            if not database:\n", _AHEAD),
    Mutant("past-the-cache-of-any-kernel", _TRANSPORT,
           "minor >= fuse.MINOR_DIRECT_MIN and not", "not", _TOLD),
    Mutant("past-a-cache-that-gathers", _TRANSPORT,
           "            self._features & Feature.WRITEBACK_CACHE)\n",
           "            False)\n", _TOLD),
    Mutant("past-the-cache-what-is-read-as-well", _TRANSPORT,
           " and flags & os.O_ACCMODE == os.O_WRONLY", "", _TOLD),
    Mutant("past-the-cache-and-a-sync-that-nobody-asks-for", _TRANSPORT,
           "                      and not flags & os.O_DSYNC)", "                      )", _TOLD),
    Mutant("a-write-that-asks-to-be-durable-is-not", _TRANSPORT,
           "inode if sync else None)", "None)", _PAST),
    Mutant("a-write-past-the-cache-keeps-privileges", _TRANSPORT,
           "kill_privileges=bool(flags & fuse.WRITE_IN_KILL_SUIDGID))\n        # A",
           "kill_privileges=False)\n        # A", _PAST),
    Mutant("told-though-it-changed", "ecfs/driver/lookups.py",
           "return self._told if self._told_version == self._version() else frozenset()",
           "return self._told", _ASKED),
    Mutant("told-though-it-was-forgotten", "ecfs/driver/lookups.py",
           "            self._told.discard(inode)\n", "", _ASKED),
    Mutant("told-though-it-was-written", "ecfs/driver/entries.py",
           "if inode in known and files.pending(inode) is None}", "if inode in known}", _ASKED),
    Mutant("modes-bind-nobody", "ecfs/driver/kernel.py",
           "    return allow_other or not is_root_of_machine()\n", "    return False\n", _ALONE),
    Mutant("root-of-a-namespace-is-root", "ecfs/driver/kernel.py",
           '.read_text().split() == ALL_USERS', '.read_text().split() != []', _ALONE),
    Mutant("root-runs-what-nobody-may", "ecfs/driver/kernel.py",
           "bool(mode & ANYBODY_RUNS)", "bool(mode)", _ALONE),
    Mutant("idle-cores-never-halt-again", _IDLE,
           "                self._take_back()\n        finally:",
           "                pass\n        finally:", _CORES),
    Mutant("idle-cores-outlive-the-mount", _IDLE,
           "        finally:\n            self._take_back()\n",
           "        finally:\n            pass\n", _CORES),
    Mutant("idle-cores-awake-for-one-request-now-and-then", _IDLE,
           "            if now_ns - self._burst_since_ns <= BURST_NS_MAX:\n",
           "            if now_ns:\n", _CORES),
)
