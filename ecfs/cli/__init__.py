"""The command line: one file per verb, exit codes, progress, the background process of a mount.

Owns what a person or a script sees: options, messages, exit codes, JSON on standard output, the
control socket of a mounted pool. It decides nothing about pools: that is done below, and reached
through `engine` alone.
"""

from ecfs.cli.entry import main

__all__ = ["main"]
