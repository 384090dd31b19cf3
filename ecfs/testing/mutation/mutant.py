"""One mutant: what is changed, and which tests have to notice."""

from dataclasses import dataclass
from pathlib import Path


class StaleMutant(Exception):
    """The text that a mutant replaces is not in its file exactly once."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` becomes `new` in the file `path` (relative to the top of the tree).

    `tests`: what pytest is given; the fewest files or tests that should notice. `also`: more such
    replacements in the same file, where only both sides together are a mistake that works.
    """

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]
    also: tuple[tuple[str, str], ...] = ()

    def applied_to(self, text: str) -> str:
        """The file's text with the change; StaleMutant unless it fits exactly once."""
        for old, new in ((self.old, self.new), *self.also):
            count = text.count(old)
            if count != 1 or old == new:
                raise StaleMutant(f"{self.name}: the text to be replaced is {count} times in "
                                  f"{self.path}; it must be there once, and change")
            text = text.replace(old, new)
        return text

    def check(self, top: Path) -> None:
        """StaleMutant unless the mutant applies to this tree and its tests exist."""
        self.applied_to((top / self.path).read_text())
        for test in self.tests:
            file, _, name = test.partition("::")
            base = name.partition("[")[0]
            text = (top / file).read_text() if (top / file).is_file() else ""
            if not text or (base and f"def {base}(" not in text):
                raise StaleMutant(f"{self.name}: there is no test {test}")
