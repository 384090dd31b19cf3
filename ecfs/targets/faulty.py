"""A target that fails as a test has planned it."""

import threading
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from ecfs.base.errors import Fault, TargetError
from ecfs.targets.faults import sync_in_doubt
from ecfs.targets.protocol import Buffer, Space, Target

T = TypeVar("T")

Outcome = Fault | Literal["short", "after"] | None
"""What becomes of a call: None, it is carried out; a Fault, it is not, and raises that; "after", it
is carried out and raises Fault.TIMEOUT all the same; "short", a read returns half of the bytes, a
write writes half and raises Fault.IO, any other call is as "after"."""

Plan = Callable[[int, str, str, int], Outcome]
"""Asked before each call: number of the call from 0, method, name or folder, offset (or length for
truncate). It may block, to play a target that hangs."""

Corrupt = Callable[[str, int, bytes], bytes]
"""Turns what was read (name, offset, data) into what is returned."""


class FaultyTarget:
    """Passes calls on to `inner` unless the plan says otherwise. Every method is a call of the plan
    but `forget` and `close`. A sync that the plan failed goes on failing until `forget`."""

    def __init__(self, inner: Target, plan: Plan = lambda number, method, name, offset: None, *,
                 corrupt: Corrupt | None = None) -> None:
        self.inner = inner
        self.path = inner.path
        self.plan = plan
        self.corrupt = corrupt
        self.call_count = 0
        self._lock = threading.Lock()
        self._suspect: set[str] = set()

    def device(self) -> int:
        """As `inner`, or as planned."""
        return self._call("device", "", 0, self.inner.device)

    def list_names(self, folder: str = "") -> list[str]:
        """As `inner`, or as planned."""
        return self._call("list_names", folder, 0, lambda: self.inner.list_names(folder))

    def create(self, name: str, data: Buffer, *, sync: bool = True) -> None:
        """As `inner`, or as planned."""
        self._call("create", name, 0, lambda: self.inner.create(name, data, sync=sync))

    def replace(self, name: str, data: Buffer) -> None:
        """As `inner`, or as planned."""
        self._call("replace", name, 0, lambda: self.inner.replace(name, data))

    def read(self, name: str, offset: int, length: int) -> bytes:
        """As `inner`, or as planned."""
        outcome = self._outcome("read", name, offset)
        if outcome == "short":
            length //= 2
        data = self.inner.read(name, offset, length)
        if outcome == "after":
            raise self._error(Fault.TIMEOUT, "read", name)
        return data if self.corrupt is None else self.corrupt(name, offset, data)

    def read_now(self, name: str, offset: int, length: int) -> Buffer | None:
        """Never: what is planned is for `read`."""
        return None

    def write(self, name: str, offset: int, buffers: Sequence[Buffer]) -> None:
        """As `inner`, or as planned."""
        outcome = self._outcome("write", name, offset)
        if outcome == "short":
            data = b"".join(buffers)
            self.inner.write(name, offset, [data[:len(data) // 2]])
            raise self._error(Fault.IO, "write", name)
        self.inner.write(name, offset, buffers)
        if outcome == "after":
            raise self._error(Fault.TIMEOUT, "write", name)

    def sync(self, name: str) -> None:
        """As `inner`, or as planned."""
        if name in self._suspect:
            raise sync_in_doubt(self.path, name)
        try:
            self._call("sync", name, 0, lambda: self.inner.sync(name))
        except TargetError as error:
            if error.fault is not Fault.MISSING:
                self._suspect.add(name)
            raise

    def size(self, name: str) -> int:
        """As `inner`, or as planned."""
        return self._call("size", name, 0, lambda: self.inner.size(name))

    def truncate(self, name: str, length: int) -> None:
        """As `inner`, or as planned."""
        self._call("truncate", name, length, lambda: self.inner.truncate(name, length))

    def preallocate(self, name: str, offset: int, length: int) -> None:
        """As `inner`, or as planned."""
        self._call("preallocate", name, offset,
                   lambda: self.inner.preallocate(name, offset, length))

    def punch(self, name: str, offset: int, length: int) -> bool:
        """As `inner`, or as planned."""
        return self._call("punch", name, offset, lambda: self.inner.punch(name, offset, length))

    def remove(self, name: str) -> None:
        """As `inner`, or as planned."""
        self._call("remove", name, 0, lambda: self.inner.remove(name))
        self._suspect.discard(name)

    def sync_folder(self, folder: str) -> None:
        """As `inner`, or as planned."""
        self._call("sync_folder", folder, 0, lambda: self.inner.sync_folder(folder))

    def space(self) -> Space:
        """As `inner`, or as planned."""
        return self._call("space", "", 0, self.inner.space)

    def stored_len(self) -> int:
        """As `inner`, or as planned."""
        return self._call("stored_len", "", 0, self.inner.stored_len)

    def drop_cache(self, name: str, offset: int, length: int) -> None:
        """As `inner`, or as planned."""
        self._call("drop_cache", name, offset,
                   lambda: self.inner.drop_cache(name, offset, length))

    def forget(self, name: str) -> None:
        """As `inner`; a sync of the file may succeed again."""
        self._suspect.discard(name)
        self.inner.forget(name)

    def close(self) -> None:
        """As `inner`."""
        self.inner.close()

    def _call(self, method: str, name: str, offset: int, function: Callable[[], T]) -> T:
        outcome = self._outcome(method, name, offset)
        result = function()
        if outcome is not None:
            raise self._error(Fault.TIMEOUT, method, name)
        return result

    def _outcome(self, method: str, name: str, offset: int) -> Outcome:
        with self._lock:
            number = self.call_count
            self.call_count += 1
        outcome = self.plan(number, method, name, offset)
        if isinstance(outcome, Fault):
            raise self._error(outcome, method, name)
        return outcome

    def _error(self, fault: Fault, method: str, name: str) -> TargetError:
        return TargetError(fault, f"{self.path}/{name}: {method} failed as planned")
