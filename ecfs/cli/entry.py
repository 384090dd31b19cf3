"""The way into all programs; it imports nothing large, so that Ctrl-C is quiet from the start."""

import signal
import sys

INTERRUPTED_EXIT = 128 + signal.SIGINT


def main() -> None:
    """The entry point of `ecfs` and of the helpers."""
    # The imports take a quarter of a second, and nothing is under way yet: until they are done the
    # signal ends the process, as it ends a program that never heard of it. Who started us with the
    # signal ignored, keeps it so.
    heeds = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeds:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ecfs.cli.main import main as run

    try:
        if heeds:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        # Before a command had begun, or after it had ended: those tell of it themselves.
        sys.exit(INTERRUPTED_EXIT)
