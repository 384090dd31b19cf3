"""Mutants of small synced writes in commit records, and of the watch over names."""

from ecfs.testing.mutation.mutant import Mutant

_LOGGED = ("tests/unit/volume/test_logged_writes.py",)
_UNIT = ("tests/unit/content/test_logged.py",)
_MODEL = ("tests/unit/content/test_model.py", "tests/unit/content/test_failing.py")
_BLOCKS = ("tests/unit/content/test_blocks_taken.py",)
_RECORDS = ("tests/unit/formats/test_impossible_values.py",)
_WATCH = ("tests/unit/targets/test_name_watch.py",)
_WATCHED = ("tests/unit/volume/test_watched_claims.py",)
_WAKERS = ("tests/unit/targets/test_wakers.py",)
_JOBS = "ecfs/targets/jobs.py"
_COMMITTING = "ecfs/volume/committing.py"
_FLUSHER = "ecfs/content/flusher.py"
_LOG = "ecfs/content/logged.py"
_NAMES = "ecfs/targets/name_watch.py"

LOGGED_MUTANTS = (
    Mutant("pages-without-what-is-logged", _COMMITTING,
           "if self._log is None or self._database.in_transaction:", "if self._log is None:",
           _LOGGED),
    Mutant("entered-and-never-said", _COMMITTING,
           "entered = changed and self._carried", "entered = False", _LOGGED),
    Mutant("entered-without-pages-not-said", _COMMITTING,
           "if entered and not steps:", "if not entered and not steps:", _LOGGED),
    Mutant("what-could-not-be-entered-dropped", _COMMITTING,
           "            if changed:\n                # What", "            if not changed:\n"
           "                # What", _LOGGED),
    Mutant("carried-only-before-the-base", "ecfs/volume/checkpointing.py",
           "                self._committer.carry_again()\n", "", _LOGGED),
    Mutant("logged-in-older-pools", "ecfs/volume/volume.py",
           "log=self.files.flusher.log if logs_writes(opened.label) else None)",
           "log=self.files.flusher.log)", _LOGGED),
    Mutant("superseded-writes-replayed", "ecfs/volume/recovery.py",
           "            writes.clear()\n", "            pass\n", _LOGGED),
    Mutant("logged-writes-not-replayed", "ecfs/volume/recovery.py",
           "        writes += commit.writes\n", "", _LOGGED),
    Mutant("restored-without-its-size", "ecfs/content/restoring.py",
           "        state.size = max(state.size, write.offset + len(write.data))\n", "", _LOGGED),
    Mutant("restored-without-its-times", "ecfs/content/restoring.py",
           "        state.mtime_ns, state.ctime_ns = write.mtime_ns, write.ctime_ns\n", "",
           _LOGGED),
    Mutant("an-inode-that-is-lost-keeps-the-pool-closed", "ecfs/content/restoring.py",
           "        except EcfsError as error:\n", "        except KeyError as error:\n", _LOGGED),
    Mutant("who-only-reads-writes-it-out", "ecfs/volume/volume.py",
           "            if self.committer is not None:\n                await self.files.flush",
           "            if self.committer is not self:\n                await self.files.flush",
           _LOGGED),
    Mutant("an-overtaken-round-enters-it-again", _FLUSHER,
           "                piece.limit = 0\n", "                pass\n", _LOGGED),
    Mutant("settled-and-still-logged", _FLUSHER,
           "            self.log.drop(gone)\n", "", _MODEL),
    Mutant("gone-and-still-logged", _FLUSHER,
           "        self.log.drop(state.frozen)\n", "", _LOGGED),
    Mutant("logged-after-what-is-newer", _FLUSHER,
           "                      if piece.inode not in self.rows.stuck] + pieces\n",
           "                      if piece.inode not in self.rows.stuck] + pieces\n"
           "            pieces.reverse()\n", _LOGGED),
    Mutant("logged-for-ever", _FLUSHER,
           "                         or self.log.since_ns <= old_ns):\n",
           "                         or not pieces and pressed):\n", _LOGGED),
    Mutant("any-number-in-a-record", _LOG,
           "len(self._fresh) + count <= LOGGED_COUNT_MAX", "len(self._fresh) <= LOGGED_COUNT_MAX",
           _LOGGED),
    Mutant("any-number-logged", _LOG,
           "and len(self._pieces) + count <= 2 * LOGGED_COUNT_MAX",
           "and len(self._pieces) + count <= 9 * LOGGED_COUNT_MAX", _LOGGED),
    Mutant("logged-and-cut-all-the-same", _LOG,
           "bytes(piece.data[: piece.limit])))", "bytes(piece.data)))", _UNIT),
    Mutant("write-past-the-largest-file", "ecfs/formats/commit.py",
           "if inode and data and offset + len(data) <= FILE_LEN_MAX:", "if inode and data:",
           _RECORDS),
    Mutant("dirty-bytes-counted-over-others", "ecfs/content/ranges.py",
           "            if taken and len(dirty) <= SPANS_LOOKED_AT_MAX:\n",
           "            if taken and not dirty:\n", _BLOCKS),
    Mutant("dirty-bytes-counted-twice", "ecfs/content/ranges.py",
           "if merged and begin <= merged[-1][1]:", "if merged and begin < 0:", _BLOCKS),
    Mutant("a-claim-that-is-being-written-is-not-looked-at-again", "ecfs/volume/appending.py",
           "if version is not None and alone:", "if version is not None:", _WATCHED),
    Mutant("claims-looked-at-once", "ecfs/volume/appending.py",
           "self._looked.get(target) == version:", "target in self._looked:", _WATCHED),
    Mutant("watched-on-any-file-system", _NAMES,
           "if file_system_type(folder_fd) not in LOCAL_TYPES:", "if folder_fd < 0:", _WATCH),
    Mutant("lost-events-mean-nothing", _NAMES,
           "                if watch < 0:\n", "                if watch < -1:\n", _WATCH),
    Mutant("a-folder-that-is-gone-stays-as-it-was", _NAMES,
           "                    self._versions.pop(watch, None)\n",
           "                    pass\n", _WATCH),
    Mutant("a-flood-of-names-means-none", _NAMES, "        return False\n", "        return True\n",
           _WATCH),
    Mutant("who-gave-up-wakes-the-next", _JOBS,
           "            os.eventfd_read(fd)\n", "            pass\n", _WAKERS),
    Mutant("written-to-after-it-was-given-back", _JOBS,
           "                    self._fd, self._waiting = None, False\n",
           "                    pass\n", _WAKERS),
    Mutant("descriptors-are-used-once", _JOBS,
           "        if self._free:\n            return",
           "        if self._closed:\n            return", _WAKERS),
)
