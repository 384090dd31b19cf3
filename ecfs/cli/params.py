"""Options and argument types that several verbs share."""

from collections.abc import Callable
from typing import Any

import click

POOL = click.Path()
TARGET = click.Path()
"""Taken as they are; what they name is looked at where it is used. Shells complete file names."""


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
        type=click.Path(resolve_path=True),
        help="Where this machine's memory of the pool is, as at mount -o anchor_dir=DIR.",
    )(function)
