"""What the metadata says of targets that lack something."""

from collections.abc import Iterable

from ecfs.metadata.database import Database


class MissedShards:
    """Which target did not acknowledge its shard of which stripe, and who is behind."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_missed(self, stripe: int, targets: Iterable[bytes]) -> None:
        """These targets did not acknowledge their shard of a stripe."""
        for target in targets:
            self._database.run("INSERT OR IGNORE INTO missed VALUES(?,?)", (target, stripe))

    def missed_by(self, target: bytes, limit: int) -> list[int]:
        """Stripes of which a target has no shard."""
        return [row[0] for row in self._database.rows(
            "SELECT stripe FROM missed WHERE target=? LIMIT ?", (target, limit))]

    def forget_missed(self, target: bytes, stripe: int) -> None:
        """A target has caught up on a stripe."""
        self._database.run("DELETE FROM missed WHERE target=? AND stripe=?", (target, stripe))

    def forget_missed_by(self, target: bytes) -> None:
        """A target has caught up on everything, or is no longer part of the pool."""
        self._database.run("DELETE FROM missed WHERE target=?", (target,))

    def missing_targets(self) -> set[bytes]:
        """Targets that lack a shard of some stripe."""
        return {row[0] for row in self._database.rows("SELECT DISTINCT target FROM missed")}

    def behind(self) -> set[bytes]:
        """Targets that had not caught up when that was last committed."""
        return {row[0] for row in self._database.rows(
            "SELECT id FROM targets WHERE state='behind'")}

    def set_behind(self, target: bytes, *, behind: bool) -> None:
        """Remember, or forget, that a target has to catch up."""
        if behind:
            self._database.run("INSERT OR REPLACE INTO targets(id, state) VALUES(?, 'behind')",
                               (target,))
        else:
            self._database.run("DELETE FROM targets WHERE id=?", (target,))

    def replace_target(self, old: bytes, new: bytes) -> None:
        """Every column of one target is another's from now on."""
        for row in self._database.rows("SELECT id, columns FROM segments"):
            ids = [row[1][at : at + 16] for at in range(0, len(row[1]), 16)]
            if old in ids:
                columns = b"".join(new if one == old else one for one in ids)
                self._database.run("UPDATE segments SET columns=? WHERE id=?", (columns, row[0]))
        self.forget_missed_by(old)
        self._database.run("DELETE FROM targets WHERE id=?", (old,))

    def missed_len(self, target: bytes) -> int:
        """Bytes of shards that a target has missed."""
        return int(self._database.value(
            "SELECT ifnull(sum(s.body_len), 0) FROM missed m JOIN stripes s ON s.id=m.stripe "
            "WHERE m.target=?", (target,)))

    def was_missed(self, target: bytes, stripe: int) -> bool:
        """Whether a target is known to lack a shard: its absence accuses nobody."""
        return self._database.one("SELECT 1 FROM missed WHERE target=? AND stripe=?",
                                  (target, stripe)) is not None
