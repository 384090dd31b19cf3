"""Several fdatasync at the same time from one thread: the kernel's own asynchronous I/O (aio).

Source: the system calls io_setup, io_submit and io_getevents of Linux (io_submit(2)) and
`struct iocb` and `struct io_event` of linux/aio_abi.h; IOCB_CMD_FDSYNC is offered since 4.18.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence

_NUMBERS = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
"""System call numbers of io_setup, io_destroy, io_getevents and io_submit, by machine."""
_FDSYNC = 3
_IOCB = struct.Struct("=QIIHhIQQqQII")
"""data, key, rw_flags, opcode, priority, descriptor, buffer, length, offset, reserved, flags,
descriptor to notify. The order of key and rw_flags is that of little-endian machines."""
_EVENT = struct.Struct("=QQqq")
"""data and address of the iocb, result (negative errno), second result."""


class AioQueue:
    """One queue of the kernel. For one thread at a time. `depth`: how many syncs at once at most.

    OSError where the kernel, or a filter of system calls, does not offer it.
    """

    def __init__(self, depth: int) -> None:
        numbers = _NUMBERS.get(platform.machine())
        if numbers is None:
            raise OSError(errno.ENOSYS, "the numbers of aio's system calls are not known here")
        self._setup, self._destroy, self._getevents, self._submit = numbers
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        self._depth = depth
        self._calls = ctypes.create_string_buffer(depth * _IOCB.size)
        first = ctypes.addressof(self._calls)
        self._places = (ctypes.c_void_p * depth)(*(
            first + number * _IOCB.size for number in range(depth)))
        self._events = ctypes.create_string_buffer(depth * _EVENT.size)
        context = ctypes.c_ulong(0)
        self._call(self._setup, ctypes.c_long(depth), ctypes.byref(context))
        self._context = context

    def fdatasync(self, fds: Sequence[int]) -> list[OSError | None]:
        """Sync all of these descriptors at the same time; for each the error that it met."""
        if len(fds) > self._depth:
            return self.fdatasync(fds[: self._depth]) + self.fdatasync(fds[self._depth :])
        for number, fd in enumerate(fds):
            _IOCB.pack_into(self._calls, number * _IOCB.size,
                            number, 0, 0, _FDSYNC, 0, fd, 0, 0, 0, 0, 0, 0)
        try:
            begun = self._call(self._submit, self._context, ctypes.c_long(len(fds)), self._places)
        except OSError:
            # Not even the first: each tells by itself why.
            begun = 0
        outcome: list[OSError | None] = [None] * len(fds)
        # Before the answers are awaited, so that all of it goes on at the same time.
        for number in range(begun, len(fds)):
            try:
                os.fdatasync(fds[number])
            except OSError as error:
                outcome[number] = error
        done = 0
        while done < begun:
            count = self._call(self._getevents, self._context, ctypes.c_long(begun - done),
                               ctypes.c_long(begun - done), self._events, None)
            for at in range(count):
                number, _, result, _ = _EVENT.unpack_from(self._events, at * _EVENT.size)
                if result < 0:
                    outcome[number] = OSError(-result, os.strerror(-result))
            done += count
        return outcome

    def close(self) -> None:
        """Let go of the queue. Waits for what is under way."""
        context, self._context = self._context, ctypes.c_ulong(0)
        if context.value:
            self._call(self._destroy, context)

    def _call(self, number: int, *args: object) -> int:
        while True:
            result: int = self._syscall(ctypes.c_long(number), *args)
            if result >= 0:
                return result
            code = ctypes.get_errno()
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code))
