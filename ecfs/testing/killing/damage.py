"""Damage to the files of targets, within the budget of a pool."""

import os
import random
from collections.abc import Callable
from pathlib import Path

BLOCK = 4096


class Damager:
    """Hurts files of some targets: bits, blocks, ends, whole files. Tells what it did."""

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._kinds: list[tuple[str, Callable[[Path], None]]] = [
            ("flip", self._flip), ("flip", self._flip), ("zero", self._zero),
            ("truncate", self._truncate), ("extend", self._extend), ("delete", self._delete),
            ("random", self._randomise), ("stale", self._stale)]
        self._kept: dict[Path, bytes] = {}

    def hurt(self, target: Path) -> list[str]:
        """Some damage to some files of a target: words like `flip segments/00/x.col`."""
        files = sorted(path for path in target.rglob("*") if path.is_file())
        told = []
        for path in self._source.sample(files, min(len(files), self._source.randint(1, 6))):
            word, act = self._source.choice(self._kinds)
            try:
                act(path)
            except FileNotFoundError:
                # The live mount has given it back meanwhile.
                continue
            told.append(f"{word} {path.relative_to(target)}")
        return told

    def remember(self, target: Path) -> None:
        """Keep what a few files hold now, to put it back later as something stale."""
        files = sorted(path for path in target.rglob("*") if path.is_file())
        for path in self._source.sample(files, min(len(files), 3)):
            try:
                self._kept[path] = path.read_bytes()
            except FileNotFoundError:
                # Given back meanwhile, as above.
                continue

    def _flip(self, path: Path) -> None:
        size = path.stat().st_size
        if size:
            with path.open("r+b") as file:
                for _ in range(self._source.randint(1, 20)):
                    at = self._source.randrange(size)
                    file.seek(at)
                    byte = file.read(1)
                    file.seek(at)
                    file.write(bytes([byte[0] ^ (1 << self._source.randrange(8))]) if byte else b"")

    def _zero(self, path: Path) -> None:
        self._overwrite(path, bytes(self._source.choice([512, BLOCK, 16 * BLOCK])))

    def _randomise(self, path: Path) -> None:
        self._overwrite(path, self._source.randbytes(self._source.choice([512, BLOCK, 16 * BLOCK])))

    def _overwrite(self, path: Path, data: bytes) -> None:
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(self._source.randrange(max(1, size)))
            file.write(data)

    def _truncate(self, path: Path) -> None:
        os.truncate(path, self._source.randrange(path.stat().st_size + 1))

    def _extend(self, path: Path) -> None:
        with path.open("ab") as file:
            file.write(self._source.randbytes(self._source.randint(1, 3 * BLOCK)))

    def _delete(self, path: Path) -> None:
        path.unlink()

    def _stale(self, path: Path) -> None:
        known = [old for old in sorted(self._kept) if old.parent == path.parent and old.exists()]
        if known:
            old = self._source.choice(known)
            old.write_bytes(self._kept[old])
