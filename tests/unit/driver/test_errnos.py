"""Every exception has an errno, and nothing unforeseen goes unlogged."""

import errno
import logging

import pytest

from ecfs.base.errors import Bug, Damage, Fenced, FsError, NoSpace, ReadOnly, Unreadable
from ecfs.driver.errnos import errno_of


@pytest.mark.parametrize(("error", "number"), [
    (FsError(errno.ENOTEMPTY), errno.ENOTEMPTY), (Damage("x"), errno.EIO),
    (Unreadable("x"), errno.EIO), (Fenced("x"), errno.EROFS), (ReadOnly("x"), errno.EROFS),
    (NoSpace("x"), errno.ENOSPC),
    (ExceptionGroup("g", [ValueError(), ExceptionGroup("h", [NoSpace("x")])]), errno.ENOSPC)])
def test_foreseen(error: Exception, number: int, caplog: pytest.LogCaptureFixture) -> None:
    assert errno_of(error, "write") == number
    assert caplog.records == []


@pytest.mark.parametrize("error", [ValueError("odd"), Bug("ours"), OSError(errno.ENOENT, "x"),
                                   ExceptionGroup("g", [ValueError()])])
def test_unforeseen(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert errno_of(error, "write") == errno.EIO
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert caplog.records[0].exc_info
    assert "write failed" in caplog.records[0].getMessage()
