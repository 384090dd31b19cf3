"""Numbers and names as people write and read them."""

import os
import re
import shlex
import unicodedata

from ecfs.base.errors import UsageRefusal
from ecfs.base.units import GIB, KIB, MIB

_SUFFIXES = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": KIB * GIB}
_SIZE = re.compile(r"([0-9]{1,15})\s*([KMGT]?)(?:iB|B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of `4096`, `64K`, `128M`, `1G` or `128MiB`; powers of 1024. Raises UsageRefusal."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageRefusal(f"not a size: {text!r} (write 64M or 1G)")
    return int(match[1]) * _SUFFIXES[match[2].upper()]


def format_size(length: int) -> str:
    """`length` bytes as people read them: `0 B`, `1.5 MiB`."""
    if length < KIB:
        return f"{length} B"
    value = float(length)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= KIB
        if value < KIB:
            return f"{value:.1f} {unit}"
    return f"{value / KIB:.1f} PiB"


def format_duration(seconds: float) -> str:
    """Seconds as `42 s`, `3 min 05 s` or `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def printable(text: str) -> str:
    r"""`text` with each control character as `\xNN`, so that a name cannot command the terminal."""
    return "".join(
        _escaped(character) if unicodedata.category(character) == "Cc" else character
        for character in text
    )


def _escaped(character: str) -> str:
    return f"\\x{ord(character):02x}"


def typed(path: str) -> str:
    r"""`path` as it is typed at a shell, so that a command that is told can be copied."""
    if printable(path) == path and path.encode(errors="replace").decode() == path:
        return shlex.quote(path)
    return "$'" + "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}"
        for byte in os.fsencode(path)
    ) + "'"


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
