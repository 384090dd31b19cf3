"""What was decided and answered, and is done while who asked is on his way back with the answer."""

from collections.abc import Callable, Iterable


class Promises:
    """At most one thing that is promised and not done yet. Not thread-safe; nothing here waits.

    Who promises has decided everything, so that nothing is left that could be refused, and gives
    what remains to be done. It is done by `keep`: when the answer has been sent, or before anybody
    looks at what it changes, whichever comes first. So a promise is known to the memory of one
    process only, for as long as one step of the event loop takes.

    `postpones`: somebody calls `keep` after each answer; else things are done at once. `on_broken`
    is told why a thing could not be done that was answered. What fails before that was no promise:
    who asked gets the error.
    """

    __slots__ = ("answered", "due", "on_broken", "postpones")

    def __init__(self) -> None:
        self.due: Callable[[], None] | None = None
        self.answered = False
        self.postpones = False
        self.on_broken: Callable[[Exception], None] = lambda error: None

    def make(self, do: Callable[[], None]) -> None:
        """Do it at once, or later if that is postponed; what was promised before comes first."""
        if self.due is not None:
            self.keep()
        if self.postpones:
            self.due = do
            self.answered = False
        else:
            do()

    def keep(self) -> None:
        """Do what was promised, if anything was. Raises what it raises, once it is told."""
        do, self.due = self.due, None
        if do is not None:
            try:
                do()
            except Exception as error:
                if self.answered:
                    self.on_broken(error)
                raise


def keep_all(promises: Iterable[Promises], *, answered: bool) -> None:
    """Keep all that is due. `answered`: who asked has been told. Raises what one of them raises,
    once all are kept."""
    failure: Exception | None = None
    for each in promises:
        if each.due is not None:
            each.answered = answered
            try:
                each.keep()
            except Exception as error:
                failure = error
    if failure is not None:
        raise failure
