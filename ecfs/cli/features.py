"""`ecfs --version`: the version, and what this machine offers to it."""

import ctypes.util
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

from ecfs import __version__
from ecfs.base.fuse import HELPER
from ecfs.cli.outcome import Json

_PACKAGES = ("pyfuse3", "trio", "cryptography", "apsw", "blake3", "zstandard", "pyeclib")


def features() -> Json:
    """The report as a document."""
    from ecfs.formats import FORMAT_VERSION

    isal = ctypes.util.find_library("isal")
    return {
        "ecfs": __version__,
        "format": FORMAT_VERSION,
        "python": platform.python_version(),
        HELPER: shutil.which(HELPER) or "missing",
        "libfuse3": ctypes.util.find_library("fuse3") or "missing",
        "isa-l": isal or "missing (coding falls back to a slower way)",
        **{name: _version_of(name) for name in _PACKAGES},
    }


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def version_text() -> str:
    """The report as text; the first line is `ecfs VERSION`."""
    report = features()
    lines = [f"ecfs {report.pop('ecfs')}"]
    lines += [f"  {name:<13}{value}" for name, value in report.items()]
    return "\n".join(lines)
