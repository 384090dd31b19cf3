"""Mutants of what a machine remembers between mounts."""

from ecfs.testing.mutation.mutant import Mutant

_ANCHOR = "ecfs/volume/anchor.py"
_FILE = "ecfs/volume/statefile.py"
_CREATING = "ecfs/volume/creating.py"
_MAKING = ("tests/unit/volume/test_making.py",)
_FILES = ("tests/unit/volume/test_state_files.py",)

MEMORY_MUTANTS = (
    Mutant("anchor-of-a-later-mount-put-back", _ANCHOR,
           "is_wanted=lambda: self._is_newest(anchor)):", "is_wanted=lambda: True):", _FILES),
    Mutant("accepted-history-forgotten", "ecfs/volume/descent.py",
           "        on_accepted(anchor)\n", "", _FILES),
    Mutant("any-anchor-given-up", _ANCHOR, "or there == self._given_up or",
           "or self._given_up or", _FILES),
    Mutant("fenced-mount-saves-its-anchor", "ecfs/volume/tending.py",
           "if committer is None or isinstance(committer.failure, Fenced):\n"
           "                    # The", "if committer is None:\n                    # The", _FILES),
    Mutant("state-file-looked-at-too-early", _FILE,
           "            if not is_wanted():\n                return False\n", "", _FILES),
    Mutant("state-file-written-by-two", _FILE,
           "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
           "fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)", _FILES),
    Mutant("suspended-holder-waited-for-each-time", _FILE,
           "tries_count, self._tries_count = self._tries_count, 1",
           "tries_count = self._tries_count", _FILES),
    Mutant("state-file-renamed-before-it-is-there", _FILE,
           "                os.fsync(file.fileno())\n", "                pass\n",
           ("tests/unit/volume/test_anchor.py",)),
    Mutant("notes-of-others-written-over", _ANCHOR,
           "self._replace(self.load(), changed)", "self._replace(known, changed)", _FILES),
    Mutant("damaged-notes-taken-for-none", _ANCHOR,
           "        except (ValueError, RecursionError) as error:\n"
           "            raise AnchorUnusable(\n",
           "        except (ValueError, RecursionError) as error:\n"
           "            return {}\n            raise AnchorUnusable(\n", _FILES),
    Mutant("pool-noted-after-its-labels", _CREATING,
           "        remember(order, pool_id, environment)\n"
           "        made = _write_labels(order, environment, targets, pool_id)\n",
           "        made = _write_labels(order, environment, targets, pool_id)\n"
           "        remember(order, pool_id, environment)\n", _FILES),
    Mutant("half-made-pool-left", "ecfs/volume/entry.py",
           "                await take_back(order, pool_id, environment)\n",
           "                pass\n", _MAKING),
    Mutant("half-made-pool-still-noted", _CREATING,
           "    memory.forget(pool_id)\n", "    pass\n", _MAKING),
    Mutant("opened-pool-taken-back", "ecfs/volume/entry.py",
           "        except (Fenced, InUse):\n", "        except InUse:\n", _MAKING),
    Mutant("what-a-killed-mkfs-left-is-a-pool", _CREATING,
           "        if not _is_unfinished(target, names):\n", "        if True:\n", _MAKING),
    Mutant("pool-with-columns-was-never-finished", _CREATING,
           "            and not _columns_of(target)\n", "", _MAKING),
    Mutant("pool-with-records-was-never-finished", _CREATING,
           "and not any(any(target.read(name, 0, BLOCK_LEN)) for name",
           "and not any(not any(target.read(name, 0, BLOCK_LEN)) and 0 for name", _MAKING),
    Mutant("pool-of-several-labels-was-never-finished", _CREATING,
           "if len(labels) != 1 or", "if not labels or", _MAKING),
    Mutant("emptied-before-all-were-looked-at", _CREATING,
           "force=order.force)\n        for target in targets:\n            _empty(target)\n",
           "force=order.force)\n            _empty(target)\n", _MAKING),
    Mutant("two-mkfs-at-once", _CREATING,
           "                lock.take()\n            except",
           "                pass\n            except", _MAKING),
    Mutant("faults-of-one-hide-those-of-another", "ecfs/observe/journal.py",
           "left_out_count = self._admit(event.kind, target)",
           "left_out_count = self._admit(event.kind, None)",
           ("tests/unit/observe/test_journal.py",)),
    Mutant("made-up-ids-are-never-thinned", "ecfs/observe/journal.py",
           "left_out_count = self._admit(event.kind, target)",
           "left_out_count = self._admit(event.kind, event.target)",
           ("tests/unit/observe/test_journal.py",)),
    Mutant("link-to-nowhere-is-no-memory", _FILE,
           "if os.path.islink(place) and not os.path.exists(place):", "if False:", _FILES),
)
