"""Write the golden files anew: `python -m tests.golden.regenerate --the-format-has-changed`.

Refuses without that word, since pools that exist would no longer open.
"""

import sys
from pathlib import Path

from tests.golden.objects import all_bytes

FILES = Path(__file__).parent / "files"
WORD = "--the-format-has-changed"


def main(arguments: list[str]) -> int:
    """0 when the files were written, 2 when that was not asked for."""
    made = all_bytes()
    differing = [name for name, data in made.items()
                 if not (path := FILES / f"{name}.bin").exists() or path.read_bytes() != data]
    stale = [path for path in FILES.glob("*.bin") if path.stem not in made]
    if arguments != [WORD]:
        print(f"{len(differing)} golden files differ: {', '.join(differing) or 'none'}. To write "
              f"them, say {WORD}; then raise the format version and update docs/format.md.")
        return 2
    FILES.mkdir(exist_ok=True)
    for name in differing:
        (FILES / f"{name}.bin").write_bytes(made[name])
    for path in stale:
        path.unlink()
    print(f"{len(differing)} written, {len(stale)} removed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
