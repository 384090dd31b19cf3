"""Fuzz targets under atheris: `python -m ecfs.testing.fuzz_worker`, fed with jobs.

A process for each target, since libFuzzer ends it. This stands outside of the package of targets
so that everything of ecfs that a target imports is instrumented. What is found is written down,
once for each place that raised it, and the run goes on.
"""

import hashlib
import json
import logging
import os
import resource
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

from ecfs.base.units import KIB, MIB

if TYPE_CHECKING:
    from ecfs.testing.fuzzing.target import FuzzTarget

ADDRESS_SPACE_LEN_MAX = 512 * MIB
INSTRUMENTED_SLOWER_BY = 4.0


def signature_of(error: BaseException) -> str:
    """A short name for where an exception comes from: its type and the innermost line of ours."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if "/ecfs/" in frame.filename]
    last = frames[-1] if frames else None
    place = f"{Path(last.filename).stem}:{last.name}:{last.line}" if last else "nowhere"
    digest = hashlib.sha256(f"{type(error).__name__} {place}".encode()).hexdigest()[:8]
    return f"{type(error).__name__}-{digest}"


def keep(findings: Path, data: bytes, error: BaseException) -> None:
    """Write the input down, and what it raised, unless the same was met before."""
    path = findings / signature_of(error)
    if not path.exists():
        path.write_bytes(data)
        path.with_suffix(".txt").write_text("".join(traceback.format_exception(error)))


def bound_memory() -> None:
    """Let this process have so much address space more than it has now: more is MemoryError."""
    status = Path("/proc/self/status").read_text()
    used = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmSize"))
    limit = used * KIB + ADDRESS_SPACE_LEN_MAX
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def fuzz(target: "FuzzTarget", findings: Path, options: list[str]) -> None:
    """Runs until libFuzzer ends the process."""
    slow = replace(target, seconds_max=target.seconds_max * INSTRUMENTED_SLOWER_BY)

    def test_one_input(data: bytes) -> None:
        try:
            slow.run(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            keep(findings, data, error)

    atheris.Setup([target.name, *options], test_one_input)
    bound_memory()
    atheris.Fuzz()


def main() -> None:
    """Jobs come as lines of JSON, `name`, `findings`, `log` and `options` each; every one runs in a
    child of this process, which has instrumented the code once, and is answered by a line: its exit
    status."""
    with atheris.instrument_imports(include=["ecfs"]):
        from ecfs.testing.fuzzing.registry import target_named
    logging.disable(logging.WARNING)
    logging.lastResort = None
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            output = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(output, 1)
            os.dup2(output, 2)
            fuzz(target_named(job["name"]), Path(job["findings"]), job["options"])
            os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
