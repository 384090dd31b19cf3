"""Why a world failed."""


class Failure(AssertionError):
    """Something happened in a world that must not."""


class FalseAccusation(Failure):
    """An event accuses a target that did nothing wrong."""
