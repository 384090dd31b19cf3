"""Mutants of what gives room back, and of what says how much there is."""

from ecfs.testing.mutation.mutant import Mutant

_RECLAIMING = "ecfs/volume/reclaiming.py"
_BACK = ("tests/unit/volume/test_giving_back.py",)
_FULL = ("tests/unit/volume/test_full_pool.py",)
_SPACE = ("tests/unit/volume/test_space.py",)
_FLEET = ("tests/unit/stripes/test_fleet.py",)
_MOVING = ("tests/unit/content/test_moving.py",)

ROOM_MUTANTS = (
    Mutant("stripes-given-back-before-the-commit", _RECLAIMING,
           "        await volume.commit()\n        store.given_back_to =",
           "        store.given_back_to =", _BACK),
    Mutant("nothing-punched", _RECLAIMING,
           "        await self._punch(work)\n", "        await self._punch([])\n", _BACK),
    Mutant("headers-punched", "ecfs/volume/holes.py",
           "    at = COLUMN_HEADER_LEN\n", "    at = 0\n", _BACK),
    Mutant("the-end-of-a-live-stripe-punched", "ecfs/volume/holes.py",
           "        at = max(at, offset + record_len(body_len, len(entry.columns)))\n",
           "        at = max(at, offset + body_len // 4096 * 4096)\n", _BACK),
    Mutant("columns-not-cut-where-none-can-punch", "ecfs/volume/holes.py",
           "if one.cut and target.size(name) > one.entry.length:",
           "if one.cut and target.size(name) < one.entry.length:", _BACK),
    Mutant("tails-left-where-none-can-punch", _RECLAIMING,
           "        if not self._cannot:\n            return []\n",
           "        if self._cannot or not self._cannot:\n            return []\n", _BACK),
    Mutant("sparse-stripes-left", _RECLAIMING,
           "chosen = _slice(plan, min(room_len, SLICE_LEN)) or self._tail()",
           "chosen = self._tail()", _BACK),
    Mutant("who-may-not-grow-waits-for-nothing", _RECLAIMING,
           "or self._has_room() or self._barren == self._state():\n                    return",
           "or not self._has_room() or self._barren == self._state():\n                    return",
           _BACK),
    Mutant("looked-for-in-vain-each-time", _RECLAIMING,
           "        self._barren = self._state()\n        return False", "        return False",
           _BACK),
    Mutant("never-looked-for-again", "ecfs/metadata/content.py",
           "        self.reduced_count += 1\n", "", _BACK),
    Mutant("a-sync-gives-nothing-back", "ecfs/volume/volume.py",
           "            await self.background.give_back()\n", "            pass\n", _BACK),
    Mutant("catching-up-waits-for-what-was-given-back", "ecfs/repair/mending.py",
           " and volume.store.keeps_dead(entry, kind)\n", "\n", _BACK),
    Mutant("given-back-forgotten-by-the-next-mount", "ecfs/volume/behind.py",
           "    store.given_back_to = tables.given_back_to()\n", "", _BACK),
    Mutant("late-readers-of-dead-stripes-accuse", "ecfs/stripes/access.py",
           "if not found or self.is_gone(ref):", "if not found:", _BACK),
    Mutant("returning-target-keeps-what-is-dead", "ecfs/volume/tending.py",
           "            self._reclaimer.forget_given(member.id)\n", "", _BACK),
    Mutant("copied-extents-are-cut", "ecfs/metadata/dead.py",
           "if sum(size for _, size, _ in shown) != live or None in homes:",
           "if None in homes:", _MOVING),
    Mutant("cut-extents-all-of-one-place", "ecfs/metadata/dead.py",
           "(run.extent, at - run.low, inode, where)", "(run.extent, at, inode, where)", _MOVING),
    Mutant("one-liar-ends-growing", "ecfs/volume/space.py",
           "    while len(left) > least:\n", "    while len(left) > len(free):\n", _SPACE),
    Mutant("too-few-with-room-count", "ecfs/volume/space.py",
           "    least = geometry.parity if len(free) > geometry.parity else 0\n", "    least = 0\n",
           _SPACE),
    Mutant("full-until-the-last-byte-only", "ecfs/stripes/fleet.py",
           "(FULL_SLACK_LEN if member.full else 1)", "1", _FLEET),
    Mutant("what-is-written-counts-later", "ecfs/stripes/fleet.py",
           "if 0 < member.free_len <= length and not member.full:",
           "if member.free_len < 0:", _FLEET),
    Mutant("refused-though-room-came", "ecfs/driver/admitting.py",
           "        await mounted.make_room()\n", "", ("tests/unit/driver/test_admitting.py",)),
    Mutant("moves-take-what-is-kept-for-commits", _RECLAIMING,
           "            chosen = _slice(plan, min(room_len, SLICE_LEN)) or self._tail()\n",
           "            room_len = SLICE_LEN\n"
           "            chosen = _slice(plan, min(room_len, SLICE_LEN)) or self._tail()\n", _FULL),
    Mutant("targets-on-one-device-count-alone", "ecfs/volume/space.py",
           "space.free_len // count[device])", "space.free_len)", _SPACE),
)
