"""Who calls what: users, and system calls as values."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ecfs.base.errors import Bug


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes a call."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


IDENTITIES = {
    "root": Identity(0, 0),
    "alice": Identity(61001, 61001, (61100,)),
    "bob": Identity(61002, 61002, (61100, 61200)),
    "eve": Identity(61003, 61003),
}
IDS = (0, 61001, 61002, 61003, 61100, 61200)


@dataclass(frozen=True, slots=True)
class Call:
    """One system call, or a few that belong together: who, what, and its arguments."""

    who: str
    name: str
    arguments: tuple[int | str | bytes, ...] = ()

    def __str__(self) -> str:
        shown = ", ".join(f"<{len(one)} bytes>" if isinstance(one, bytes) and len(one) > 20
                          else _short(repr(one)) for one in self.arguments)
        return f"{self.who}: {self.name}({shown})"


def _short(text: str) -> str:
    return text if len(text) < 80 else f"{text[:30]}...{len(text)} characters...{text[-10:]}"


@contextmanager
def acting_as(identity: Identity) -> Iterator[None]:
    """With the effective ids and groups of another user; the process must be root's."""
    if identity.uid == 0:
        yield
        return
    if os.geteuid() != 0:
        raise Bug("only root can act as another user")
    groups = os.getgroups()
    os.setgroups(identity.groups)
    os.setegid(identity.gid)
    os.seteuid(identity.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
