"""The one function that turns an exception into the errno of a system call."""

import errno
import logging

from ecfs.base.errors import Bug, EcfsError

_log = logging.getLogger("ecfs.driver")


def errno_of(error: Exception, request: str) -> int:
    """The errno for the calling program. What nobody foresaw is EIO, with a traceback in the log.

    A group of exceptions (a nursery below failed) counts as its first foreseen member.
    """
    foreseen = _foreseen(error)
    if foreseen is None or isinstance(foreseen, Bug):
        _log.error("%s failed: %s", request, error, exc_info=error)
        return errno.EIO
    return foreseen.errno


def _foreseen(error: BaseException) -> EcfsError | None:
    if isinstance(error, EcfsError):
        return error
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            found = _foreseen(member)
            if found is not None:
                return found
    return None
