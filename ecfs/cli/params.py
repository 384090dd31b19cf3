"""Options and argument types that several verbs share."""

import os
from collections.abc import Callable
from typing import Any

import click


class _AnyPath(click.Path):
    """A path that is taken as it is; shells complete file names.

    What it names is looked at where it is used. click would ask access(2) for it before, which
    fails where the server of a mount has died, and may never answer.
    """

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """The path as text; absolute and without links where that was asked for."""
        path = os.fsdecode(value)
        return os.path.realpath(path) if self.resolve_path else path


POOL = _AnyPath()
TARGET = _AnyPath()
MOUNTPOINT = _AnyPath()


def log_file_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--log-file`."""
    return click.option(
        "--log-file", metavar="FILE", help="Log to FILE instead of the system's journal."
    )(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Report as one JSON object on standard output."
    )(function)


def anchor_dir_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--anchor-dir`, an absolute path or None."""
    return click.option(
        "--anchor-dir",
        metavar="DIR",
        type=_AnyPath(resolve_path=True),
        help="Where this machine's memory of the pool is, as at mount -o anchor_dir=DIR.",
    )(function)
