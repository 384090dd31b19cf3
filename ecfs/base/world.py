"""The outside world as arguments: clock, entropy, threads. The real ones are named only here."""

import os
import threading
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Time. Wall time is only ever shown or stored; it never orders or permits anything."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since some fixed point; never goes backwards."""
        ...


class Entropy(Protocol):
    """Random bytes."""

    def token(self, length: int) -> bytes:
        """`length` fresh random bytes."""
        ...


class SystemClock:
    """The machine's clock."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds since boot, while the machine is awake."""
        return time.monotonic_ns()


class SystemEntropy:
    """The kernel's random number generator."""

    def token(self, length: int) -> bytes:
        """`length` fresh random bytes from getrandom(2)."""
        return os.urandom(length)


class Threads(Protocol):
    """A maker of long-lived threads."""

    def start(self, name: str, function: Callable[[], None]) -> None:
        """Run `function` in a new thread that does not keep the process alive."""
        ...


class SystemThreads:
    """The machine's threads."""

    def start(self, name: str, function: Callable[[], None]) -> None:
        """Run `function` in a daemon thread."""
        threading.Thread(target=function, name=name, daemon=True).start()
