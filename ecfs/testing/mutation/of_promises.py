"""Mutants of what is answered before it is done."""

from ecfs.testing.mutation.mutant import Mutant

_PROMISES = ("tests/unit/base/test_promises.py",)
_TREE = ("tests/unit/namespace/test_tree.py", "tests/unit/namespace/test_tree_model.py")
_FILES = ("tests/unit/content/test_promised_writes.py",)
_LOOP = ("tests/unit/driver/test_fuse_loop.py",)
_VOLUME = ("tests/unit/volume/test_promises.py",)
_BASE = "ecfs/base/promises.py"
_DATABASE = "ecfs/metadata/database.py"
_GUARD = "        if self._promises.due is not None:\n            self._promises.keep()\n"


def _unguarded(name: str, head: str) -> Mutant:
    return Mutant(name, _DATABASE, head + _GUARD, head, _TREE)


PROMISE_MUTANTS = (
    Mutant("a-later-promise-before-an-earlier", _BASE,
           "        if self.due is not None:\n            self.keep()\n", "", _PROMISES),
    Mutant("a-broken-promise-is-tried-again", _BASE,
           "        do, self.due = self.due, None\n", "        do = self.due\n", _PROMISES),
    Mutant("nobody-hears-of-a-broken-promise", _BASE,
           "                if self.answered:\n                    self.on_broken(error)\n", "",
           _PROMISES),
    Mutant("what-nobody-was-told-of-is-a-broken-promise", _BASE,
           "                if self.answered:\n", "                if self:\n", _PROMISES),
    Mutant("what-was-answered-stays-so", _BASE,
           "            self.answered = False\n", "", _PROMISES),
    Mutant("one-broken-promise-keeps-others-from-being-kept", _BASE,
           "                failure = error\n", "                raise error\n", _PROMISES),
    Mutant("all-goes-on-after-a-broken-promise", _BASE,
           "                    self.on_broken(error)\n                raise\n",
           "                    self.on_broken(error)\n", _PROMISES),
    _unguarded("a-look-at-one-row-before-a-promise-is-kept",
               '        """The first row, or None."""\n'),
    _unguarded("a-look-at-rows-before-a-promise-is-kept",
               '        """All rows; use a LIMIT where their number is not bounded '
               'otherwise."""\n'),
    _unguarded("a-transaction-without-what-was-promised",
               '        """Whether changes wait for `commit`."""\n'),
    Mutant("a-commit-without-what-was-promised", _DATABASE,
           "        if self.in_transaction:\n",
           "        if self._connection.in_transaction:\n", _TREE),
    _unguarded("a-change-before-what-was-promised",
               '        """Open the transaction if none is open."""\n'),
    Mutant("what-was-promised-is-seen-as-no-change", _DATABASE,
           "        self._promises.make(partial(self._make, make))\n"
           "        self.change_count += 1\n",
           "        self._promises.make(make)\n", _TREE),
    Mutant("what-was-promised-is-two-changes", _DATABASE,
           "        self.change_count -= 1\n", "", _TREE),
    Mutant("the-number-of-a-broken-promise-is-given-again", "ecfs/metadata/tree.py",
           "        if not self._next_inode:\n", "        if self._database:\n", _TREE),
    Mutant("the-number-of-an-inode-that-is-gone-is-given-again", "ecfs/metadata/tree.py",
           "(SELECT seq FROM sqlite_sequence WHERE name='inodes')", "NULL", _TREE),
    Mutant("a-file-without-the-write-that-was-promised", "ecfs/content/flusher.py",
           "        if self.promises.due is not None:\n", "        if not self._states:\n",
           _FILES),
    Mutant("promises-are-kept-before-the-answer", "ecfs/driver/fuse_loop.py",
           "            rest = self._handle(number, data)\n            self._answered()\n",
           "            self._answered()\n            rest = self._handle(number, data)\n", _LOOP),
    Mutant("who-waits-leaves-his-promises", "ecfs/driver/fuse_loop.py",
           "            self._waiting_count -= 1\n            self._answered()\n",
           "            self._waiting_count -= 1\n", _LOOP),
    Mutant("a-broken-promise-and-writing-goes-on", "ecfs/volume/volume.py",
           "            each.on_broken = self._note_broken_promise\n", "            pass\n",
           _VOLUME),
    Mutant("an-unlink-in-vain-is-well", "ecfs/driver/requests.py",
           "        keep_all(self._mounted.promises, answered=False)\n", "", _VOLUME),
    Mutant("an-orphan-with-a-name-loses-its-bytes", "ecfs/driver/orphans.py",
           "        mounted.tree.check_orphans(inodes)\n", "",
           ("tests/unit/driver/test_requests.py",)),
    Mutant("an-access-time-is-promised", "ecfs/namespace/tree.py",
           "        self._update(read)\n", "        self._store(read)\n", _TREE),
    Mutant("a-whiteout-inherits-nothing", "ecfs/namespace/tree.py",
           "                    self._insert_inode(old_parent, made, None, stored)\n",
           "                    self._insert_inode(old_parent, made, None, [])\n",
           ("tests/unit/namespace/test_acls.py",)),
    Mutant("a-change-that-failed-is-remembered", _DATABASE,
           "            # Others have seen it in memory, as it never was.\n"
           "            self.undo_count += 1\n", "", _TREE),
    Mutant("a-sync-is-well-after-a-broken-promise", "ecfs/volume/volume.py",
           "lost = lost or self._lost or self.files", "lost = lost or self.files", _VOLUME),
    Mutant("what-came-before-a-broken-promise-goes-with-it", "ecfs/volume/volume.py",
           "                # What came before is safe, and what was written since a bug was noted "
           "as well.\n                await self.fsync(None)\n", "                pass\n", _VOLUME),
)
