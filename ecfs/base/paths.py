"""Questions about paths that may never be answered: a network share or FUSE server that hangs holds
up whoever looks at a path on it, even to learn whether it is a link."""

import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATH_PATIENCE_S = 1.0


def ask_patiently(question: Callable[[], T], otherwise: T) -> T:
    """What `question` returns or raises, or `otherwise` if it takes longer than PATH_PATIENCE_S.
    Then it goes on in a thread of its own, which the end of the process does not wait for."""
    answer: list[T] = []
    refusal: list[BaseException] = []

    def ask() -> None:
        try:
            answer.append(question())
        except BaseException as error:
            refusal.append(error)

    thread = threading.Thread(target=ask, name="ecfs-path", daemon=True)
    thread.start()
    thread.join(PATH_PATIENCE_S)
    if refusal:
        raise refusal.pop()
    return answer[0] if answer else otherwise


def real_path(path: str) -> str:
    """`path` without symbolic links; as it is, but absolute, where the file system gives no answer.
    """
    return ask_patiently(lambda: os.path.realpath(path), otherwise=os.path.abspath(path))
