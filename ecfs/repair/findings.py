"""What fsck finds, and the report that it makes of it."""

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

FINDINGS_PER_ID_MAX = 10_000

EXIT_CORRECTED = 1
EXIT_LEFT = 4


class FsckMode(StrEnum):
    """How far fsck may go: look only; repair what loses nothing; repair everything."""

    LOOK = "look"
    SAFE = "safe"
    YES = "yes"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. `id` is stable, see docs/fsck.md.

    `gives_up`: its repair loses something. `harmless`: worth telling, but not an error of the pool;
    it sets no exit bit.
    """

    id: str
    description: str
    path: str | None = None
    repaired: bool = False
    gives_up: bool = False
    harmless: bool = False

    def to_json(self) -> dict[str, Any]:
        """A map of `ecfs.fsck/1`."""
        return {"id": self.id, "description": self.description, "path": self.path,
                "repaired": self.repaired, "gives_up": self.gives_up, "harmless": self.harmless}


@dataclass(slots=True)
class Findings:
    """A list that is bounded for each id; what is past the bound is counted."""

    kept: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    left_counts: Counter[str] = field(default_factory=Counter)

    def add(self, finding: Finding) -> None:
        """Take in one finding."""
        self.counts[finding.id] += 1
        if not finding.repaired and not finding.harmless:
            self.left_counts[finding.id] += 1
        if self.counts[finding.id] <= FINDINGS_PER_ID_MAX:
            self.kept.append(finding)

    def has_errors(self) -> bool:
        """Whether anything that is wrong is left."""
        return any(self.left_counts.values())

    def settle(self, after: "Findings") -> None:
        """What a second look, `after`, does not find any more is repaired, if only by another
        repair; what it still finds is not, and what else it finds is added."""
        before, self.kept = self.kept, []
        self.counts.clear()
        self.left_counts.clear()
        remaining = {(finding.id, finding.description): finding for finding in after.kept}
        for finding in before:
            is_left = remaining.pop((finding.id, finding.description), None) is not None
            self.add(replace(finding, repaired=not is_left))
        for finding in remaining.values():
            self.add(finding)


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What a check came to. `full`: everything was looked at, not only that the pool is clean.

    `counts`: findings by pass; `notes`: counts of what was seen and is no finding.
    """

    pool_id: str
    mode: FsckMode
    full: bool
    findings: tuple[Finding, ...]
    counts: dict[str, int]
    notes: dict[str, int]
    errors_left: bool

    @classmethod
    def of(cls, pool_id: str, mode: FsckMode, findings: Findings, *, full: bool = True,
           notes: dict[str, int] | None = None) -> "FsckReport":
        """The report of a list of findings."""
        counts: Counter[str] = Counter()
        for name, count in findings.counts.items():
            counts[name.split("-", 1)[0]] += count
        return cls(pool_id, mode, full, tuple(findings.kept), dict(counts), notes or {},
                   findings.has_errors())

    @property
    def clean(self) -> bool:
        """Nothing was wrong."""
        return all(finding.harmless for finding in self.findings)

    @property
    def exit_bits(self) -> int:
        """Bits of fsck(8): 1 for errors that were corrected, 4 for errors that are left."""
        corrected = any(finding.repaired for finding in self.findings)
        return EXIT_CORRECTED * corrected | EXIT_LEFT * self.errors_left

    def to_json(self) -> dict[str, Any]:
        """`ecfs.fsck/1`."""
        return {
            "schema": "ecfs.fsck/1", "pool_id": self.pool_id, "mode": self.mode.value,
            "full": self.full, "clean": self.clean,
            "findings": [finding.to_json() for finding in self.findings],
            "counts": self.counts, "notes": self.notes, "exit_bits": self.exit_bits}
