"""All fuzz targets by name."""

from pathlib import Path

from ecfs.base.errors import Bug
from ecfs.testing.fuzzing import (
    client_files,
    control_socket,
    database_pages,
    kernel_requests,
    label_formats,
    metadata_formats,
    places,
    sealed_formats,
    stripe_formats,
)
from ecfs.testing.fuzzing.material import TOP
from ecfs.testing.fuzzing.target import FuzzTarget

CORPUS = TOP / "tests" / "fuzzing" / "corpus"
TARGETS: tuple[FuzzTarget, ...] = tuple(sorted(
    (*client_files.TARGETS, *control_socket.TARGETS, *database_pages.TARGETS,
     *kernel_requests.TARGETS, *label_formats.TARGETS, *metadata_formats.TARGETS, *places.TARGETS,
     *sealed_formats.TARGETS, *stripe_formats.TARGETS), key=lambda target: target.name))


def target_named(name: str) -> FuzzTarget:
    """The target of that name."""
    for target in TARGETS:
        if target.name == name:
            return target
    raise Bug(f"no fuzz target is called {name}")


def corpus_of(target: FuzzTarget) -> list[Path]:
    """The files that are kept for a target, in a stable order."""
    folder = CORPUS / target.name
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
